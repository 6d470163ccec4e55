"""A migration leaves the last release's processes running: it expands, unless it says otherwise."""

import re

import pytest

from sinks.migrations import load_migrations

# The first line of a migration that takes away what a release no longer uses.
CONTRACT = re.compile(r"-- contract: .*\b\d+\.\d+\.\d+\b")
SETS_ASIDE = re.compile(
    r"\$(\w*)\$.*?\$\1\$|BEGIN ATOMIC.*?\bEND\b|'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/",
    re.DOTALL | re.IGNORECASE,
)
REFUSED = {
    "takes away": r"\b(DROP|(?<!\bAFTER )TRUNCATE|REVOKE)\b",
    "renames": r"\bRENAME\b",
    "changes a type": r"\bALTER\s+(COLUMN\s+)?\S+\s+(SET\s+DATA\s+)?TYPE\b",
    "wants what old processes do not write": r"\bSET\s+NOT\s+NULL\b",
    "refuses what old processes write": (
        r"\bALTER\s+TABLE\b.*\bADD\s+(CONSTRAINT|CHECK|UNIQUE|PRIMARY|FOREIGN|EXCLUDE)\b"
    ),
    "refuses what old processes write twice": r"\bCREATE\s+UNIQUE\b",
    "removes rows": r"\bDELETE\s+FROM\b",
    # One that runs AFTER a row was written changes nothing of it.
    "stands in the way of old processes": (
        r"\bCREATE\s+(OR\s+REPLACE\s+)?(CONSTRAINT\s+)?TRIGGER\b(?!\s+\w+\s+AFTER\b)"
    ),
}
COLUMN = re.compile(r"\bADD\s+(?:COLUMN\s+)(.*)", re.DOTALL | re.IGNORECASE)


def contractions(sql: str) -> list[str]:
    """What of a migration the last release's processes would not survive; none when it says so."""
    if CONTRACT.match(sql):
        return []
    found = []
    for statement in SETS_ASIDE.sub(" ", sql).split(";"):
        words = " ".join(statement.split())
        found += [
            f"{what}: {words[:80]}"
            for what, pattern in REFUSED.items()
            if re.search(pattern, words, re.IGNORECASE)
        ]
        for column in COLUMN.findall(words):
            is_wanted = re.search(r"\bNOT NULL\b", column, re.IGNORECASE)
            if is_wanted and not re.search(r"\b(DEFAULT|GENERATED)\b", column, re.IGNORECASE):
                found.append(f"wants what old processes do not write: {words[:80]}")
    return found


@pytest.mark.parametrize("migration", load_migrations()[1:], ids=lambda one: one.name)
def test_a_migration_expands_or_says_that_it_contracts(migration: object) -> None:
    """Old processes run on the new schema; what takes away names the last release that used it."""
    sql = getattr(migration, "sql", b"").decode()

    assert contractions(sql) == []


@pytest.mark.parametrize(
    "statement",
    [
        'DROP TABLE "Wallet"',
        'ALTER TABLE "Wallet" DROP COLUMN balance',
        "drop index some_index",
        'ALTER TABLE "Wallet" RENAME balance TO amount',
        'ALTER TABLE "Wallet" RENAME TO "Purse"',
        'ALTER TABLE "Wallet" ALTER COLUMN balance TYPE numeric',
        'ALTER TABLE "Wallet" ALTER balance SET DATA TYPE numeric',
        'ALTER TABLE "Wallet" ALTER COLUMN balance SET NOT NULL',
        'ALTER TABLE "Wallet" ADD COLUMN note text NOT NULL',
        'ALTER TABLE "Wallet" ADD CONSTRAINT above CHECK (balance > 0)',
        'ALTER TABLE "Wallet" ADD UNIQUE (note)',
        'CREATE UNIQUE INDEX one ON "Wallet" (note)',
        'TRUNCATE "Wallet"',
        'DELETE FROM "Wallet" WHERE balance = 0',
        'CREATE TRIGGER stop BEFORE INSERT ON "Wallet" FOR EACH ROW EXECUTE FUNCTION no()',
        'REVOKE INSERT ON "Wallet" FROM writer',
    ],
)
def test_what_takes_away_is_refused(statement: str) -> None:
    """Unless the file's first line says for which release nothing needs it any more."""
    assert contractions(f"-- A migration.\n{statement};") != []
    assert contractions(f"-- contract: nothing since 0.2.0 reads it\n{statement};") == []
    assert contractions(f"-- contract: nothing reads it\n{statement};") != []


@pytest.mark.parametrize(
    "statement",
    [
        'CREATE TABLE "Note" (id text NOT NULL UNIQUE)',
        'CREATE INDEX note ON "Wallet" (note)',
        'ALTER TABLE "Wallet" ADD COLUMN note text',
        "ALTER TABLE \"Wallet\" ADD COLUMN note text NOT NULL DEFAULT ''",
        'CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ DELETE FROM "Wallet"; SELECT 1 $$',
        'CREATE TRIGGER note AFTER UPDATE ON "Wallet" FOR EACH ROW EXECUTE FUNCTION note()',
        "COMMENT ON TABLE \"Wallet\" IS 'DROP nothing; RENAME nothing'",
    ],
)
def test_what_adds_is_taken(statement: str) -> None:
    """What old processes need not know of."""
    assert contractions(f"{statement}; -- DROP nothing") == []
