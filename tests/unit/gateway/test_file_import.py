"""Files to import: what a row says, which rows go no further, and what is kept of a run."""

import gzip
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard
from typer.testing import CliRunner

from gateway.file_import import progress_file
from gateway.file_import.check import Rejected, check
from gateway.file_import.columns import Columns, MappingError
from gateway.file_import.commands import app
from gateway.file_import.progress_file import OtherFileError, Progress
from gateway.file_import.rows import FileError, Row, Rows, format_of
from schemas.timestamps import TimestampPolicy

NOW_MS = 1_750_000_000_000  # 2025-06-15
POLICY = TimestampPolicy(past_days_max=100, future_seconds_max=60)
EVENT = {
    "event_id": "11111111-1111-4111-8111-111111111111",
    "customer_id": "c",
    "event_type": "API_CALL",
    "feature_id": "f",
    "timestamp": "2025-06-01T00:00:00Z",
}


def said(columns: Columns, **cells: Any) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(columns.event_json(cells))
    return found


def judged(event: dict[str, Any], number: int = 1, source: str = "s") -> Any:
    return check(Row(number, orjson.dumps(event)), source, NOW_MS, POLICY)


@pytest.mark.parametrize(
    ("name", "cell", "expected"),
    [
        ("input_tokens", "1000", 1000),
        ("input_tokens", "1000.0", 1000.0),
        ("input_tokens", "many", "many"),
        ("duration_seconds", Decimal("1.50"), 1.5),
        ("quantity", 2.5, 2.5),
        ("timestamp", "2025-06-01 02:00:00+02:00", "2025-06-01T00:00:00Z"),
        ("timestamp", "2025-06-01T00:00:00.123456789Z", "2025-06-01T00:00:00.123456789Z"),
        ("timestamp", "2025-06-01 02:00:00", "2025-06-01 02:00:00"),
        (
            "timestamp",
            datetime(2025, 6, 1, 2, tzinfo=timezone(timedelta(hours=2))),
            "2025-06-01T00:00:00Z",
        ),
        ("metadata", '{"a": 1}', {"a": 1}),
        ("metadata", "{", "{"),
        ("customer_id", 17, 17),
    ],
)
def test_a_cell_means_what_its_field_takes(name: str, cell: Any, expected: Any) -> None:
    """Numbers, times of any zone and JSON are read; what is none stays, for validation to name."""
    assert said(Columns(), **{name: cell}) == {name: expected}


def test_columns_are_named_or_known_by_name() -> None:
    """A mapping goes before a column of the field's own name, a constant before both."""
    columns = Columns(
        {"customer_id": "account", "metadata.team": "team"}, {"event_type": "API_CALL"}
    )
    assert said(
        columns, account="a", customer_id="b", team="t", event_type="CUSTOM", other="o"
    ) == {
        "customer_id": "a",
        "metadata": {"team": "t"},
        "event_type": "API_CALL",
    }
    assert said(Columns(), customer_id="", model=None) == {}
    assert columns.missing(["account"]) == ["team"]


@pytest.mark.parametrize("name", ["custmer_id", "metadata", "meta.x"])
def test_a_mapping_to_no_field_is_refused(name: str) -> None:
    """Unless it is a field, or something of the metadata."""
    if name == "metadata":
        assert Columns({name: "column"}).fields == {name: "column"}
        return
    with pytest.raises(MappingError, match="is no field of an event"):
        Columns({name: "column"})


def test_a_row_without_an_id_has_always_the_same() -> None:
    """By its source, its number and what it says: the same file again is the same events."""
    event = {name: value for name, value in EVENT.items() if name != "event_id"}
    ids = {
        judged(event)["event_id"],
        judged(event)["event_id"],
        judged(event, number=2)["event_id"],
        judged(event, source="t")["event_id"],
        judged(event | {"model": "m"})["event_id"],
    }
    assert len(ids) == 4
    assert judged(EVENT)["event_id"] == EVENT["event_id"]
    # Never to change: with others, what was imported once would be charged again.
    assert judged(event)["event_id"] == "8a4f68c9-7c97-565f-87fc-d351179cb40d"


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        (b"{", "", "Not JSON"),
        (b"[]", "", "Expected object"),
        (orjson.dumps(EVENT | {"event_id": "x"}), "event_id", "Invalid uuid"),
        (orjson.dumps({"customer_id": "c"}), "event_type", "Required"),
        (orjson.dumps(EVENT | {"timestamp": "2025-01-01T00:00:00Z"}), "timestamp", "100 days"),
        (b"more cells than columns", "", "Not JSON"),
    ],
)
def test_a_bad_row_is_kept_with_its_reasons(text: bytes, path: str, message: str) -> None:
    """The line of the reject file has the row's number, each reason and the row itself."""
    found = check(Row(7, text), "s", NOW_MS, POLICY)
    assert isinstance(found, Rejected)
    line = orjson.loads(found.as_json())
    assert (line["row"], line["event"]) == (7, text.decode())
    assert any(one["path"] == path and message in one["message"] for one in line["errors"])


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda text: text,
    "gzip": gzip.compress,
    "gzip of two members": lambda text: gzip.compress(text[:5]) + gzip.compress(text[5:]),
    "zstd": zstandard.compress,
    "zstd of two frames": lambda text: zstandard.compress(text[:5]) + zstandard.compress(text[5:]),
}


