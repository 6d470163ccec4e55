import pytest

from schemas.formats import FORMAT, NewerFormatError, require_known, version_of


@pytest.mark.parametrize(
    ("headers", "version"),
    [
        pytest.param([], 1, id="a-producers-own"),
        pytest.param([("format", b"1")], 1, id="ours"),
        pytest.param([("traceparent", b"x"), ("format", b"2")], 2, id="newer"),
        pytest.param([("format", b"json")], 1, id="no-number"),
        pytest.param([("format", None)], 1, id="nothing"),
        pytest.param([("format", b"9" * 5000)], 999_999_999, id="a-long-number"),
    ],
)
def test_a_record_says_its_version(headers: list[tuple[str, bytes | None]], version: int) -> None:
    """By the header `format`; without one, or with somebody else's, it is the first."""
    assert version_of(headers) == version


def test_a_later_version_is_refused_by_name() -> None:
    """The message says what it is, of which version, and where it is explained."""
    require_known("it", FORMAT, FORMAT)
    with pytest.raises(NewerFormatError, match=r"it is of format 2, this release reads up to 1"):
        require_known("it", 2, 1)
    with pytest.raises(ValueError, match="no release writes"):
        require_known("it", 0, 1)
