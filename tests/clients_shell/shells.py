"""The script under the shells that this machine has, as a process of its own."""

import asyncio
import os
import shutil
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from api.client_script import CLIENT_SCRIPT

_KNOWN: Final = {"dash": ("dash",), "bash": ("bash",), "busybox": ("busybox", "ash")}
SHELLS: Final = {name: command for name, command in _KNOWN.items() if shutil.which(command[0])} or {"sh": ("sh",)}
SECONDS: Final = 40


def heed_signals() -> None:
    """For a process that begins: what the tests were started by may ignore these, as a shell's background does."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@dataclass(frozen=True)
class Ended:
    code: int
    out: bytes
    error: bytes


@dataclass(frozen=True)
class Script:
    """The script under one shell. `home` is its directory, and `home/tmp` its temporary one."""

    shell: tuple[str, ...]
    home: Path
    url: str
    key: str
    variables: tuple[tuple[str, str], ...] = ()

    def with_url(self, url: str) -> "Script":
        return replace(self, url=url)

    def having(self, **variables: str) -> "Script":
        return replace(self, variables=(*self.variables, *variables.items()))

    @property
    def temporary(self) -> Path:
        return self.home / "tmp"

    @property
    def environment(self) -> dict[str, str]:
        self.temporary.mkdir(exist_ok=True)
        settings = {
            "PINGPULSE_URL": self.url,
            "PINGPULSE_API_KEY": self.key,
            "PINGPULSE_RETRY_SECONDS": "20",
            "TMPDIR": str(self.temporary),
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PINGPULSE_")}
        return {name: value for name, value in (inherited | settings | dict(self.variables)).items() if value}

    async def start(self, *arguments: str, preexec_fn: Callable[[], object] = heed_signals, **options: Any) -> Process:
        piped: dict[str, Any] = {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE, "env": self.environment}
        piped["preexec_fn"] = preexec_fn
        command = (*self.shell, str(CLIENT_SCRIPT), *arguments)
        return await asyncio.create_subprocess_exec(*command, **{**piped, "cwd": self.home, **options})

    async def run(self, *arguments: str, stdin: bytes = b"", **options: Any) -> Ended:
        """Fails if it takes too long, or leaves anything in the temporary directory."""
        return await self.end(await self.start(*arguments, **options), stdin)

    async def end(self, process: Process, stdin: bytes = b"") -> Ended:
        out, error = await asyncio.wait_for(process.communicate(stdin if process.stdin else None), SECONDS)
        assert process.returncode is not None
        assert list(self.temporary.iterdir()) == []
        return Ended(process.returncode, out or b"", error or b"")

    async def good(self, *arguments: str, **options: Any) -> str:
        """What a call prints that has nothing to complain about."""
        ended = await self.run(*arguments, **options)
        assert (ended.code, ended.error) == (0, b""), ended
        return ended.out.decode().strip()
