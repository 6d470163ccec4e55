"""The log that a job reads: the topic, or its archive and, where that ends, the topic."""

from pathlib import Path

from deploy.jobs.plan import Request
from deploy.runtime.kafka import reader_options
from deploy.runtime.settings import RuntimeSettings
from streams.archive.archived_log import ArchivedLog
from streams.archive.segments import ArchiveError, pyarrow_parquet
from streams.log_reader import LogReader

Log = LogReader | ArchivedLog


def open_log(settings: RuntimeSettings, request: Request) -> Log:
    """Return a reader, to be stopped. Raises ArchiveError: no such archive, or no pyarrow."""
    archive = request.archive
    if archive is not None:
        pyarrow_parquet()
        topic = request.source or settings.topics.raw
        if not (Path(archive) / topic).is_dir():
            raise ArchiveError(f"{archive} is no archive of {topic}")
    reader = LogReader(reader_options(settings, "job"))
    return reader if archive is None else ArchivedLog(Path(archive), reader)
