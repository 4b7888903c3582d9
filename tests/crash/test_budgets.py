"""Fifty callers at three gateways spend of one daily limit: the sum is exact, and the first who crosses it ends it,
whoever is killed meanwhile."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from pathlib import Path
from subprocess import Popen
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from cli.ports import claim_ports
from domain.budgets import Rule
from storage.alerts import AlertRow
from storage.base import Sessions
from storage.cost_alerts import CostAlert
from storage.costs import CostRollup, InstanceCost, WorkflowDayCost
from storage.instances import Instance
from storage.pings import Ping
from tests.crash.books import _check_instance, _is_told
from tests.crash.test_two_gateways import _answers
from tests.support.up import Up, running_up
from tests.support.waiting import until

PINGS = 50
LIMIT = Decimal("0.25")
AGAIN_SECONDS = 0.2
PATIENCE_SECONDS = 90
STOPPED = ("instance_paused", "daily_budget_exceeded")


def cost_of(number: int) -> Decimal:
    """About a cent, and of each ping another amount: what is lost or counted twice shows in the sum."""
    return Decimal("0.01") + number * Decimal("0.000000000000000001")


@contextmanager
def further_gateways(up: Up, number: int) -> Iterator[list[tuple["Popen[bytes]", str]]]:
    """`pingpulse api`, run by hand beside `up`."""
    ports = claim_ports(*(("127.0.0.1", 0, "--port", "PINGPULSE_PORT") for _ in range(number)))
    with ExitStack() as files:
        outputs = [files.enter_context((up.home / f"gateway-{port}").open("w")) for port in ports]
        started = [
            up.run("api", output=output.fileno(), PINGPULSE_PORT=str(port))
            for port, output in zip(ports, outputs, strict=True)
        ]
        try:
            yield [(process, f"http://127.0.0.1:{port}") for process, port in zip(started, ports, strict=True)]
        finally:
            for process in started:
                process.kill()
                process.wait()


@dataclass
class Spenders:
    """Callers at several gateways, who send each ping with an idempotency key until they are told yes or no.

    `told` are the answers by marker. `answered` is called with how many there are.
    """

    clients: list[httpx.AsyncClient]
    workflow_id: str
    told: dict[str, httpx.Response] = field(default_factory=dict)
    answered: Callable[[int], None] = lambda _: None

    async def spend(self, number: int, **members: object) -> None:
        marker = f"{self.workflow_id}-{number}"
        give_up_at = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        for turn in count(number):
            response = await self.send(self.clients[turn % len(self.clients)], number, **members)
            if response is not None and response.status_code in (200, 409):
                self.told[marker] = response
                self.answered(len(self.told))
                return
            assert response is None or response.status_code == 503, response.text
            assert asyncio.get_running_loop().time() < give_up_at, f"{marker} is not answered"
            await asyncio.sleep(AGAIN_SECONDS)
        raise AssertionError

    async def send(self, client: httpx.AsyncClient, number: int, **members: object) -> httpx.Response | None:
        """The answer; None if there was none."""
        marker = f"{self.workflow_id}-{number}"
        body = {"stagePath": "1", "marker": marker, "cost_usd": f"{cost_of(number):f}", **members}
        try:
            return await client.post(f"/dhk/{self.workflow_id}", json=body, headers={"Idempotency-Key": marker})
        except httpx.TransportError:
            return None

    async def ask_again(self, **members: object) -> None:
        """Whoever asks again, of whatever gateway, hears what was said before."""
        for number in range(PINGS):
            before = self.told[f"{self.workflow_id}-{number}"]
            again = await self.send(self.clients[0], number, **members)
            assert again is not None
            assert (again.status_code, _said(again)) == (before.status_code, _said(before))

    async def spend_all(self, lanes: int, **members: object) -> None:
        """So many at a time."""
        numbers = iter(range(PINGS))

        async def lane() -> None:
            for number in numbers:
                await self.spend(number, **members)

        await asyncio.gather(*(lane() for _ in range(lanes)))


def _said(answer: httpx.Response) -> dict[str, Any]:
    return {name: value for name, value in answer.json().items() if name not in ("request_id", "instance")}


@asynccontextmanager
async def callers(up: Up, urls: list[str]) -> AsyncIterator[list[httpx.AsyncClient]]:
    clients = [up.client(url) for url in urls]
    try:
        yield clients
    finally:
        for client in clients:
            await client.aclose()


async def limited(client: httpx.AsyncClient, workflow_id: str) -> None:
    definition = {"kind": "dynamic", "id": workflow_id, "name": workflow_id}
    created = await client.post("/api/workflows", json=definition)
    assert created.status_code == 201, created.text
    budget = {"budget_daily_limit_usd": f"{LIMIT}", "budget_action": "pause"}
    answer = await client.put(f"/api/workflows/{workflow_id}/budget", json=budget)
    assert answer.status_code == 200, answer.text


async def check(up: Up, sessions: Sessions, spenders: Spenders) -> None:
    """All books of the workflow say the same, and it is what the callers were told."""
    workflow_id = spenders.workflow_id
    accepted = {marker for marker, answer in spenders.told.items() if answer.status_code == 200}
    total = sum((cost_of(number) for number in range(PINGS) if f"{workflow_id}-{number}" in accepted), Decimal(0))
    refusals = Counter(answer.json()["code"] for answer in spenders.told.values() if answer.status_code == 409)
    assert len(spenders.told) == PINGS
    assert set(refusals) <= set(STOPPED), refusals
    await until(lambda: _is_told(sessions), timeout=60, every=0.1)

    marker = Ping.payload["marker"].as_string()
    async with sessions() as session:
        mine = (Ping.workflow_id == workflow_id, marker.is_not(None))
        rows = (await session.execute(select(marker, Ping.outcome, Ping.id, Ping.cost_usd).where(*mine))).all()
        kept = Counter(name for name, outcome, *_ in rows if outcome == "accepted")
        assert kept == Counter(accepted), "what was accepted, once each"
        assert {outcome for _, outcome, *_ in rows} <= {"accepted", "rejected", "withdrawn"}
        books = [
            await session.scalar(select(func.sum(table.cost_usd)).where(table.workflow_id == workflow_id))
            for table in (WorkflowDayCost, InstanceCost, CostRollup)
        ]
        counted = await session.scalar(
            select(func.sum(InstanceCost.pings)).where(InstanceCost.workflow_id == workflow_id)
        )
        crossings = list(await session.scalars(select(CostAlert).where(CostAlert.workflow_id == workflow_id)))
        alerts = list(
            await session.scalars(
                select(AlertRow).where(AlertRow.source == f"workflow/{workflow_id}", AlertRow.kind == Rule.DAILY)
            )
        )
        instances = list(await session.scalars(select(Instance).where(Instance.workflow_id == workflow_id)))
    assert sum((cost for _, outcome, _, cost in rows if outcome == "accepted"), Decimal(0)) == total
    assert books == [total] * 3
    assert counted == len(accepted) + (0 if len(instances) > 1 else 1)

    (crossing,) = crossings
    costs = {id_: cost for _, _, id_, cost in rows}
    assert (crossing.alert_type, crossing.current_cost_usd) == (Rule.DAILY, total)
    assert total - costs[crossing.ping_id] <= LIMIT < total, "it trips at the first that crosses"
    assert [(alert.repeats, alert.data["ping_id"]) for alert in alerts] == [(0, crossing.ping_id)]
    said = [answer.json()["budget"] for answer in spenders.told.values() if answer.status_code == 200]
    assert [report["action_taken"] for report in said if report["action_taken"]] == ["pause"]
    assert max(Decimal(str(report["today_cost_usd"])) for report in said).quantize(LIMIT) == total.quantize(LIMIT)

    temporal = await up.temporal()
    for instance in instances:
        if instance.status != "paused" or instance.last_ping_at is not None:
            await _check_instance(sessions, temporal, instance)


async def into_one(clients: list[httpx.AsyncClient], workflow_id: str, lanes: int, **values: Any) -> Spenders:
    await limited(clients[0], workflow_id)
    opened = await clients[0].post(
        f"/dhk/{workflow_id}", json={"stagePath": "1", "cost_usd": 0}, params={"start": "yes"}
    )
    assert opened.status_code == 200, opened.text
    spenders = Spenders(clients, workflow_id, **values)
    members = {"instance_id": opened.json()["instance_id"]}
    await spenders.spend_all(lanes, **members)
    await spenders.ask_again(**members)
    return spenders


async def into_many(clients: list[httpx.AsyncClient], workflow_id: str, lanes: int, **values: Any) -> Spenders:
    await limited(clients[0], workflow_id)
    spenders = Spenders(clients, workflow_id, **values)
    await spenders.spend_all(lanes, start=True)
    await spenders.ask_again(start=True)
    return spenders


async def test_fifty_at_three_gateways_cannot_overspend(tmp_path: Path) -> None:
    async with running_up(tmp_path, PINGPULSE_VERDICT_TIMEOUT_SECONDS="10") as up, up.sessions() as sessions:
        with further_gateways(up, 2) as others:
            urls = [up.runtime.gateway_url, *(url for _, url in others)]
            for url in urls:
                await until(lambda url=url: _answers(url), timeout=30, every=0.1)  # type: ignore[misc]
            async with callers(up, urls) as clients:
                for play in (into_one, into_many):
                    spenders = await play(clients, play.__name__, lanes=PINGS)
                    await check(up, sessions, spenders)


@pytest.fixture(scope="module")
async def up(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Up]:
    async with running_up(tmp_path_factory.mktemp("budgets")) as up:
        yield up


@pytest.mark.parametrize("play", [into_one, into_many])
async def test_nor_if_a_gateway_and_the_worker_are_killed_meanwhile(up: Up, play: Any) -> None:
    async with up.sessions() as sessions:
        with further_gateways(up, 2) as others:
            urls = [up.runtime.gateway_url, *(url for _, url in others)]
            for url in urls:
                await until(lambda url=url: _answers(url), timeout=30, every=0.1)  # type: ignore[misc]
            killing: list[asyncio.Task[None]] = []

            def kill(answers: int) -> None:
                if answers == 8:
                    others[0][0].kill()
                if answers == 12:
                    killing.append(asyncio.create_task(up.kill("worker")))

            async with callers(up, urls) as clients:
                spenders = await play(clients, play.__name__, lanes=8, answered=kill)
            assert killing, "nobody was killed"
            await asyncio.gather(*killing)
            await check(up, sessions, spenders)
