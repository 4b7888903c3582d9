"""The data directory of `up`: who uses it, its secret, and the note about what runs in it."""

import fcntl
import json
import os
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from cli.errors import CommandError


@dataclass(frozen=True)
class Runtime:
    """What a running `up` tells other commands about itself. Written without secrets.

    `database_url` and `temporal_address` are None when they are external: then the reader has them from the
    same settings as `up` had.
    """

    pid: int
    gateway_url: str
    temporal_ui_url: str | None
    temporal_address: str | None
    database_url: str | None
    children: dict[str, int] = field(default_factory=dict)


class DataDir:
    """Paths and files in the data directory; `lock` comes before everything that writes."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.postgres = self.path / "postgres"
        self.temporal_db = self.path / "temporal.db"
        self.logs = self.path / "logs"
        self.mail = self.path / "mail"
        self._lock_file = self.path / "lock"
        self._runtime_file = self.path / "runtime.json"
        self._secret_file = self.path / "secret_key"
        self._lock: int | None = None

    def lock(self) -> None:
        """Make the directory and take it for this process, until it ends. Raises CommandError."""
        remedy = "choose another with --data-dir (or PINGPULSE_DATA_DIR)"
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CommandError(
                f"The data directory {self.path} cannot be written ({error.strerror}): {remedy}."
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise CommandError(
                f"The data directory {self.path} is in use by another `pingpulse up` (process {holder}): stop it, "
                f"or {remedy}."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._lock = descriptor

    @property
    def locked(self) -> bool:
        """Whether this process has taken the directory."""
        return self._lock is not None

    def unlock(self) -> None:
        """Give the directory back; the lock file stays, removing it would let two lock different files."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def secret_key(self, *, create: bool = False) -> str | None:
        """The key that signs sessions, made at the first start; readable by its owner only."""
        with suppress(FileNotFoundError):
            if secret := self._secret_file.read_text().strip():
                return secret
        if not create:
            return None
        secret = secrets.token_urlsafe(48)
        self._write(self._secret_file, secret)
        return secret

    def write_runtime(self, runtime: Runtime) -> None:
        self._write(self._runtime_file, json.dumps(asdict(runtime), indent=2) + "\n")

    def remove_runtime(self) -> None:
        self._runtime_file.unlink(missing_ok=True)

    def runtime(self) -> Runtime | None:
        """What runs here now, or None; a note left behind by a killed `up` does not count."""
        try:
            runtime = Runtime(**json.loads(self._runtime_file.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return runtime if psutil.pid_exists(runtime.pid) else None

    def _write(self, path: Path, text: str) -> None:
        """Whole or not at all, and never readable by others, not even for a moment."""
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
