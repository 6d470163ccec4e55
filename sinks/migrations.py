"""Numbered SQL migrations: each file is applied once, in its order, in a transaction of its own."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import resources

import psycopg
from psycopg.rows import tuple_row

# Any constant: whoever holds this advisory lock migrates, others wait.
LOCK_KEY = 4_270_226_101

BOOKKEEPING = b"""
CREATE TABLE IF NOT EXISTS "SchemaMigration" (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class MigrationError(Exception):
    """The database was migrated by other files than these."""


@dataclass(frozen=True)
class Migration:
    """One file: `NNNN_name.sql`."""

    version: int
    name: str
    sql: bytes

    @property
    def checksum(self) -> str:
        """SHA-256 of the file, hex."""
        return hashlib.sha256(self.sql).hexdigest()


def load_migrations() -> list[Migration]:
    """All migrations that ship with this version, in order."""
    folder = resources.files("sinks") / "sql" / "migrations"
    found = []
    for entry in folder.iterdir():
        if entry.name.endswith(".sql"):
            number, _, name = entry.name.removesuffix(".sql").partition("_")
            found.append(Migration(int(number), name, entry.read_bytes()))
    found.sort(key=lambda migration: migration.version)
    versions = [migration.version for migration in found]
    if versions != list(range(1, len(found) + 1)):
        raise MigrationError(f"migration files are not numbered 1, 2, 3 ...: {versions}")
    return found


Watch = Callable[[list[Migration]], Iterable[Migration]]


def migrate(database_url: str, watch: Watch = iter) -> list[str]:
    """Apply what is missing and return the names of what was applied.

    `watch` hands the migrations on, one after the other, and may show how far it is.

    Raises:
        MigrationError: the database holds a migration that is unknown here or was changed since.
        psycopg.OperationalError: Postgres is unreachable.
    """
    migrations = load_migrations()
    with psycopg.connect(
        database_url, autocommit=True, application_name="burnstream-migrate"
    ) as connection:
        # A session lock: it ends with the connection, whatever happens below.
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
        connection.execute(BOOKKEEPING)
        missing = _missing(migrations, _applied(connection))
        for migration in watch(missing):
            with connection.transaction():
                connection.execute(migration.sql)
                connection.execute(
                    'INSERT INTO "SchemaMigration" (version, name, checksum) VALUES (%s, %s, %s)',
                    [migration.version, migration.name, migration.checksum],
                )
    return [f"{migration.version:04}_{migration.name}" for migration in missing]


def pending(connection: psycopg.Connection[object]) -> list[str]:
    """Names of the migrations that this database lacks; changes nothing."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute("SELECT to_regclass('\"SchemaMigration\"') IS NOT NULL")
        row = cursor.fetchone()
    applied = _applied(connection) if row and row[0] else {}
    return [f"{m.version:04}_{m.name}" for m in _missing(load_migrations(), applied)]


def _applied(connection: psycopg.Connection[object]) -> dict[int, tuple[str, str]]:
    """Version -> (name, checksum) of what the database holds."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute('SELECT version, name, checksum FROM "SchemaMigration" ORDER BY version')
        return {version: (name, checksum) for version, name, checksum in cursor}


def _missing(migrations: list[Migration], applied: dict[int, tuple[str, str]]) -> list[Migration]:
    """Migrations to apply; raises MigrationError where the histories differ."""
    known = {migration.version: migration for migration in migrations}
    for version, (name, checksum) in applied.items():
        if version not in known:
            raise MigrationError(
                f"the database holds migration {version:04}_{name}, which this version of "
                "burnstream does not know; run the newer version"
            )
        if known[version].checksum != checksum:
            raise MigrationError(
                f"migration {version:04}_{name} was changed after it had been applied to this "
                "database; restore the file and write a new migration"
            )
    return [migration for migration in migrations if migration.version not in applied]
