"""SQL of jobs, by the name of its file in deploy/jobs/sql."""

from importlib import resources

from psycopg import sql


def statement(name: str, **parts: sql.Composable) -> sql.Composed:
    """Return deploy/jobs/sql/NAME.sql with its {parts}, schemas mostly, put in."""
    text = (resources.files("deploy.jobs") / "sql" / f"{name}.sql").read_text()
    return sql.SQL(text).format(**parts)
