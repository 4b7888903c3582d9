"""`pingpulse up`: the whole stack on one machine."""

import asyncio
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from pydantic import SecretStr
from rich.console import Console
from temporalio.service import RPCError

from cli.data_dir import DataDir, Runtime
from cli.environment import child_environment, require_secret_key
from cli.identities import FirstIdentity, create_first_identity
from cli.ports import claim_ports
from cli.postgres import EmbeddedPostgres
from cli.probes import answers_ok, check_database, pollers_since, register_search_attributes, temporal_client
from cli.supervisor.child import Service
from cli.supervisor.supervisor import Supervisor
from cli.temporal_server import HOST as TEMPORAL_HOST
from cli.temporal_server import temporal_service
from config.settings import Settings
from storage.migrate import upgrade

# Shares of the ten seconds in which everything must be gone, in the order of the stop. The gateway and the
# worker wait this long for work under way, and have a little more to say goodbye.
_SHUTDOWN_SECONDS = 2.0
_GATEWAY_GRACE_SECONDS = 3.5
_WORKER_GRACE_SECONDS = 2.8


@dataclass(frozen=True)
class Started:
    """What the stack answers to once it runs."""

    settings: Settings
    first: FirstIdentity | None
    temporal_ui_url: str | None
    seconds: float


class Stack:
    """Everything `up` starts. `stop` undoes whatever `start` came to."""

    def __init__(self, settings: Settings, progress: Console) -> None:
        self._settings = settings
        self._progress = progress
        self._data_dir = DataDir(settings.data_dir)
        self._supervisor = Supervisor(on_change=self._note_runtime)
        self._postgres: EmbeddedPostgres | None = None
        self._starts_temporal = settings.temporal_address is None

    async def start(self) -> Started:
        """Raises CommandError with the remedy."""
        begun = time.monotonic()
        self._data_dir.lock()
        self._claim_ports()
        self._take_secret_key()
        self._catch_mail()
        if self._settings.database_url is None:
            with self._step("Postgres"):
                await self._start_postgres()
        else:
            with self._step("external Postgres"):
                await check_database(self._database_url)
        with self._step("Temporal" if self._starts_temporal else "external Temporal"):
            await self._start_temporal()
        with self._step("database migrations"):
            await _in_abandonable_thread(partial(upgrade, self._database_url))
            first = await create_first_identity(self._database_url)
        with self._step("worker and gateway"):
            await self._start_worker_and_gateway()
        return Started(self._settings, first, self._settings.temporal_ui_url, time.monotonic() - begun)

    def hurry(self) -> None:
        self._supervisor.hurry()

    async def stop(self) -> None:
        await self._supervisor.stop()
        if self._postgres is not None:
            self._postgres.clean_up()
        if self._data_dir.locked:
            self._data_dir.remove_runtime()
            self._data_dir.unlock()

    def _claim_ports(self) -> None:
        settings = self._settings
        wanted = [(settings.host, settings.port, "--port", "PINGPULSE_PORT")]
        if self._starts_temporal:
            wanted += [
                (TEMPORAL_HOST, settings.temporal_port, "--temporal-port", "PINGPULSE_TEMPORAL_PORT"),
                (TEMPORAL_HOST, settings.temporal_ui_port, "--temporal-ui-port", "PINGPULSE_TEMPORAL_UI_PORT"),
            ]
        names = ("port", "temporal_port", "temporal_ui_port")
        self._update(**dict(zip(names, claim_ports(*wanted), strict=False)))
        if self._starts_temporal and self._settings.temporal_ui_url is None:
            self._update(temporal_ui_url=f"http://localhost:{self._settings.temporal_ui_port}")
        # What callers and mails are shown, too: not the address that only this machine uses.
        self._update(public_url=self._settings.base_url)

    def _take_secret_key(self) -> None:
        if self._settings.secret_key is None:
            self._update(secret_key=SecretStr(self._data_dir.secret_key(create=True) or ""))
        require_secret_key(self._settings)

    def _catch_mail(self) -> None:
        if self._settings.smtp_host is None and self._settings.mail_dir is None:
            self._update(mail_dir=self._data_dir.mail)

    async def _start_postgres(self) -> None:
        self._postgres = postgres = EmbeddedPostgres(self._data_dir.postgres, self._data_dir.logs / "postgres.log")
        await postgres.initialise()
        await self._supervisor.start(postgres.service())
        await postgres.create_database()
        self._update(database_url=SecretStr(postgres.url))

    async def _start_temporal(self) -> None:
        if self._starts_temporal:
            log = self._data_dir.logs / "temporal.log"
            await self._supervisor.start(temporal_service(self._settings, self._data_dir.temporal_db, log))
            self._update(temporal_address=f"{TEMPORAL_HOST}:{self._settings.temporal_port}")
        self._temporal = await temporal_client(self._settings)
        await register_search_attributes(self._temporal)

    async def _start_worker_and_gateway(self) -> None:
        self._update(shutdown_seconds=min(self._settings.shutdown_seconds, _SHUTDOWN_SECONDS))
        since = datetime.now(UTC) - timedelta(seconds=1)
        environment = child_environment(self._settings)

        async def worker_polls(_pid: int) -> bool:
            try:
                return await pollers_since(self._temporal, self._settings.temporal_task_queue, since) > 0
            except RPCError:
                return False

        worker = Service(
            name="worker",
            argv=_own_command("worker"),
            env=environment,
            ready=worker_polls,
            grace_seconds=_WORKER_GRACE_SECONDS,
        )
        gateway = replace(
            worker,
            name="gateway",
            argv=_own_command("api"),
            ready=lambda _pid: answers_ok(f"{self._local_url}/health"),
            grace_seconds=_GATEWAY_GRACE_SECONDS,
        )
        # Both load for a second or two: side by side, but the worker first.
        for service in (worker, gateway):
            await self._supervisor.spawn(service)
        for service in (worker, gateway):
            await self._supervisor.wait_ready(service)

    def _update(self, **changes: object) -> None:
        self._settings = self._settings.model_copy(update=changes)

    @property
    def _database_url(self) -> str:
        assert self._settings.database_url is not None
        return self._settings.database_url.get_secret_value()

    @property
    def _local_url(self) -> str:
        """Where this machine reaches the gateway, however it is called from outside."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._settings.host, self._settings.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self._settings.port}"

    def _note_runtime(self) -> None:
        settings = self._settings
        self._data_dir.write_runtime(
            Runtime(
                pid=os.getpid(),
                gateway_url=self._local_url,
                temporal_ui_url=self._settings.temporal_ui_url,
                temporal_address=settings.temporal_address if self._starts_temporal else None,
                database_url=self._postgres.url if self._postgres else None,
                children=self._supervisor.pids,
            )
        )

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        begun = time.monotonic()
        with self._progress.status(f"Starting {what} …"):
            yield
        self._progress.print(f"[green]✓[/green] {what} [dim]{time.monotonic() - begun:.1f} s[/dim]", highlight=False)


async def _in_abandonable_thread(work: Callable[[], None]) -> None:
    """Unlike `asyncio.to_thread`, whose threads Python waits for at the end: a stop would hang on a locked table."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def report(error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(report, error)

    threading.Thread(target=run, name="migrations", daemon=True).start()
    await done


