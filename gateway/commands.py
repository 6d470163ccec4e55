"""`burnstream customer` and `burnstream key`: customers and their API keys, in Postgres."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import psycopg
import typer

from deploy.runtime.command_line import (
    Json,
    RefusedError,
    examples,
    fail,
    one_line_errors,
    show,
)
from deploy.runtime.exit import ExitCode
from deploy.runtime.settings import RuntimeSettings, load_settings
from gateway.auth import hash_of

CONNECT_TIMEOUT_SECONDS = 5
_KEY_BYTES = 24
_CREDITS_MAX = 2**63 - 1
_TIERS = ("STARTER", "GROWTH", "ENTERPRISE")
# As a wallet's id and as a URL's part; the ledger itself takes any text.
_CUSTOMER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")

app = typer.Typer(help="Customers and their API keys.")
customer_app = typer.Typer(help="Customers.", no_args_is_help=True)
key_app = typer.Typer(help="API keys.", no_args_is_help=True)
app.add_typer(customer_app, name="customer")
app.add_typer(key_app, name="key")

ForTests = Annotated[bool, typer.Option("--test", help="A key that begins with om_test_.")]


@customer_app.callback()
def customers() -> None:
    """Customers."""


@key_app.callback()
def keys() -> None:
    """API keys."""


@customer_app.command(
    "create",
    epilog=examples(
        "burnstream customer create --id cust-1 --name Acme --email ops@acme.example",
        "burnstream customer create --id cust-2 --name B --email b@b.example --credits 5000 --json",
    ),
)
def create_customer(  # noqa: PLR0917 -- typer gives options by name
    id: Annotated[str, typer.Option(help="The customer's id, as events name it.")],  # noqa: A002 -- the option's name
    name: Annotated[str, typer.Option(help="The customer's name.")],
    email: Annotated[str, typer.Option(help="Unique among customers.")],
    tier: Annotated[str, typer.Option(help="STARTER, GROWTH or ENTERPRISE.")] = "STARTER",
    credits: Annotated[  # noqa: A002 -- the option's name
        int, typer.Option(min=0, max=_CREDITS_MAX, help="Opening balance of the wallet.")
    ] = 0,
    test: ForTests = False,
    as_json: Json = False,
) -> None:
    """Create a customer with a wallet and an API key, which is shown this once."""
    if not _CUSTOMER_ID.fullmatch(id):
        fail(f"--id {id!r}: letters, digits and ._:- are taken, 1 to 128 of them", ExitCode.USAGE)
    if tier not in _TIERS:
        fail(f"--tier {tier!r}: expected one of {', '.join(_TIERS)}", ExitCode.USAGE)
    api_key = new_api_key(test=test)
    wallet_id = f"wallet_{id}"
    values = {"id": id, "name": name, "email": email, "tier": tier, "hash": hash_of(api_key)}
    with _transaction() as connection:
        connection.execute(
            'INSERT INTO "Customer" (id, name, email, tier, api_key_hash) '
            "VALUES (%(id)s, %(name)s, %(email)s, %(tier)s, %(hash)s)",
            values,
        )
        connection.execute(
            'INSERT INTO "CreditWallet" (id, customer_id, balance) VALUES (%s, %s, %s)',
            [wallet_id, id, credits],
        )
    _show_key(
        {"customer_id": id, "wallet_id": wallet_id, "balance": credits, "api_key": api_key}, as_json
    )


@key_app.command(
    "rotate",
    epilog=examples(
        "burnstream key rotate cust-1                    # the old key works on for a day",
        "burnstream key rotate cust-1 --overlap-hours 0  # it leaked: at once",
    ),
)
def rotate_key(
    customer: Annotated[str, typer.Argument(help="The customer's id.")],
    overlap_hours: Annotated[
        float, typer.Option(min=0, max=24 * 365, help="How long the old key goes on working.")
    ] = 24,
    test: ForTests = False,
    as_json: Json = False,
) -> None:
    """Give a customer a new API key, shown this once; the old one works on for the overlap."""
    api_key = new_api_key(test=test)
    with _transaction() as connection:
        row = connection.execute(
            'UPDATE "Customer" SET api_key_hash = %(hash)s, updated_at = now(), '
            "previous_api_key_hash = CASE WHEN %(hours)s::float8 > 0 THEN api_key_hash END, "
            "previous_api_key_valid_until = CASE WHEN %(hours)s::float8 > 0 "
            "THEN now() + %(hours)s::float8 * interval '1 hour' END "
            "WHERE id = %(id)s RETURNING previous_api_key_valid_until",
            {"hash": hash_of(api_key), "hours": overlap_hours, "id": customer},
        ).fetchone()
        if row is None:
            raise RefusedError(
                f"there is no customer {customer!r}; `burnstream customer create` makes one"
            )
    until = row[0].isoformat() if row[0] else None
    _show_key(
        {"customer_id": customer, "api_key": api_key, "previous_key_valid_until": until}, as_json
    )


def new_api_key(*, test: bool) -> str:
    """Return a fresh random key."""
    return ("om_test_" if test else "om_live_") + secrets.token_hex(_KEY_BYTES)


@contextmanager
def _transaction() -> Iterator[psycopg.Connection[Any]]:
    """A transaction on the ledger; what goes wrong is said in one line with its remedy."""
    settings = load_settings(RuntimeSettings)
    with one_line_errors(settings):
        try:
            with psycopg.connect(
                settings.database_url,
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                application_name="burnstream-customers",
            ) as connection:
                yield connection
        except psycopg.errors.UniqueViolation as error:
            raise RefusedError(
                f"already there: {error.diag.message_detail or error.diag.message_primary}"
            ) from None


def _show_key(found: dict[str, Any], as_json: bool) -> None:
    def text() -> str:
        rows = [
            f"{name.replace('_', ' '):<26}{value if value is not None else '-'}"
            for name, value in found.items()
        ]
        return "\n".join([*rows, "Keep the API key: it cannot be shown again."])

    show(as_json, found, text)
