"""Options that several commands of jobs have, each said once."""

from pathlib import Path
from typing import Annotated

import typer

Name = Annotated[str, typer.Argument(metavar="JOB", help="Names the job, its schema and topic.")]
Rate = Annotated[
    float, typer.Option("--events-per-second", min=1, help="At most; live work goes first.")
]
Start = Annotated[
    str | None, typer.Option("--from", help="A time, PARTITION:OFFSET[,...] or a batch id.")
]
End = Annotated[str | None, typer.Option("--to", help="Likewise; what the ledger has by default.")]
Customers = Annotated[list[str] | None, typer.Option("--customer")]
Models = Annotated[list[str] | None, typer.Option("--model")]
Features = Annotated[list[str] | None, typer.Option("--feature")]
Archive = Annotated[
    Path | None, typer.Option(help="A folder of `burnstream archive`, read before the topic.")
]
