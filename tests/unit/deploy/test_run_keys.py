"""The keys that `burnstream run` makes and keeps."""

from pathlib import Path

from deploy.console.admin_keys import AdminKeys
from deploy.local.pipeline import ADMIN_KEY_FILE, _admin_key


def test_the_consoles_key_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    """A second start opens with the key of the first; only its owner may read the file."""
    key = _admin_key(tmp_path)

    assert _admin_key(tmp_path) == key
    assert (tmp_path / ADMIN_KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert AdminKeys.parse(key).name_of(key) == "admin"
