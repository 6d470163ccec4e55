"""`burnstream audit`: the proof, and what it says."""

import asyncio
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer

from deploy.runtime.command_line import Json, examples, show
from deploy.runtime.exit import ExitCode
from deploy.runtime.progress_bar import progress_bar, with_progress
from sinks import audit as ledger_audit
from sinks import audit_log as log_audit
from sinks.commands.ledger import open_ledger

app = typer.Typer()


@app.command(
    epilog=examples(
        "burnstream audit                            # from the ledger's rows",
        "burnstream audit --log                      # from the bytes of usage.raw, too",
        "burnstream audit --json | jq .discrepancies # for a machine",
    )
)
def audit(
    log: Annotated[
        bool, typer.Option("--log", help="Recount the events of usage.raw, too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Prove from the ledger's rows that every event was charged exactly once; exit 1 if not."""
    with open_ledger() as (settings, connection):
        rules = ledger_audit.load_rules()
        report = ledger_audit.audit(
            connection, rules=with_progress("audit: rules", rules, len(rules))
        )
        discrepancies, recounted = report.discrepancies, None
        if log:
            with progress_bar("audit: records of usage.raw") as tell:
                recounted = asyncio.run(log_audit.audit_log(settings, connection, tell))
            discrepancies = discrepancies + recounted.discrepancies
    data = {
        "clean": not discrepancies,
        "discrepancies": [asdict(one) for one in discrepancies],
        "decisions": report.decisions,
        "totals": report.totals,
    }
    if recounted is not None:
        data["log"] = {"records": recounted.records, "events": recounted.events}
    show(as_json, data, lambda: "\n".join(_audit_lines(data, discrepancies)))
    if discrepancies:
        raise typer.Exit(ExitCode.FAILED)


def _audit_lines(
    data: dict[str, Any], discrepancies: list[ledger_audit.Discrepancy]
) -> Iterator[str]:
    for one in discrepancies:
        yield f"{one.code}: {one.count}: {one.message}"
        for example in one.examples:
            yield "    " + ", ".join(f"{name}={value}" for name, value in example.items())
    for row in data["decisions"]:
        yield (
            f"note: {row['kind']} in {row['topic']}[{row['partition']}], epoch {row['epoch']}: "
            f"{row['first_offset']} -> {row['next_offset']}, by {row['decided_by']} at "
            f"{row['created_at']:%Y-%m-%d %H:%M}: {row['reason']}"
        )
    counts = data["totals"] | data.get("log", {})
    yield ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
    yield f"{len(discrepancies)} kinds of discrepancy" if discrepancies else "clean"
