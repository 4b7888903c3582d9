"""`pingpulse up` as a process of its own, whose parts can be killed and stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import psutil
from temporalio.client import Client

from cli.data_dir import DataDir, Runtime
from config.settings import Settings
from config.temporal import connect
from storage.base import Sessions, create_engine, create_sessions
from tests.support.waiting import until

START_SECONDS = 40
WELCOME = "PingPulse runs"
SETTINGS = {
    "PINGPULSE_PINGS_PER_MINUTE": "1000000",
    "PINGPULSE_REQUESTS_PER_MINUTE": "1000000",
    "PINGPULSE_LETTERS_PER_MINUTE": "1000000",
    "PINGPULSE_VERDICT_TIMEOUT_SECONDS": "1.5",
}


class Up:
    """A `pingpulse up` on the data directory `home/data`. Remembers every process that belonged to it."""

    def __init__(self, home: Path, **variables: str) -> None:
        self.home = home
        self._data_dir = DataDir(home / "data")
        self._output = home / "output"
        self._variables = SETTINGS | variables
        self._family: set[psutil.Process] = set()

    async def start(self) -> None:
        """Starts it, or starts it again, and returns when it is ready."""
        welcomes = self._output.read_text().count(WELCOME) if self._output.exists() else 0
        ports = ("--port", "0", "--temporal-port", "0", "--temporal-ui-port", "0")
        with self._output.open("a") as output:
            self._process = self.run("up", "--data-dir", "data", *ports, output=output.fileno())
        await until(
            lambda: self._process.poll() is not None or self.output.count(WELCOME) > welcomes,
            timeout=START_SECONDS,
        )
        assert self._process.poll() is None, self.output

    def run(self, *arguments: str, output: int, **variables: str) -> "subprocess.Popen[bytes]":
        """A `pingpulse` command with the stack's settings, which may find the stack by the data directory."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PINGPULSE_")}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cli", *arguments],
            cwd=self.home,
            env=inherited | self._variables | {"PINGPULSE_DATA_DIR": "data"} | variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        self._family.add(psutil.Process(process.pid))
        return process

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def runtime(self) -> Runtime:
        runtime = self._data_dir.runtime()
        assert runtime is not None
        return runtime

    @property
    def key(self) -> str:
        return self._first_start("API key")

    @property
    def email(self) -> str:
        return self._first_start("Login")

    @property
    def password(self) -> str:
        return self._first_start("Password")

    def _first_start(self, what: str) -> str:
        """Printed at the first start only."""
        return next(line.split()[-1] for line in self.output.splitlines() if line.strip().startswith(what))

    def client(self, url: str | None = None) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=url or self.runtime.gateway_url, headers={"X-API-Key": self.key}, timeout=20)

    @asynccontextmanager
    async def sessions(self) -> AsyncIterator[Sessions]:
        assert self.runtime.database_url is not None
        engine = create_engine(self.runtime.database_url, pool_size=2)
        try:
            yield create_sessions(engine)
        finally:
            await engine.dispose()

    async def temporal(self) -> Client:
        address = self.runtime.temporal_address or self._variables["PINGPULSE_TEMPORAL_ADDRESS"]
        return await connect(Settings(_env_file=None, temporal_address=address))

    async def kill(self, name: str) -> None:
        """Kills a part and returns when another has taken its place, ready or not."""
        self._note_family()
        killed = self.runtime.children[name]
        os.kill(killed, signal.SIGKILL)
        await until(lambda: self.runtime.children.get(name, killed) != killed, timeout=40)

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """A part that stands still, as on a machine that is asleep: its supervisor sees nothing wrong."""
        process = psutil.Process(self.runtime.children[name])
        process.suspend()
        try:
            yield
        finally:
            process.resume()

    async def healthy(self) -> None:
        """Waits for a gateway that has all it needs."""
        async with self.client() as client:

            async def is_ok() -> bool:
                try:
                    return bool((await client.get("/health")).json().get("status") == "ok")
                except httpx.HTTPError:
                    return False

            await until(is_ok, timeout=30, every=0.1)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> list[str]:
        """Ends it; returns what is left of it after a moment, which should be nothing, and ends that too."""
        if self._process.poll() is None:
            self._note_family()
            self._process.send_signal(number)
        await until(lambda: self._process.poll() is not None, timeout=15)
        _, left = psutil.wait_procs(self._family, timeout=2)
        # A zombie has ended; its new parent has not buried it yet.
        left = [process for process in left if _status(process) not in (psutil.STATUS_ZOMBIE, None)]
        for process in left:
            process.kill()
        self._family.clear()
        return [str(process) for process in left]

    def _note_family(self) -> None:
        self._family.update(psutil.Process(self._process.pid).children(recursive=True))


def _status(process: psutil.Process) -> str | None:
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return None


@asynccontextmanager
async def running_up(home: Path, **variables: str) -> AsyncIterator[Up]:
    """A stack that has stopped without a trace in the end."""
    up = Up(home, **variables)
    try:
        await up.start()
        yield up
    finally:
        left = await up.stop()
    assert not left
