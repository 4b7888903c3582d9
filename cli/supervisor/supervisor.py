"""Starts services in order, keeps them alive, stops them in reverse order."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from cli.errors import CommandError
from cli.supervisor.child import Child, Service, describe_exit
from cli.supervisor.output import Terminal

logger = structlog.stdlib.get_logger("pingpulse.supervisor")

_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Backoff:
    """Delays in seconds before a restart: doubling, and back to the first after a healthy while."""

    first: float = 0.5
    factor: float = 2.0
    longest: float = 30.0
    healthy_after: float = 30.0

    def next(self, previous: float | None, lived: float) -> float:
        if previous is None or lived >= self.healthy_after:
            return self.first
        return min(previous * self.factor, self.longest)


class Supervisor:
    """Use `start` for each service in order, then `stop` once, whatever happened in between."""

    def __init__(self, backoff: Backoff | None = None, on_change: Callable[[], None] = lambda: None) -> None:
        self._backoff = backoff or Backoff()
        self._on_change = on_change
        self._children: dict[str, Child] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._hurry = asyncio.Event()

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the children that run, by service, in the order of their start."""
        return {name: child.pid for name, child in self._children.items() if child.exit_code is None}

    async def start(self, service: Service, ready_seconds: float = 30.0) -> None:
        """Start one service and return once it is ready; from then on it is kept alive.

        Raises CommandError when it ends, or is not ready in time: a first start that fails is for the user
        to mend, a restart would only hide it.
        """
        await self.spawn(service)
        await self.wait_ready(service, ready_seconds)

    async def spawn(self, service: Service) -> None:
        """Start one service without waiting. Raises CommandError."""
        try:
            self._children[service.name] = await Child.spawn(service)
        except OSError as error:
            raise CommandError(f"{service.name} cannot be started: {error}.") from error

    async def wait_ready(self, service: Service, ready_seconds: float = 30.0) -> None:
        """The second half of `start`."""
        child = self._children[service.name]
        try:
            async with asyncio.timeout(ready_seconds):
                while child.exit_code is None and not await service.ready(child.pid):
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise CommandError(
                f"{service.name} runs but is not ready after {ready_seconds:g} s; {service.log_hint}."
            ) from None
        if child.exit_code is not None:
            code = await child.wait()
            # What the terminal shows anyway is not repeated.
            shown = isinstance(service.output, Terminal)
            last = "" if shown else next((line for line in reversed(child.tail) if line.strip()), "")
            detail = f" ({last.strip()})" if last else ""
            raise CommandError(f"{service.name} {describe_exit(code)} while starting{detail}; {service.log_hint}.")
        self._keepers[service.name] = asyncio.create_task(self._keep(child), name=f"keeper of {service.name}")
        self._changed()

    def hurry(self) -> None:
        """Make a `stop` under way, or to come, kill at once."""
        self._hurry.set()

    async def stop(self) -> None:
        """Stop what runs, the last started first, each within its grace. Never raises."""
        for keeper in self._keepers.values():
            keeper.cancel()
        await asyncio.gather(*self._keepers.values(), return_exceptions=True)
        for child in reversed(self._children.values()):
            await child.stop(child.service.grace_seconds, self._hurry)
            child.service.output.close()

    async def _keep(self, child: Child) -> None:
        service, delay = child.service, None
        loop = asyncio.get_running_loop()
        started = loop.time()
        while True:
            code = await child.wait()
            delay = self._backoff.next(delay, loop.time() - started)
            logger.warning(f"{service.name} {describe_exit(code)}; starting it again in {delay:g} s")
            replacement: Child | None = None
            while replacement is None:
                await asyncio.sleep(delay)
                try:
                    replacement = await Child.spawn(service)
                except (OSError, CommandError) as error:
                    delay = self._backoff.next(delay, 0)
                    logger.error(f"{service.name} cannot be started again: {error}; next try in {delay:g} s")
            self._children[service.name] = child = replacement
            started = loop.time()
            logger.info(f"{service.name} runs again", pid=child.pid)
            self._changed()

    def _changed(self) -> None:
        # Telling others must not end the supervision, whatever the disk says.
        with contextlib.suppress(OSError):
            self._on_change()
