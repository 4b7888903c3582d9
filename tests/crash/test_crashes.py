"""Under load, each part is killed in turn."""

import asyncio
from pathlib import Path

from tests.crash.books import check_books
from tests.crash.callers import load
from tests.support.up import running_up

VICTIMS = ("gateway", "worker", "Temporal", "Postgres")


async def test_what_was_acknowledged_is_applied_once_whoever_is_killed(tmp_path: Path) -> None:
    async with running_up(tmp_path) as up:
        async with load(up) as answers:
            for victim in VICTIMS:
                await asyncio.sleep(1.2)
                before = len(answers.acknowledged)
                assert before > 50, f"no load worth the name before {victim} is killed"
                await up.kill(victim)
                await up.healthy()
            await asyncio.sleep(1.2)
        await check_books(up, answers)
