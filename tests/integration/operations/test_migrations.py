"""The migrations on a real Postgres: what they add up to, and that they are applied once."""

import threading
import uuid
from collections.abc import Iterator
from importlib import resources
from typing import Any, cast

import psycopg
import pytest
from psycopg import sql

from sinks import migrations
from sinks.migrations import Migration, MigrationError, migrate, pending

# Everything that makes a schema, without the order of columns' creation or the owner.
CATALOGS = {
    "columns": """
        SELECT relation.relname, attribute.attname, format_type(atttypid, atttypmod), attnotnull,
            attgenerated, pg_get_expr(adbin, adrelid)
        FROM pg_attribute attribute
        JOIN pg_class relation ON relation.oid = attrelid AND relation.relkind = 'r'
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped""",
    "tables": """
        SELECT relname, reloptions FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND contype <> 'n'""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "triggers": """
        SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger
        WHERE NOT tgisinternal""",
    "functions": """
        SELECT proname, pg_get_functiondef(oid) FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace""",
    "views": "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'",
}


ALL = [
    "0001_ledger",
    "0002_audit_proof",
    "0003_analysts",
    "0004_jobs",
    "0005_repricing",
    "0006_voids",
]


@pytest.fixture
def empty_database_url(database_url: str) -> Iterator[str]:
    name = f"empty_{uuid.uuid4().hex[:12]}"
    base, _, _ = database_url.rpartition("/")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield f"{base}/{name}"
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def catalogs(connection: psycopg.Connection[Any]) -> dict[str, set[Any]]:
    found = {}
    for name, query in CATALOGS.items():
        rows = connection.execute(query.encode()).fetchall()
        found[name] = {tuple(map(str, row)) for row in rows}
    return found


def test_migrations_sum_to_the_schema_file(empty_database_url: str, database_url: str) -> None:
    """`schema.sql` describes exactly what the migrations make."""
    schema = (resources.files("sinks") / "sql" / "schema.sql").read_bytes()
    with psycopg.connect(empty_database_url) as connection:
        connection.execute(schema)
        connection.execute("SET search_path = public")
        described = catalogs(connection)
    with psycopg.connect(database_url) as connection:
        made = catalogs(connection)
    for name in CATALOGS:
        assert described[name] == made[name], name


def test_migrating_twice_changes_nothing(empty_database_url: str) -> None:
    """The first run names what it applied, the second applies nothing."""
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        assert pending(connection) == ALL
        assert migrate(empty_database_url) == ALL
        assert pending(connection) == []
        assert migrate(empty_database_url) == []


def test_two_migrate_at_once(empty_database_url: str) -> None:
    """Several processes may migrate at their start: one does it, the others wait."""
    applied: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: applied.append(migrate(empty_database_url)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(applied) == [[], [], ALL]


def test_failing_migration_leaves_nothing(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that fails half-way is rolled back whole; those before it stay."""
    files = [
        Migration(1, "good", b"CREATE TABLE good (id int)"),
        Migration(2, "bad", b"CREATE TABLE half (id int); SELECT 1 / 0"),
    ]
    monkeypatch.setattr(migrations, "load_migrations", lambda: files)
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        assert pending(connection) == ["0002_bad"]
        found = connection.execute("SELECT to_regclass('good'), to_regclass('half')").fetchone()
        assert found == ("good", None)


def test_changed_migration_is_refused(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was changed after it had been applied, or that is unknown here, is named."""
    migrate(empty_database_url)
    monkeypatch.setattr(migrations, "load_migrations", lambda: [Migration(1, "ledger", b"other")])
    with pytest.raises(MigrationError, match="0001_ledger was changed"):
        migrate(empty_database_url)
    monkeypatch.setattr(migrations, "load_migrations", list)
    with pytest.raises(MigrationError, match="does not know"):
        migrate(empty_database_url)


def test_guide_statements_work_as_printed(database_url: str) -> None:
    """The guide's INSERTs of step 2 run as they are, and cost_usd prints with its six decimals."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("""
            INSERT INTO "Customer" (id, name, email, tier, status, api_key_hash, created_at,
                updated_at)
            VALUES ('cust-test-001', 'Test Company', 'test@example.com', 'GROWTH', 'ACTIVE',
                'YOUR_HASH_HERE', NOW(), NOW());
            INSERT INTO "CreditWallet" (id, customer_id, balance, created_at, updated_at)
            VALUES ('wallet-test-001', 'cust-test-001', 1000000, NOW(), NOW());
        """)
        connection.execute("""
            INSERT INTO "UsageEvent" (id, customer_id, event_type, feature_id, credits_burned,
                cost_usd, timestamp, source_partition, source_epoch, source_offset, source_index)
            VALUES ('550e8400-e29b-41d4-a716-446655440001', 'cust-test-001', 'TOKEN_USAGE', 'f', 15,
                0.015000, now(), 0, 0, 0, 0)
        """)
        row = connection.execute(
            'SELECT id::text, input_tokens, credits_burned, cost_usd::text FROM "UsageEvent"'
        ).fetchone()
        assert row == ("550e8400-e29b-41d4-a716-446655440001", 0, 15, "0.015000")


@pytest.mark.parametrize(
    "statement",
    [
        (
            'INSERT INTO "ProviderCost" (provider, model, cost_type, cost_per_unit) '
            "VALUES ('OPENAI', 'm', 'IMAGE', 1)"
        ),
        'UPDATE "ProviderCost" SET cost_per_unit = 2',
        'DELETE FROM "ProviderCost"',
        'TRUNCATE "ProviderCost"',
        "INSERT INTO \"BurnTable\" (customer_id, name, rules) VALUES ('c1', 'b', '{}')",
        'DELETE FROM "BurnTable"',
    ],
)
def test_price_changes_bump_the_revision(database_url: str, statement: str) -> None:
    """Each way to change a price raises the revision, stamps the row, and notifies."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            'INSERT INTO "Customer" (id, name, email, api_key_hash) '
            "VALUES ('c1', 'One', 'one@example.com', 'h1')"
        )
        connection.execute(
            'INSERT INTO "ProviderCost" (provider, model, cost_type, cost_per_unit) '
            "VALUES ('OPENAI', 'm', 'VIDEO', 1)"
        )
        before = revision(connection)
        connection.execute("LISTEN price_revision")
        connection.execute(statement.encode())
        assert revision(connection) == before + 1
        notified = [one.payload for one in connection.notifies(timeout=5, stop_after=1)]
        assert notified == [str(before + 1)]
        if statement.startswith("INSERT"):
            stamped = connection.execute(
                'SELECT max(revision) FROM (SELECT revision FROM "ProviderCost" '
                'UNION ALL SELECT revision FROM "BurnTable") both_tables'
            ).fetchone()
            assert stamped == (before + 1,)


def revision(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute('SELECT revision FROM "PriceRevision"').fetchone()
    return cast("tuple[int]", row)[0]


@pytest.mark.parametrize(
    "statement",
    [
        'INSERT INTO "PriceRevision" (singleton, revision) VALUES (true, 1)',
        'INSERT INTO "PriceRevision" (singleton, revision) VALUES (false, 1)',
        "INSERT INTO \"CreditWallet\" (id, customer_id) VALUES ('w', 'nobody')",
        (
            'INSERT INTO "ProviderCost" (provider, model, cost_type, cost_per_unit, currency) '
            "VALUES ('OPENAI', 'm', 'VIDEO', 1, 'EUR')"
        ),
        (
            'INSERT INTO "ProviderCost" (provider, model, cost_type, cost_per_unit) '
            "VALUES ('OPENAI', 'm', 'VIDEO', -1)"
        ),
        (
            'INSERT INTO "CreditTransaction" (wallet_id, customer_id, transaction_type, amount, '
            "balance_before, balance_after, wallet_seq) VALUES ('w', 'c', 'GRANT', 5, 0, 6, 1)"
        ),
        (
            'INSERT INTO "CreditTransaction" (wallet_id, customer_id, transaction_type, amount, '
            "balance_before, balance_after, wallet_seq) VALUES ('w', 'c', 'GRANT', -5, 0, -5, 1)"
        ),
        (
            'INSERT INTO "CreditTransaction" (wallet_id, customer_id, transaction_type, amount, '
            "balance_before, balance_after, wallet_seq) VALUES ('w', 'c', 'BURN', -5, 0, -5, 1)"
        ),
        (
            'INSERT INTO "RatedBatch" (topic, partition, epoch, first_offset, next_offset, '
            "rated_offset) VALUES ('t', 0, 0, 5, 5, 0)"
        ),
        (
            'INSERT INTO "RatedBatch" (topic, partition, epoch, first_offset, next_offset, '
            "rated_offset, kind) VALUES ('t', 0, 0, 5, 6, 0, 'hole')"
        ),
    ],
)
def test_database_refuses_what_must_not_be(database_url: str, statement: str) -> None:
    """Checks, keys and foreign keys hold what must hold whoever writes."""
    with (
        psycopg.connect(database_url, autocommit=True) as connection,
        pytest.raises(psycopg.errors.IntegrityError),
    ):
        connection.execute(statement.encode())


def test_secret_of_batch_ids_is_random(empty_database_url: str, database_url: str) -> None:
    """Each installation has its own key for batch ids, long enough to guess nothing."""
    migrate(empty_database_url)
    secrets = []
    for url in (empty_database_url, database_url):
        with psycopg.connect(url) as connection:
            row = connection.execute(
                "SELECT value FROM \"ServerSecret\" WHERE name = 'batch_id'"
            ).fetchone()
            secrets.append(cast("tuple[str]", row)[0])
    assert secrets[0] != secrets[1]
    assert [len(bytes.fromhex(one)) for one in secrets] == [32, 32]
