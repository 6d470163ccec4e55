"""`burnstream seed`: provider costs that ship with this version, added once each."""

from importlib import resources
from typing import Any

import psycopg


def seed(connection: psycopg.Connection[Any]) -> int:
    """Add the prices that were never seeded here, and return how many.

    What an operator has changed or deleted stays so: a row is seeded once in its life. A row that
    stands under the same id already is left alone.
    """
    text = (resources.files("sinks") / "sql" / "seed" / "provider_costs.csv").read_bytes()
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(
            'CREATE TEMPORARY TABLE seed_file (LIKE "ProviderCost" INCLUDING DEFAULTS) '
            "ON COMMIT DROP"
        )
        with cursor.copy(
            "COPY seed_file (id, provider, model, cost_type, cost_per_unit, unit_size, currency, "
            "valid_from, valid_until) FROM STDIN WITH (FORMAT csv, HEADER true)"
        ) as copy:
            copy.write(text)
        # Taken first: a second seeding at the same moment waits here, then finds them seeded.
        cursor.execute('LOCK TABLE "SeededPrice" IN SHARE ROW EXCLUSIVE MODE')
        cursor.execute(
            'DELETE FROM seed_file USING "SeededPrice" seeded WHERE seed_file.id = seeded.id'
        )
        cursor.execute('INSERT INTO "SeededPrice" (id) SELECT id FROM seed_file')
        if cursor.rowcount == 0:
            return 0
        cursor.execute(
            'INSERT INTO "ProviderCost" SELECT * FROM seed_file ON CONFLICT (id) DO NOTHING'
        )
        return cursor.rowcount
