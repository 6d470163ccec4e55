"""`burnstream wallet`: top-ups."""

from dataclasses import asdict
from typing import Annotated

import typer

from deploy.runtime.command_line import Json, examples, show
from sinks import wallet_credit
from sinks.commands.ledger import open_ledger
from sinks.wallet_credit import CreditType

app = typer.Typer(help="Wallets.", no_args_is_help=True)


@app.callback()
def wallets() -> None:
    """Wallets."""


@app.command(
    epilog=examples(
        "burnstream wallet credit cust-1 50000 --idempotency-key invoice-2031",
        "burnstream wallet credit cust-1 500 --idempotency-key g-7 --type GRANT --json",
    )
)
def credit(
    *,
    customer: Annotated[str, typer.Argument(help="Id of the customer.")],
    amount: Annotated[int, typer.Argument(min=1, help="Credits, a whole number.")],
    idempotency_key: Annotated[
        str, typer.Option(help="The same key again credits nothing.", show_default=False)
    ],
    wallet: Annotated[str | None, typer.Option(help="Default: the customer's own wallet.")] = None,
    credit_type: Annotated[CreditType, typer.Option("--type")] = CreditType.PURCHASE,
    description: Annotated[str | None, typer.Option(help="Kept with the transaction.")] = None,
    as_json: Json = False,
) -> None:
    """Credit a wallet, once per key."""
    with open_ledger() as (_, connection):
        entry, is_new = wallet_credit.credit(
            connection,
            customer_id=customer,
            amount=amount,
            idempotency_key=idempotency_key,
            credit_type=credit_type,
            wallet_id=wallet,
            description=description,
        )
    verb = "credited" if is_new else "had been credited already:"
    show(
        as_json,
        asdict(entry) | {"is_new": is_new},
        lambda: (
            f"{entry.wallet_id} {verb} {entry.amount} ({entry.id}), "
            f"balance {entry.balance_before} -> {entry.balance_after}"
        ),
    )
