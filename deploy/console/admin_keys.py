"""Who may enter: the keys of `ADMIN_API_KEY`, each with the name under which its acts are kept."""

import hmac
import re
from collections.abc import Mapping
from hashlib import sha256

KEY_LENGTH_MIN = 16
NAME_OF_THE_ONLY_KEY = "admin"
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")


class AdminKeys:
    """Names by key. Keys are kept as their SHA-256 alone."""

    def __init__(self, digests: Mapping[str, bytes]) -> None:
        self._digests = dict(digests)

    @classmethod
    def parse(cls, text: str) -> "AdminKeys":
        """Read "key" or "name:key,name:key". Raises ValueError, which never shows a key."""
        digests: dict[str, bytes] = {}
        for part in filter(None, map(str.strip, text.split(","))):
            name, colon, key = part.partition(":")
            if not colon:
                name, key = NAME_OF_THE_ONLY_KEY, part
            if not _NAME.fullmatch(name):
                raise ValueError("names of letters, digits and . _ @ -, at most 64")
            if name in digests:
                raise ValueError(f"two keys are named {name}")
            if len(key) < KEY_LENGTH_MIN:
                raise ValueError(f"the key of {name} has fewer than {KEY_LENGTH_MIN} characters")
            digests[name] = _digest(key)
        if not digests:
            raise ValueError("a key, or name:key,name:key; without one nobody may enter")
        return cls(digests)

    def name_of(self, key: str) -> str | None:
        """Return whose key this is, None when it is nobody's; every key takes the same time."""
        shown = _digest(key)
        found = [name for name, known in self._digests.items() if hmac.compare_digest(known, shown)]
        return found[0] if found else None


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()
