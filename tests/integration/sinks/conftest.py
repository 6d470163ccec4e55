from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.integration.sinks.ledger import Ledger


@pytest.fixture
async def empty_ledger(database_url: str) -> AsyncIterator[Ledger]:
    connection = await psycopg.AsyncConnection.connect(
        database_url, autocommit=True, row_factory=dict_row
    )
    async with connection:
        yield Ledger(database_url, connection)


@pytest.fixture
async def ledger(empty_ledger: Ledger) -> Ledger:
    await empty_ledger.prepare()
    return empty_ledger