@pytest.mark.parametrize("packed", PACKED)
def test_files_are_read_as_they_are_packed(tmp_path: Path, packed: str) -> None:
    """Told by its first bytes, not by its name; empty lines count in the numbers."""
    path = tmp_path / "file"
    path.write_bytes(PACKED[packed](b'{"a":1}\n\n{"b":2}'))
    rows = Rows(path, "ndjson", Columns())
    assert list(rows) == [Row(1, b'{"a":1}'), Row(2, b""), Row(3, b'{"b":2}')]
    assert list(rows) == list(rows)
    assert rows.share_read == 1


def test_a_file_that_ends_early_is_told_by_its_place(tmp_path: Path) -> None:
    """A gzip file that was cut off gives the rows before it, and then says where."""
    path = tmp_path / "cut.ndjson.gz"
    path.write_bytes(gzip.compress(b'{"a":1}\n' * 100_000)[:-20])
    with pytest.raises(FileError, match=r"cut.ndjson.gz, behind row \d+: "):
        list(Rows(path, "ndjson", Columns()))


def test_a_table_is_read_with_its_head(tmp_path: Path) -> None:
    """Quotes, line feeds in cells, a byte order mark; a row with cells too many is a bad row."""
    path = tmp_path / "t.csv"
    path.write_bytes('\ufeffcustomer_id,model\n"a,b","x\ny"\nc,\nd,e,f\n'.encode())
    assert [row.event for row in Rows(path, "csv", Columns())] == [
        b'{"customer_id":"a,b","model":"x\\ny"}',
        b'{"customer_id":"c"}',
        b"more cells than columns",
    ]
    with pytest.raises(FileError, match="has no column account; it has customer_id, model"):
        list(Rows(path, "csv", Columns({"customer_id": "account"})))


def test_parquet_has_types(tmp_path: Path) -> None:
    """Moments, integers and exact decimals come as such; absent values are left out."""
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    path = tmp_path / "t.parquet"
    table = pa.table(
        {
            "timestamp": [datetime(2025, 6, 1, tzinfo=UTC)],
            "input_tokens": [5],
            "quantity": [Decimal("1.5")],
            "model": pa.array([None], pa.string()),
        }
    )
    parquet.write_table(table, path, compression="zstd")
    rows = Rows(path, "parquet", Columns())
    assert [orjson.loads(row.event) for row in rows] == [
        {"timestamp": "2025-06-01T00:00:00Z", "input_tokens": 5, "quantity": 1.5}
    ]
    assert rows.share_read == 1
    path.write_bytes(b"no parquet")
    with pytest.raises(FileError, match=r"t\.parquet"):
        list(rows)


def test_the_format_is_told_by_the_name_or_asked_for() -> None:
    """What the name does not tell must be said."""
    names = ["a.ndjson", "a.jsonl.gz", "b.CSV", "c.csv.zst", "d.parquet"]
    assert [format_of(Path(name)) for name in names] == [
        *("ndjson", "ndjson", "csv", "csv", "parquet"),
    ]
    for name in ("a", "a.gz", "a.xml"):
        with pytest.raises(FileError, match="Say --format"):
            format_of(Path(name))


def test_what_is_kept_belongs_to_one_file(tmp_path: Path) -> None:
    """Another file, or other columns, under the same name: refused, with what to do."""
    file, kept = tmp_path / "f", tmp_path / "f.progress"
    file.write_bytes(b"x" * 10)
    mine = progress_file.fingerprint(file, "csv")
    progress_file.save(kept, Progress(mine, rows=3, accepted=2, rejected=1, rejects_bytes=9))
    assert progress_file.load(kept, mine) == Progress(mine, 3, 2, 1, 9)
    assert progress_file.load(tmp_path / "none", mine) == Progress(mine)
    assert progress_file.fingerprint(file, "ndjson") != mine
    file.write_bytes(b"x" * 9 + b"y")
    with pytest.raises(OtherFileError, match="remove it to begin anew"):
        progress_file.load(kept, progress_file.fingerprint(file, "csv"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no.csv"], "there is no such file"),
        (["t.csv", "--map=customer_id=c"], "has no column c; it has a, b"),
        (["t.csv", "--map=nothing=a"], "'nothing' is no field of an event"),
        (["t.csv", "--map=nothing"], "expected NAME=VALUE"),
        (["-"], "say what it is"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    """No file, no format, no such column or field: told before anything is sent."""
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("a,b\n1,2\n")
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
