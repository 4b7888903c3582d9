"""Pulse targets and webhook channels for what is measured, and whether workflows follow the targets."""

from typing import Any

import httpx

from benchmarks.stack import Stack
from benchmarks.waiting import BenchmarkError, until

LONG_SECONDS = 7 * 86_400
"""The period of targets that are not to become due."""

_FOLLOWED = """
SELECT count(*) FROM pulse_standings s JOIN pulses p ON p.id = s.pulse_id
WHERE left(p.slug, length(%s)) = %s
"""


async def open_targets(stack: Stack, name: str, count: int) -> list[str]:
    """Pings `count` targets into being and waits until each is followed by its workflow; returns their slugs."""
    slugs = [f"{name}-{number}" for number in range(count)]
    await stack.ask_each(creating(slugs), connections=8, patience_seconds=patience(count))
    await all_followed(stack, name, count)
    return slugs


def creating(slugs: list[str]) -> list[str]:
    return [f"/hbk/{slug}?create=1&period={LONG_SECONDS}&key={{key}}" for slug in slugs]


def pings_to(slugs: list[str]) -> list[str]:
    return [f"/hbk/{slug}?key={{key}}" for slug in slugs]


async def followed(stack: Stack, name: str) -> int:
    """How many of the targets that are called so have a workflow that has taken in a ping."""
    ((count,),) = await stack.rows(_FOLLOWED, f"{name}-", f"{name}-")
    return int(count)


async def all_followed(stack: Stack, name: str, count: int) -> None:
    async def are_all() -> bool:
        return await followed(stack, name) >= count

    await until(f"{count} targets followed by their workflows", are_all, timeout_seconds=patience(count))


def patience(count: int) -> float:
    """Seconds in which a slow machine has opened so many targets."""
    return 60 + 0.2 * count


async def create_webhook(client: httpx.AsyncClient, name: str, url: str, *, default: bool = False) -> str:
    """Returns its id."""
    channel = {"kind": "webhook", "name": name, "url": url, "default": default}
    return str((await post(client, "/api/channels", channel))["id"])


async def create_target(client: httpx.AsyncClient, slug: str, **rules: Any) -> None:
    await post(client, "/api/pulses", {"name": slug, "slug": slug, **rules})


async def post(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Raises BenchmarkError unless something was created."""
    answer = await client.post(path, json=body)
    if answer.status_code != 201:
        raise BenchmarkError(f"POST {path} was answered with {answer.status_code}: {answer.text[:200]}")
    created: dict[str, Any] = answer.json()
    return created


async def ping(client: httpx.AsyncClient, slug: str) -> None:
    """Raises BenchmarkError unless it is taken."""
    answer = await client.get(f"/hbk/{slug}")
    if answer.status_code != 200:
        raise BenchmarkError(f"a ping of {slug} was answered with {answer.status_code}: {answer.text[:200]}")
