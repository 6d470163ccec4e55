"""States of the logs that a person must decide about: the worker stops and names the remedy."""

from schemas.corrections import CORRECTION_FORMAT


class LogsDisagreeError(Exception):
    """What was rated and what `usage.raw` holds do not fit together."""


class LogStartsAboveError(LogsDisagreeError):
    """Records that were never rated are gone from the log."""

    def __init__(self, topic: str, partition: int, position: int, start: int) -> None:
        super().__init__(
            f"{topic}[{partition}] begins at offset {start}, but {position} comes next: "
            f"what lay between was never rated. If it is lost, record that: "
            f"burnstream repair accept-hole {partition} --reason ..."
        )


class LogEndsBelowError(LogsDisagreeError):
    """The log is shorter than what was rated of it: made again, or cut off."""

    def __init__(self, topic: str, partition: int, position: int, end: int) -> None:
        super().__init__(
            f"{topic}[{partition}] ends at offset {end}, but {position} comes next: the log was "
            f"made again or cut off. Look at it, then open a new epoch: "
            f"burnstream repair new-epoch {partition} --reason ..."
        )


class LogMadeAgainError(LogsDisagreeError):
    """The record before the position is not the one that was rated."""

    def __init__(self, topic: str, partition: int, offset: int, found_ms: int, was_ms: int) -> None:
        super().__init__(
            f"{topic}[{partition}] holds at offset {offset} a record of broker time {found_ms}, "
            f"but one of {was_ms} was rated: the log was made again or cut off. Look at it, then "
            f"open a new epoch: burnstream repair new-epoch {partition} --reason ..."
        )


class NewerRecordError(LogsDisagreeError):
    """A gateway of a later release wrote it, or a producer set our header."""

    def __init__(self, topic: str, partition: int, offset: int, version: int) -> None:
        super().__init__(
            f"{topic}[{partition}] offset {offset} is of format {version}, this release reads up to"
            f" {CORRECTION_FORMAT}: run the release that wrote it, or a later one"
            " (docs/upgrade.md). Where a producer of yours sets the header `format` to a number:"
            f" burnstream quarantine {partition} {offset} --reason ... --by ..."
        )


class RecordTimeError(LogsDisagreeError):
    """The records carry their producers' times, not the broker's."""

    def __init__(self, topic: str, partition: int, offset: int) -> None:
        super().__init__(
            f"{topic}[{partition}] offset {offset} carries a producer's time: the topic must have "
            f"message.timestamp.type=LogAppendTime (burnstream topics shows the drift); a record "
            f"written before that was set can be set aside: "
            f"burnstream quarantine {partition} {offset} --reason ... --by ..."
        )
