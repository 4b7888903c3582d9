"""The processes of a stack. Each has a supervisor of its own, so that it can be stopped and started again."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import psutil

from benchmarks.waiting import BenchmarkError
from cli.errors import CommandError
from cli.supervisor.child import Service
from cli.supervisor.supervisor import Supervisor

QUIET_SECONDS, QUIET_LOAD = 0.3, 0.15
READY_SECONDS = 120.0
"""Temporal needs long for a big file, and so does everything on a busy machine."""


class Services:
    """`start` for each in order, and `stop_all` in the end, whatever happened in between."""

    def __init__(self) -> None:
        self._services: dict[str, Service] = {}
        self._supervisors: dict[str, Supervisor] = {}

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of what runs, by service."""
        return {name: pid for supervisor in self._supervisors.values() for name, pid in supervisor.pids.items()}

    async def start(self, service: Service) -> None:
        """Returns once it is ready. Raises BenchmarkError."""
        self._services[service.name] = service
        supervisor = self._supervisors[service.name] = Supervisor()
        try:
            await supervisor.start(service, READY_SECONDS)
        except CommandError as error:
            raise BenchmarkError(str(error)) from error

    async def stop(self, name: str) -> None:
        """Asks it to end, and kills it when its grace is over."""
        await self._supervisors[name].stop()

    async def start_again(self, name: str) -> None:
        """What was stopped, with the same data. Raises BenchmarkError."""
        await self.start(self._services[name])

    async def stop_all(self) -> None:
        for supervisor in reversed(self._supervisors.values()):
            await supervisor.stop()

    def memory(self) -> dict[str, float]:
        """Resident memory in MB, by service, its children included."""
        return {name: self._sum(name, lambda process: process.memory_info().rss) / 1e6 for name in self.pids}

    async def quiet(self, timeout_seconds: float = 20) -> None:
        """Waits until they have nothing to do any more, the worker above all."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + timeout_seconds
        before = self._cpu_seconds()
        while loop.time() < give_up_at:
            await asyncio.sleep(QUIET_SECONDS)
            now = self._cpu_seconds()
            if now - before < QUIET_SECONDS * QUIET_LOAD:
                return
            before = now

    def _cpu_seconds(self) -> float:
        return sum(self._sum(name, lambda process: sum(process.cpu_times()[:2])) for name in self.pids)

    def _sum(self, name: str, of: Callable[[psutil.Process], float]) -> float:
        total = 0.0
        with suppress(psutil.NoSuchProcess, KeyError):
            parent = psutil.Process(self.pids[name])
            for process in (parent, *parent.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    total += of(process)
        return total
