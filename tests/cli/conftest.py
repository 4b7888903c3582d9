"""Commands read variables and `.env`: the developer's own must not decide a test."""

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _no_settings_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PINGPULSE_")]:
        monkeypatch.delenv(name)
