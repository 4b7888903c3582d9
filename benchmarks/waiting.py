"""Waiting that ends: what does not come in time ends the measurement, with words that say what was missing."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Found = TypeVar("Found")


class BenchmarkError(Exception):
    """A part of the benchmark cannot be measured; the message says why."""


async def until(
    what: str, look: Callable[[], Awaitable[Found]], *, timeout_seconds: float, every_seconds: float = 0.1
) -> Found:
    """The first truthy answer of `look`. Raises BenchmarkError, with the last one, if none comes in time."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + timeout_seconds
    while not (found := await look()):
        if loop.time() > give_up_at:
            raise BenchmarkError(f"{what}: not within {timeout_seconds:g} s (last seen: {found!r})")
        await asyncio.sleep(every_seconds)
    return found