def _own_command(*arguments: str) -> list[str]:
    # -P: a directory `api` or `config` where the user happens to be must not be taken for ours.
    return [sys.executable, "-P", "-m", "cli", *arguments]


async def run_stack(settings: Settings) -> None:
    """Start everything, say so, and stop everything at the first signal. Raises CommandError."""
    # Run by root, the data directory must let Postgres's user pass; nobody shall read what else is in there.
    os.umask(0o077)
    progress, output = Console(stderr=True), Console()
    stack = Stack(settings, progress)
    stop = asyncio.Event()

    def stop_or_hurry() -> None:
        if stop.is_set():
            stack.hurry()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup has SIGHUP ignored, and means it.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop_or_hurry)
    stopping = asyncio.create_task(stop.wait())
    starting = asyncio.create_task(stack.start())
    try:
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            _print_welcome(starting.result(), output)
            await stopping
    finally:
        stopping.cancel()
        starting.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)
        status = progress.status("Stopping …")
        # The terminal may be what went away; that must not keep anything running.
        with suppress(OSError):
            status.start()
        await stack.stop()
        with suppress(OSError):
            status.stop()


def _print_welcome(started: Started, output: Console) -> None:
    """Soft-wrapped and without markup: what is to be copied must come out as it is, whatever the window's width."""
    settings, first = started.settings, started.first
    key = first.key if first else "<your key>"
    lines = [
        "",
        f"PingPulse runs (started in {started.seconds:.1f} s; Ctrl-C stops it).",
        "",
        f"  Gateway      {settings.base_url}",
        f"  API docs     {settings.base_url}/docs",
        f"  Temporal UI  {started.temporal_ui_url or 'that of your own Temporal'}",
        f"  E-mail       {settings.smtp_host or f'{settings.base_url}/dev/mail'}",
        f"  Data         {settings.data_dir.absolute()}",
        "",
    ]
    if first is not None:
        lines += [
            "First start. Open this link to log in; it works once, within an hour:",
            "",
            f"  {settings.base_url}/start/{first.token}",
            "",
            "Keep these, they are not shown again:",
            "",
            f"  Login        {first.email}",
            f"  Password     {first.password}",
            f"  API key      {first.key}",
            "",
            "Send the first ping:",
        ]
    else:
        lines += [
            "For a login link, or a new API key, in another terminal:",
            "",
            f"  {_command()} login-link --data-dir {settings.data_dir}",
            f"  {_command()} keys create --data-dir {settings.data_dir} --name my-key",
            "",
            "Send a ping:",
        ]
    lines += ["", f'  curl "{settings.base_url}/dhk/my_pipeline?stagePath=1&start=yes&key={key}"', ""]
    output.print("\n".join(lines), soft_wrap=True, markup=False, highlight=False)


def _command() -> str:
    """How to call `pingpulse` from where we are: `make up` puts it beside its Python, which is seldom on the PATH."""
    beside = Path(sys.executable).with_name("pingpulse")
    if shutil.which("pingpulse") or not beside.exists():
        return "pingpulse"
    return str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)
