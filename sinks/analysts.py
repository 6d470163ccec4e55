"""`burnstream analyst create`: a role of Postgres that reads the views for analysts, only."""

import secrets
from typing import Any

import psycopg
from psycopg import sql

VIEWS = (
    "balances",
    "burn_per_day",
    "charges",
    "charges_corrected",
    "corrections",
    "cost_against_credits",
    "dead_letters_by_reason",
    "job_charges",
    "voids",
)
# For questions over days: what a sink's short statements need is less, and costs pages more.
_SETTINGS = {
    "default_transaction_read_only": "on",
    "random_page_cost": "1.1",
    "statement_timeout": "10min",
    "timezone": "UTC",
    "work_mem": "64MB",
}
_PASSWORD_BYTES = 24


class AnalystError(Exception):
    """The role cannot be made; the message says why and what to do."""


def create(connection: psycopg.Connection[Any], name: str) -> str:
    """Make the role `name` and return its password, which is kept nowhere.

    Raises:
        AnalystError: there is a role of that name, or this user may not make roles.
    """
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    role = sql.Identifier(name)
    try:
        with connection.transaction():
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(password))
            )
            for setting, value in _SETTINGS.items():
                connection.execute(
                    sql.SQL("ALTER ROLE {} SET {} = {}").format(
                        role, sql.Identifier(setting), sql.Literal(value)
                    )
                )
            views = sql.SQL(", ").join(map(sql.Identifier, VIEWS))
            connection.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(views, role))
    except psycopg.errors.DuplicateObject:
        raise AnalystError(
            f"there is a role {name!r} already; `DROP OWNED BY` and `DROP ROLE` remove it"
        ) from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise AnalystError(
            f"{error.diag.message_primary}: DATABASE_URL must name a role with CREATEROLE that "
            f"owns the ledger"
        ) from None
    return password
