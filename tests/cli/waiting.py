"""Waiting for conditions instead of sleeping."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import psutil

_POLL_SECONDS = 0.01


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 10.0) -> None:
    """Return as soon as the condition holds; AssertionError if it does not in time."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result if isinstance(result, bool) else await result:
            return
        assert time.monotonic() < deadline, f"still waiting after {seconds:g} s"
        await asyncio.sleep(_POLL_SECONDS)


def is_gone(pid: int) -> bool:
    """Whether no such process runs; a zombie that its new parent has not buried yet counts as gone."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
