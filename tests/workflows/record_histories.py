"""Records a history of each main path of our workflows: `make histories`.

The replay test holds every later version of the code to them, as it must go on with workflows that are running
while it is deployed. So record anew only for a path that is new, or once no workflow of the old code can live.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from domain.instances import Outage
from domain.pings import PingStatus
from temporal_workflows.instance import InstanceWorkflow
from temporal_workflows.registry import WORKFLOWS
from tests.domain.builders import dynamic, static, strict
from tests.support.stack import temporal_server
from tests.workflows.world import QUEUE, Run, World
from worker.main import sandbox

HISTORIES = Path(__file__).parent / "histories"
QUICK = {"grace_period_seconds": 0.5}


async def dynamic_completed(world: World) -> Run:
    run = await world.open(dynamic(idle_timeout_seconds=60.0, **QUICK))
    for path in ("1", "2.1", "2.2"):
        await run.ping(path)
    await run.ping("done", final=True)
    return run


async def static_missed(world: World) -> Run:
    run = await world.open(static(None, None, None, **QUICK))
    await run.ping("1")
    await run.ping("3")
    return run


async def timed_out(world: World) -> Run:
    run = await world.open(static(None, 0.5, **QUICK))
    await run.ping("1")
    return run


async def healed(world: World) -> Run:
    run = await world.open(static(None, None, **QUICK))
    await run.ping("1")
    await run.ping("2", PingStatus.FAILED, error="out of memory")
    await run.ping("2")
    return run


async def strict_rejected(world: World) -> Run:
    run = await world.open(strict(dynamic(**QUICK)))
    for path in ("1", "3", "2", "1"):
        await run.ask(path)
    await run.ask("3", final=True)
    return run


async def silence_was_not_certain(world: World) -> Run:
    run = await world.open(dynamic(idle_timeout_seconds=0.3, **QUICK))
    run.is_certain = False
    await run.ping("1")
    await asyncio.sleep(2)
    run.outages = (Outage(run.opened_at, run.opened_at + timedelta(seconds=2.5)),)
    run.is_certain = True
    return run


async def terminated(world: World) -> Run:
    run = await world.open(dynamic(idle_timeout_seconds=60.0))
    await run.ping("1")
    run.ended_at = run.opened_at + timedelta(seconds=1)
    await run.handle.signal(InstanceWorkflow.instance_terminated)
    return run


async def continued(world: World) -> Run:
    run = await world.open(strict(dynamic(idle_timeout_seconds=60.0, **QUICK)))
    for path in range(1, 31):
        await run.ask(str(path))
    await run.ask("31", final=True)
    return run


async def stale(world: World) -> Run:
    run = await world.open(dynamic(**QUICK))
    await run.ping("1")
    run.is_stale = True
    await run.ping("2", final=True)
    return run


PATHS: tuple[Callable[[World], Awaitable[Run]], ...] = (
    dynamic_completed,
    static_missed,
    timed_out,
    healed,
    strict_rejected,
    silence_was_not_certain,
    terminated,
    stale,
)


async def record() -> None:
    """Real time passes: a few seconds for each."""
    for path in HISTORIES.glob("*.json"):
        path.unlink()
    async with temporal_server("limit.historyCount.suggestContinueAsNew=100") as client:
        world = World(WorkflowEnvironment.from_client(client))
        async with Worker(
            client, task_queue=QUEUE, workflows=WORKFLOWS, activities=world.activities, workflow_runner=sandbox()
        ):
            for play in (*PATHS, continued):
                run = await play(world)
                await run.handle.result()
                async for execution in client.list_workflows(f"WorkflowId = '{run.subject}'"):
                    handle = client.get_workflow_handle(run.subject, run_id=execution.run_id)
                    await write(play.__name__, handle)


async def write(name: str, handle: WorkflowHandle[Any, Any]) -> None:
    document = json.loads((await handle.fetch_history()).to_json())
    number = len(list(HISTORIES.glob(f"{name}*.json")))
    target = HISTORIES / f"{name}{f'_{number}' if number else ''}.json"
    target.write_text(json.dumps(_anonymous(document), separators=(",", ":")) + "\n")


def _anonymous(value: Any) -> Any:
    """Without the name of the machine."""
    if isinstance(value, dict):
        return {name: "recorder" if name == "identity" else _anonymous(item) for name, item in value.items()}
    return [_anonymous(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    asyncio.run(record())
