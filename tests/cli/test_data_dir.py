"""The data directory: one user at a time, its secret, its note."""

import os
import stat
from pathlib import Path

import pytest

from cli.data_dir import DataDir, Runtime
from cli.errors import CommandError


def runtime(pid: int) -> Runtime:
    return Runtime(pid, "http://127.0.0.1:8000", None, "127.0.0.1:7233", "postgresql://x", {"worker": 2})


def test_only_one_at_a_time_has_it(tmp_path: Path) -> None:
    first, second = DataDir(tmp_path / "data"), DataDir(tmp_path / "data")
    first.lock()
    with pytest.raises(CommandError) as caught:
        second.lock()
    assert str(caught.value) == (
        f"The data directory {tmp_path}/data is in use by another `pingpulse up` (process {os.getpid()}): stop it, "
        "or choose another with --data-dir (or PINGPULSE_DATA_DIR)."
    )
    first.unlock()
    second.lock()
    second.unlock()


def test_one_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match=r"/file/data cannot be written \(Not a directory\): choose another with"):
        DataDir(tmp_path / "file" / "data").lock()


def test_the_secret_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    assert data_dir.secret_key() is None
    secret = data_dir.secret_key(create=True)
    assert secret is not None
    assert len(secret) >= 48
    assert DataDir(tmp_path).secret_key(create=True) == secret
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600


def test_the_note_tells_what_runs_and_not_what_ran(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    assert data_dir.runtime() is None
    data_dir.write_runtime(runtime(os.getpid()))
    assert data_dir.runtime() == runtime(os.getpid())
    data_dir.write_runtime(runtime(2**22 + 1))  # beyond the highest process id
    assert data_dir.runtime() is None
    (tmp_path / "runtime.json").write_text("{half")
    assert data_dir.runtime() is None
