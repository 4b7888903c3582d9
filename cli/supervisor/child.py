"""One child process: how it is started, watched and stopped."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cli.supervisor.leash import leashed
from cli.supervisor.output import Output, Terminal

_LONGEST_LINE = 65536
_TAIL_LINES = 20
_OUTPUT_DRAIN_SECONDS = 0.5


async def _nothing_to_prepare() -> None:
    return


@dataclass(frozen=True)
class Service:
    """What to run and how to treat it.

    `ready` is polled with the process id and answers whether the service serves. `prepare` runs before every
    start, restarts included. `grace_seconds` is the time from `stop_signal` to SIGKILL. `death_signal` is what
    it gets when the supervisor itself is killed (Linux).
    """

    name: str
    argv: Sequence[str]
    ready: Callable[[int], Awaitable[bool]]
    prepare: Callable[[], Awaitable[None]] = _nothing_to_prepare
    env: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    output: Output = field(default_factory=Terminal)
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    grace_seconds: float = 2.0
    log_hint: str = "its lines above say why"


class _Lines(asyncio.SubprocessProtocol):
    """Cuts output into lines, and tells of the exit and of the end of the output, each when it happens.

    Not `asyncio.create_subprocess_exec`, whose `wait` waits for the end of the output too: a grandchild that
    holds the pipe would hide the death of its parent.
    """

    def __init__(self, on_line: Callable[[str], None]) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.drained: asyncio.Future[None] = loop.create_future()
        self._on_line = on_line
        self._rest = b""

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._emit(line)
        if len(self._rest) > _LONGEST_LINE:
            self._flush()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if self._rest:
            self._flush()
        self.drained.set_result(None)

    def process_exited(self) -> None:
        self.exited.set_result(None)

    def _flush(self) -> None:
        self._emit(self._rest)
        self._rest = b""

    def _emit(self, raw: bytes) -> None:
        self._on_line(raw.decode(errors="replace").rstrip("\r"))


class Child:
    """A process of a service, in a process group of its own: Ctrl-C in the terminal reaches the supervisor alone."""

    _transport: asyncio.SubprocessTransport

    def __init__(self, service: Service) -> None:
        self.service = service
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._lines = _Lines(self._line)
        self._cleared = False

    @classmethod
    async def spawn(cls, service: Service) -> "Child":
        """Raises OSError when it cannot be started at all."""
        await service.prepare()
        child = cls(service)
        child._transport, _ = await asyncio.get_running_loop().subprocess_exec(
            lambda: child._lines,
            *leashed(service.argv, death_signal=service.death_signal, user=service.user),
            env={**os.environ, **service.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return child

    @property
    def pid(self) -> int:
        pid = self._transport.get_pid()
        assert pid is not None
        return pid

    @property
    def exit_code(self) -> int | None:
        return self._transport.get_returncode()

    async def wait(self) -> int:
        """Wait for its end, and for the last of its output; returns the exit code, negative for a signal."""
        await asyncio.wait([self._lines.exited])
        if not self._cleared:
            # Once, and at once: what the child left running would live on, and later the id is another's.
            self._cleared = True
            self._kill_group()
            await asyncio.wait([self._lines.drained], timeout=_OUTPUT_DRAIN_SECONDS)
            self._transport.close()
        code = self.exit_code
        assert code is not None
        return code

    async def stop(self, grace_seconds: float, hurry: asyncio.Event) -> None:
        """Ask, wait until the grace is over or `hurry` is set, then kill. Returns when it is gone."""
        if self.exit_code is None:
            # To the process alone: whoever has children of its own, as Postgres has, stops them in its own way.
            with contextlib.suppress(ProcessLookupError):
                self._transport.send_signal(self.service.stop_signal)
            hurried = asyncio.ensure_future(hurry.wait())
            either: list[asyncio.Future[Any]] = [self._lines.exited, hurried]
            await asyncio.wait(either, timeout=grace_seconds, return_when=asyncio.FIRST_COMPLETED)
            hurried.cancel()
            if self.exit_code is None:
                self._kill_group()
        await self.wait()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _line(self, line: str) -> None:
        self.tail.append(line)
        self.service.output.write(line)


def describe_exit(code: int) -> str:
    """An exit code in words, such as `was killed by SIGSEGV`."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
