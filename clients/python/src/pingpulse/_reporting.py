"""How reports are sent: later, now, or awaited."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from pingpulse._buffer import Buffer
from pingpulse._links import Pending
from pingpulse._pings import Kind, pulse_ping, stage_ping, with_message
from pingpulse._scopes import Build
from pingpulse._transport import AsyncTransport, Transport

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pingpulse._pings import PulseDetails, StageDetails

log = logging.getLogger("pingpulse")


class BufferReporter:
    """Later. Whatever is wrong with a report is logged."""

    strict = False

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer

    def report(self, build: Build) -> None:
        try:
            pending = build(True)
            if pending is not None:
                self._buffer.put(pending)
        except Exception:
            log.exception("A ping could not be made")

    async def report_async(self, build: Build) -> None:
        self.report(build)


class StrictReporter:
    """Now: returns when it is kept, and raises."""

    strict = True

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def report(self, build: Build) -> None:
        pending = build(False)
        if pending is None:
            return
        if pending.link is None or pending.link.id is not None:
            self._send(pending)
        else:
            with pending.link.turn:
                self._send(pending)

    async def report_async(self, build: Build) -> None:
        await asyncio.to_thread(self.report, build)

    def _send(self, pending: Pending[Any]) -> None:
        if (call := pending.addressed()) is not None:
            pending.answered(self._transport.perform(call))


class AsyncStrictReporter:
    """Awaited: returns when it is kept, and raises."""

    strict = True

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    def report(self, build: Build) -> None:
        raise TypeError("a strict AsyncPingPulse must be awaited: use `async with`, and decorate `async` functions")

    async def report_async(self, build: Build) -> None:
        pending = build(False)
        if pending is None:
            return
        if pending.link is None or pending.link.id is not None:
            await self._send(pending)
        else:
            async with pending.link.async_turn:
                await self._send(pending)

    async def _send(self, pending: Pending[Any]) -> None:
        if (call := pending.addressed()) is not None:
            pending.answered(await self._transport.perform(call))


class Later:
    """Pings that nobody waits for. Nothing here waits or raises; what goes wrong is logged."""

    def __init__(self, reporter: BufferReporter) -> None:
        self._reporter = reporter

    def stage(
        self, workflow_id: str, path: str | int, *, kind: Kind = "dynamic", **details: Unpack[StageDetails]
    ) -> None:
        """As the client's `stage`."""
        self._reporter.report(lambda lenient: Pending(stage_ping(workflow_id, path, kind, lenient, **details)))

    def ping(self, target: str, **details: Unpack[PulseDetails]) -> None:
        """As the client's `ping`."""
        self._reporter.report(lambda lenient: Pending(pulse_ping(target, "ping", lenient, **details)))

    def ping_start(self, target: str, **details: Unpack[PulseDetails]) -> None:
        """As the client's `ping_start`."""
        self._reporter.report(lambda lenient: Pending(pulse_ping(target, "start", lenient, **details)))

    def ping_fail(self, target: str, **details: Unpack[PulseDetails]) -> None:
        """As the client's `ping_fail`."""
        self._reporter.report(lambda lenient: Pending(pulse_ping(target, "fail", lenient, **details)))

    def ping_log(self, target: str, message: str | None = None, **details: Unpack[PulseDetails]) -> None:
        """As the client's `ping_log`."""
        self._reporter.report(
            lambda lenient: Pending(pulse_ping(target, "log", lenient, **with_message(details, message)))
        )
