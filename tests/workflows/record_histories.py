"""Records a history of each main path of our workflows that has none yet: `make histories`.

The replay test holds every later version of the code to them, as it must go on with workflows that are running
while it is deployed. So delete one, to have it recorded anew, only once no workflow of the old code can live.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from domain.breaker import Trip
from domain.budgets import Action
from domain.instances import Outage
from domain.pings import Event, PingStatus
from domain.subjects import pulse_subject, run_subject
from temporal_workflows.instance import InstanceWorkflow
from temporal_workflows.message import MessageInput, MessageWorkflow
from temporal_workflows.registry import WORKFLOWS
from tests.domain.builders import dynamic, static, strict
from tests.support.stack import temporal_server
from tests.support.waiting import until
from tests.workflows.approval_desk import APPROVAL_PATHS, Desk
from tests.workflows.approval_desk import QUEUE as APPROVALS
from tests.workflows.office import Office, at_work
from tests.workflows.office import Run as OfficeRun
from tests.workflows.pulse_world import QUEUE as PULSES
from tests.workflows.pulse_world import PulseWorld, Target
from tests.workflows.world import QUEUE, Run, World
from worker.main import sandbox

MESSAGES = "messages"
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


async def pulse_up_and_down(world: PulseWorld) -> Target:
    target = await world.create(period_seconds=1, grace_seconds=1)
    await target.ping()
    await until(lambda: target.alerts, timeout=10)
    await target.ping()
    return target


async def pulse_redefined(world: PulseWorld) -> Target:
    target = await world.create(period_seconds=86_400)
    await target.ping(Event.START, run_id="a")
    await target.redefine(period_seconds=3600)
    await target.redefine(paused_at=target.created_at)
    await target.redefine(paused_at=None)
    await target.ping(run_id="a")
    return target


async def pulse_was_not_certain(world: PulseWorld) -> Target:
    target = await world.create(period_seconds=1, grace_seconds=0)
    await target.ping()
    target.is_certain = False
    await until(lambda: len(target.questions) >= 2)
    target.outages = (Outage(target.created_at, target.created_at + timedelta(seconds=4)),)
    target.is_certain = True
    await until(lambda: target.alerts)
    target.is_stale = True
    await target.ping()
    return target


async def pulse_continued(world: PulseWorld) -> Target:
    target = await world.create(period_seconds=86_400)
    for _ in range(30):
        await target.ping()
    return target


async def paused_and_resumed(world: World) -> Run:
    """Then terminated."""
    run = await world.open(dynamic(idle_timeout_seconds=60.0, **QUICK))
    run.trip = Trip(2, Action.PAUSE, "limit/1", "Instance cost $2.00 exceeds budget limit $1.00")
    for path in ("1", "2"):
        await run.ask(path)
    await run.ask("3")
    await run.resume()
    run.trip = Trip(5, Action.TERMINATE, "limit/3", "Instance cost $4.00 exceeds budget limit $3.00")
    for path in ("3", "4"):
        await run.ask(path)
    return run


PULSE_PATHS: tuple[Callable[[PulseWorld], Awaitable[Target]], ...] = (
    pulse_up_and_down,
    pulse_redefined,
    pulse_was_not_certain,
    pulse_continued,
)

PATHS: tuple[Callable[[World], Awaitable[Run]], ...] = (
    dynamic_completed,
    static_missed,
    timed_out,
    healed,
    strict_rejected,
    silence_was_not_certain,
    terminated,
    stale,
    paused_and_resumed,
)


async def run_ended_late(office: Office) -> OfficeRun:
    run = await office.start(expected=0.5, grace=0.5)
    await until(lambda: "overdue" in [status for status, _ in run.told()])
    await run.ping(Event.SUCCESS, 60)
    return run


async def run_was_not_certain(office: Office) -> OfficeRun:
    run = await office.start(expected=0.2, grace=0.2)
    run.is_certain = False
    await until(lambda: len(run.looks) >= 4)
    run.is_certain = True
    await run.ping(Event.FAIL, 60)
    return run


RUN_PATHS: tuple[Callable[[Office], Awaitable[OfficeRun]], ...] = (run_ended_late, run_was_not_certain)


class Post:
    """Sends messages as their names say."""

    @activity.defn
    async def send_message(self, message_id: str) -> str:
        if message_id == "message_sent" and activity.info().attempt > 1:
            return "sent"
        raise ApplicationError("not now", non_retryable=message_id == "message_given_up", next_retry_delay=timedelta(0))

    @activity.defn
    async def give_up(self, message_id: str) -> str:
        return "failed"


MESSAGE_PATHS = ("message_sent", "message_given_up")
NAMES = [play.__name__ for play in (*PATHS, continued, *PULSE_PATHS, *RUN_PATHS, *APPROVAL_PATHS)] + list(MESSAGE_PATHS)


async def record() -> None:
    """Real time passes: a few seconds for each."""
    async with temporal_server("limit.historyCount.suggestContinueAsNew=100") as client:
        environment = WorkflowEnvironment.from_client(client)
        await record_instances(client, World(environment))
        await record_pulses(client, PulseWorld(environment))
        await record_runs(client, environment)
        await record_approvals(client)
        await record_messages(client)


def is_missing(name: str) -> bool:
    return not (HISTORIES / f"{name}.json").exists()


async def record_instances(client: Client, world: World) -> None:
    async with worker(client, QUEUE, world.activities):
        for play in (*PATHS, continued):
            if is_missing(play.__name__):
                run = await play(world)
                await run.handle.result()
                await write_all(client, play.__name__, run.subject)


async def record_pulses(client: Client, world: PulseWorld) -> None:
    async with worker(client, PULSES, world.activities):
        for play in PULSE_PATHS:
            if is_missing(play.__name__):
                target = await play(world)
                target.is_deleted = True
                await target.temporal.tell_of_new_rules(target.definition.id)
                await target.handle.result()
                await write_all(client, play.__name__, pulse_subject(target.definition.id))


async def record_runs(client: Client, environment: WorkflowEnvironment) -> None:
    async with at_work(environment) as office:
        for play in RUN_PATHS:
            if is_missing(play.__name__):
                run = await play(office)
                await run.handle.result()
                await write_all(client, play.__name__, run_subject("phk_1", run.id))


async def record_approvals(client: Client) -> None:
    desk = Desk(client)
    async with worker(client, APPROVALS, [desk.follow_approval]):
        for play in APPROVAL_PATHS:
            if is_missing(play.__name__):
                await play(desk)
                await desk.handle(play.__name__).result()
                await write_all(client, play.__name__, play.__name__)


async def record_messages(client: Client) -> None:
    post = Post()
    async with worker(client, MESSAGES, [post.send_message, post.give_up]):
        for name in MESSAGE_PATHS:
            if is_missing(name):
                start = MessageInput(name, "account")
                await client.execute_workflow(MessageWorkflow.run, start, id=name, task_queue=MESSAGES)
                await write_all(client, name, name)


def worker(client: Client, queue: str, activities: Sequence[Any]) -> Worker:
    return Worker(client, task_queue=queue, workflows=WORKFLOWS, activities=activities, workflow_runner=sandbox())


async def write_all(client: Client, name: str, subject: str) -> None:
    """Every run of a workflow, the first one first."""
    executions = [execution async for execution in client.list_workflows(f"WorkflowId = '{subject}'")]
    for execution in sorted(executions, key=lambda execution: execution.start_time):
        await write(name, client.get_workflow_handle(subject, run_id=execution.run_id))


async def write(name: str, handle: WorkflowHandle[Any, Any]) -> None:
    document = json.loads((await handle.fetch_history()).to_json())
    number = len(list(HISTORIES.glob(f"{name}*.json")))
    target = HISTORIES / f"{name}{f'_{number}' if number else ''}.json"
    target.write_text(json.dumps(_anonymous(document), separators=(",", ":")) + "\n")


def _anonymous(value: Any) -> Any:
    """Without the name of the machine, and without its paths."""
    if isinstance(value, dict):
        told = {name: item for name, item in value.items() if name != "stackTrace"}
        return {name: "recorder" if name == "identity" else _anonymous(item) for name, item in told.items()}
    return [_anonymous(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    asyncio.run(record())
