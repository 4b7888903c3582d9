"""Two gateway processes on one stack, of which one dies for good."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from sqlalchemy import select

from cli.ports import claim_ports
from storage.base import Sessions
from storage.gateways import Gateway
from storage.outbox import OutboxRow
from tests.crash.books import check_books
from tests.crash.callers import load
from tests.support.up import Up, running_up
from tests.support.waiting import until


async def test_one_gateway_delivers_what_the_other_left_behind(tmp_path: Path) -> None:
    async with running_up(tmp_path) as up, up.sessions() as sessions:
        with second_gateway(up) as (process, url):
            await until(lambda: _answers(url), timeout=20, every=0.1)
            async with load(up, up.runtime.gateway_url, url) as answers:
                await asyncio.sleep(2)
                process.kill()
                left_behind = await _outbox_of(sessions, process.pid)
                await asyncio.sleep(0.5)
        assert left_behind, "nothing to adopt"
        await check_books(up, answers)
        assert await _was_adopted(sessions, process.pid)


@contextmanager
def second_gateway(up: Up) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """`pingpulse api`, run by hand beside `up`."""
    (port,) = claim_ports(("127.0.0.1", 0, "--port", "PINGPULSE_PORT"))
    with (up.home / "second").open("w") as output:
        process = up.run("api", output=output.fileno(), PINGPULSE_PORT=str(port))
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


async def _answers(url: str) -> bool:
    async with httpx.AsyncClient(base_url=url) as client:
        try:
            return (await client.get("/health")).status_code == 200
        except httpx.TransportError:
            return False


async def _outbox_of(sessions: Sessions, process_id: int) -> list[int]:
    """The pings that a gateway process has journaled and not delivered."""
    async with sessions() as session:
        mine = select(OutboxRow.ping_id).join(Gateway, Gateway.id == OutboxRow.gateway_id)
        return list(await session.scalars(mine.where(Gateway.process_id == process_id)))


async def _was_adopted(sessions: Sessions, process_id: int) -> bool:
    async with sessions() as session:
        return await session.scalar(select(Gateway.adopted_by).where(Gateway.process_id == process_id)) is not None
