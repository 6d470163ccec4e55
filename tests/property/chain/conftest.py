"""Recovery tells its log of each fold; here that would be ten thousand lines."""

from typing import Any

import pytest


class Nothing:
    def info(self, *_: Any, **__: Any) -> None:
        pass

    warning = info


@pytest.fixture(autouse=True)
def quiet_recovery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.recovery.log", Nothing())
