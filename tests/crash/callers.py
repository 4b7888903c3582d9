"""Callers that ping without a break and remember what they were answered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

import httpx

from tests.support.up import Up

PAUSE_SECONDS = 0.01


@dataclass
class Answers:
    """By marker, the status that a ping was answered with; None if the connection was cut.

    `agreed` are the pings whose caller sent them again and again, with an idempotency key, until they were taken.
    """

    by_marker: dict[str, int | None] = field(default_factory=dict)

    def with_status(self, wanted: int | None) -> set[str]:
        return {marker for marker, status in self.by_marker.items() if status == wanted}

    @property
    def acknowledged(self) -> set[str]:
        return self.with_status(200)

    @property
    def refused(self) -> set[str]:
        return {marker for marker, status in self.by_marker.items() if status not in (200, None)}


class Caller:
    """One connection. Every ping carries a marker of its own in its payload."""

    def __init__(self, name: str, answers: Answers, client: httpx.AsyncClient) -> None:
        self.name = name
        self._answers = answers
        self._client = client
        self._numbers = count(1)

    async def ping(self, workflow: str, path: str, **members: object) -> httpx.Response | None:
        """The answer; None if there was none."""
        marker = f"{self.name}-{next(self._numbers)}"
        body = {"stagePath": path, "agent": self.name, "marker": marker, **members}
        response = await self._send(workflow, body)
        self._answers.by_marker[marker] = response.status_code if response is not None else None
        await asyncio.sleep(PAUSE_SECONDS)
        return response

    async def insist(self, workflow: str, path: str) -> None:
        """Pings with an idempotency key until the ping is taken."""
        marker = f"{self.name}-{next(self._numbers)}"
        body: dict[str, object] = {"stagePath": path, "marker": marker, "idempotency_key": marker}
        while (response := await self._send(workflow, body)) is None or response.status_code != 200:
            await asyncio.sleep(0.1)
        self._answers.by_marker[marker] = 200
        await asyncio.sleep(PAUSE_SECONDS)

    async def _send(self, workflow: str, body: dict[str, object]) -> httpx.Response | None:
        try:
            return await self._client.post(f"/dhk/{workflow}", json=body)
        except httpx.TransportError:
            return None


async def flexible(caller: Caller, workflow: str) -> None:
    """Pings of a few instances, some stages failing and healing again, in whatever order they come."""
    for number in count():
        if number % 50 == 0:
            await caller.ping(workflow, "1", start=True)
        await caller.ping(workflow, f"2.{number % 9 + 1}", status="failed" if number % 10 == 7 else "ok")


async def insistent(caller: Caller, workflow: str) -> None:
    for number in count():
        await caller.insist(workflow, f"3.{number % 9 + 1}")


async def strict(caller: Caller, workflow: str) -> None:
    """Instances of five stages in order, each given up at the first ping that is not taken."""
    while True:
        opened = await caller.ping(workflow, "1", start=True)
        if opened is None or opened.status_code != 200:
            continue
        instance_id = opened.json()["instance_id"]
        for path in ("2", "3", "4", "5"):
            response = await caller.ping(workflow, path, instance_id=instance_id)
            if response is None or response.status_code != 200:
                break


@asynccontextmanager
async def load(up: Up, *urls: str) -> AsyncIterator[Answers]:
    """Eight callers while the block runs: of three flexible workflows and one strict one each for two of them."""
    answers = Answers()
    async with up.client() as client:
        for number in range(2):
            definition = {"kind": "dynamic", "id": f"strict_{number}", "name": "Strict", "validation_mode": "strict"}
            response = await client.post("/api/workflows", json=definition)
            assert response.status_code in (201, 409), response.text
    addresses = urls or (up.runtime.gateway_url,)
    clients = [up.client(addresses[number % len(addresses)]) for number in range(8)]
    callers = [Caller(f"caller{number}", answers, client) for number, client in enumerate(clients)]
    for number in range(3):
        await callers[number].ping(f"flexible_{number}", "1", start=True)
    tasks = [asyncio.create_task(flexible(callers[number], f"flexible_{number % 3}")) for number in range(5)]
    tasks += [asyncio.create_task(insistent(callers[5], "flexible_0"))]
    tasks += [asyncio.create_task(strict(callers[6 + number], f"strict_{number}")) for number in range(2)]
    try:
        yield answers
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        for client in clients:
            await client.aclose()
    assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
