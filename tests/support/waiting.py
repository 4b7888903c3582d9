"""Waiting for a condition, never for a time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psutil


async def until(condition: Callable[[], Any | Awaitable[Any]], *, timeout: float = 20, every: float = 0.02) -> Any:
    """The first truthy value of `condition`; fails with its last value when none comes in `timeout` seconds."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + timeout
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert loop.time() < give_up_at, f"still {value!r} after {timeout} seconds"
        await asyncio.sleep(every)


def is_gone(pid: int) -> bool:
    """Whether no such process runs; a zombie that its new parent has not buried yet counts as gone."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
