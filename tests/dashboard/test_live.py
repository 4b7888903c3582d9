"""Pages that are kept up to date: the server says that something changed, and nothing more."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import httpx
import pytest

from api.dashboard import live
from storage.base import Sessions
from tests.api.calls import Calls
from tests.support.dashboard import Site, site_of


async def events(site: Site, subject: str) -> AsyncGenerator[str]:
    async with site.http.stream("GET", "/live", params={"subject": subject}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line:
                yield line


async def next_change(told: AsyncGenerator[str]) -> None:
    async with asyncio.timeout(20):
        async for line in told:
            if line == "event: changed":
                return


async def test_a_ping_is_told_to_who_looks_at_its_account(fresh: Site, fresh_calls: Calls) -> None:
    async with aclosing(events(fresh, "account")) as told:
        await next_change(told)  # whatever was before the first look
        await fresh_calls.open()
        await next_change(told)


async def test_who_looks_at_one_instance_hears_of_that_one(site: Site, calls: Calls, fresh: Site) -> None:
    workflow_id, instance_id = await calls.open()
    async with aclosing(events(site, f"instance/{workflow_id}/{instance_id}")) as told:
        await next_change(told)
        await calls.dynamic(workflow_id, "2", instance_id=instance_id)
        await next_change(told)


async def test_nobody_hears_of_another_account(
    site: Site, calls: Calls, quick_gateway: str, sessions: Sessions
) -> None:
    async with site_of(quick_gateway, sessions) as stranger:
        workflow_id, instance_id = await calls.open()
        heard: list[str] = []
        async with aclosing(events(site, f"instance/{workflow_id}")) as ours:
            # Twice: once the first look was taken, only changes are told.
            await next_change(ours)
            await calls.dynamic(workflow_id, "2", instance_id=instance_id)
            await next_change(ours)
            async with aclosing(events(stranger, f"instance/{workflow_id}")) as theirs:
                await next_change(theirs)
                listening = asyncio.create_task(_collect(theirs, heard))
                for stage in ("3", "4"):
                    await calls.dynamic(workflow_id, stage, instance_id=instance_id)
                    await next_change(ours)
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
        assert "event: changed" not in heard


async def _collect(told: AsyncGenerator[str], heard: list[str]) -> None:
    async for line in told:
        heard.append(line)


async def test_it_needs_a_login(quick_gateway: str) -> None:
    async with httpx.AsyncClient(base_url=quick_gateway) as nobody:
        assert (await nobody.get("/live")).status_code == 401


async def test_it_ends_with_the_session(fresh: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "IDLE_SECONDS", 0.1)
    async with aclosing(events(fresh, "nothing")) as told, asyncio.timeout(20):
        assert await anext(told) == "retry: 2000"
        assert (await fresh.http.post("/api/logout", headers=await csrf(fresh))).status_code == 204
        assert [line async for line in told][-1] in ("data:", ": still there")


async def test_so_it_does_however_much_happens(
    fresh: Site, fresh_calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "IDLE_SECONDS", 1.0)
    async with aclosing(events(fresh, "account")) as told, asyncio.timeout(20):
        await next_change(told)
        assert (await fresh.http.post("/api/logout", headers=await csrf(fresh))).status_code == 204

        async def keep_busy() -> None:
            while True:
                await fresh_calls.open()

        busy = asyncio.create_task(keep_busy())
        assert [line async for line in told]
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)


async def csrf(site: Site) -> dict[str, str]:
    return {"X-CSRF-Token": site.http.cookies["csrf_token"]}
