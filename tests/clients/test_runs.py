"""`with` and decorators: what is reported, and that it gets in nobody's way."""

import asyncio
import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from pingpulse import AsyncPingPulse, NotFound, PingPulse, current_stage, stage
from tests.api.calls import Calls, new_id
from tests.clients.breakable import Breakable

Connect = Callable[..., Any]


class Boom(Exception):
    """What a job may raise."""


@pytest.fixture(params=[False, True], ids=["later", "strict"])
async def job(request: pytest.FixtureRequest, gateway_url: str, mine: Calls) -> AsyncIterator["Job"]:
    """Both clients, which are or are not strict."""
    job = Job(gateway_url, mine, strict=request.param)
    yield job
    await job.close()


class Job:
    def __init__(self, url: str, mine: Calls, strict: bool) -> None:
        self.sync = PingPulse(url, mine.key, strict=strict)
        self.awaited = AsyncPingPulse(url, mine.key, strict=strict)
        self._mine = mine

    async def run(self, work: Callable[[], Any]) -> Any:
        """Work that blocks, from a thread, and then all of its pings."""
        try:
            return await asyncio.to_thread(work)
        finally:
            assert await asyncio.to_thread(self.sync.flush)

    async def close(self) -> None:
        await asyncio.to_thread(self.sync.close)
        await self.awaited.close()

    async def pulse(self) -> str:
        slug = new_id("job").replace("_", "-")
        await self._mine.post("/api/pulses", {"name": slug, "period_seconds": 60, "success_keywords": ["ok"]}, 201)
        return slug

    async def events(self, target: str) -> list[tuple[str, str | None]]:
        pings = (await self._mine.get(f"/api/pulses/{target}/pings"))["pings"]
        return [(ping["event"], ping["error"]) for ping in reversed(pings)]

    async def hook(self) -> str:
        created = await self._mine.post("/api/process-hooks", {"name": "ETL", "expected_seconds": 60}, 201)
        return str(created["id"])

    async def runs(self, hook: str) -> list[dict[str, Any]]:
        return list((await self._mine.get(f"/api/process-hooks/{hook}/runs"))["runs"])

    async def latest(self, workflow_id: str) -> dict[str, Any]:
        """The instance, once it has nothing more to wait for."""
        history = await self._mine.history(workflow_id)
        found = [history["running_instance"], *history["recent_instances"]]
        (instance,) = [instance for instance in found if instance is not None]
        return dict(instance)

    async def steps(self, instance_id: str) -> list[tuple[str, str]]:
        timeline = (await self._mine.get(f"/api/instances/{instance_id}/timeline"))["timeline"]
        return [(step["stage_path"], step["status"]) for step in timeline]


def raises(error: BaseException) -> Any:
    raise error


async def test_a_pulse_starts_and_ends(job: Job) -> None:
    target = await job.pulse()

    def work() -> None:
        with job.sync.run(target) as run:
            run.add(payload={"rows": 3})

    await job.run(work)
    async with job.awaited.run(target):
        pass
    await job.awaited.flush()
    assert await job.events(target) == [("start", None), ("success", None)] * 2


@pytest.mark.parametrize(
    ("error", "event", "said"),
    [
        (Boom("disk full"), "fail", "Boom: disk full"),
        (SystemExit(3), "fail", "exit code 3"),
        (SystemExit("no disk"), "fail", "SystemExit: no disk"),
        (SystemExit(0), "success", None),
        (KeyboardInterrupt(), "fail", "KeyboardInterrupt"),
        (Boom("\udcff\x00" + "x" * 1000), "fail", "Boom: ?" + "x" * 492 + "…"),
    ],
)
async def test_what_a_job_raises_passes_through(job: Job, error: BaseException, event: str, said: str | None) -> None:
    target, caught = await job.pulse(), []

    def work() -> None:
        try:
            with job.sync.run(target):
                raise error
        except BaseException as raised:
            caught.append(raised)

    await job.run(work)
    try:
        async with job.awaited.run(target):
            raise error
    except BaseException as raised:
        caught.append(raised)
    await job.awaited.flush()
    assert all(raised is error for raised in caught)
    assert len(caught) == 2
    assert error.__context__ is None
    assert await job.events(target) == [("start", None), (event, said)] * 2


async def test_a_cancelled_task_is_reported(job: Job) -> None:
    target, inside = await job.pulse(), asyncio.Event()

    async def work() -> None:
        async with job.awaited.run(target):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    await job.awaited.flush()
    assert await job.events(target) == [("start", None), ("fail", "CancelledError")]


async def test_a_pulse_comes_into_being_with_its_first_run(job: Job) -> None:
    target = new_id("new").replace("_", "-")
    with suppress(Boom):
        async with job.awaited.run(target, create=True, period_seconds=3600):
            raise Boom
    await job.awaited.flush()
    assert await job.events(target) == [("start", None), ("fail", "Boom")]


async def test_runs_of_a_process_hook_that_overlap_end_each_its_own(job: Job) -> None:
    hook = await job.hook()

    def work() -> None:
        with suppress(Boom), job.sync.process(hook, agent="outer"):
            with job.sync.process(hook, agent="inner") as inner:
                inner.add(payload={"rows": 5})
            raise Boom("late")

    await job.run(work)
    async with job.awaited.process(hook, agent="third") as third:
        pass
    await job.awaited.flush()
    runs = {run["agent"]: run for run in await job.runs(hook)}
    assert (runs["inner"]["status"], runs["inner"]["metadata"]["rows"]) == ("finished", 5)
    assert (runs["outer"]["status"], runs["outer"]["error"]) == ("failed", "Boom: late")
    assert (runs["third"]["status"], runs["third"]["run_id"]) == ("finished", third.run_id)


async def test_a_workflow_with_stages_of_both_kinds(job: Job) -> None:
    workflow_id = new_id()

    def work() -> None:
        with job.sync.workflow(workflow_id, agent="etl").start() as run:

            @run.stage(1, name="Extract")
            def extract() -> int:
                return 3

            assert extract() == 3
            with run.stage("2") as outer:
                with run.stage("2.1"):
                    pass
                outer.add(payload={"rows": 3}, usage={"input_tokens": 7}, model_id="house-llm", cost_usd=0.5)

    await job.run(work)
    instance = await job.latest(workflow_id)
    assert (instance["status"], instance["agent_code"]) == ("completed", "etl")
    assert {path: stage["status"] for path, stage in instance["stage_statuses"].items()} == dict.fromkeys(
        ["1", "2", "2.1", "run"], "healthy"
    )
    assert await job.steps(instance["id"]) == [
        ("1", "pending"), ("1", "success"), ("2", "pending"), ("2.1", "pending"), ("2.1", "success"), ("2", "success"),
        ("run", "success")]  # fmt: skip


async def test_a_failed_stage_is_reported_once_and_raised(job: Job) -> None:
    workflow_id, error = new_id(), Boom("disk full")

    async def work() -> None:
        async with job.awaited.workflow(workflow_id).start() as run:

            @run.stage("2.1")
            async def load() -> None:
                await asyncio.sleep(0)
                raise error

            await load()

    with pytest.raises(Boom) as raised:
        await work()
    assert raised.value is error
    await job.awaited.flush()
    instance = await job.latest(workflow_id)
    assert (instance["status"], instance["failure_reason"]) == ("failed", "Stage 2.1 failed: Boom: disk full")
    assert await job.steps(instance["id"]) == [("2.1", "pending"), ("2.1", "failed")]


async def test_a_run_that_fails_outside_of_its_stages(job: Job) -> None:
    workflow_id = new_id()
    with suppress(Boom):
        async with job.awaited.workflow(workflow_id).start(announce=False) as run:
            async with run.stage(1):
                pass
            raise Boom("later")
    await job.awaited.flush()
    instance = await job.latest(workflow_id)
    assert instance["failure_reason"] == "Stage run failed: Boom: later"
    assert await job.steps(instance["id"]) == [("1", "success"), ("run", "failed")]


async def test_a_stage_may_be_the_final_one(job: Job) -> None:
    workflow_id = new_id()
    async with job.awaited.workflow(workflow_id).start() as run, run.stage(1, final=True):
        pass
    await job.awaited.flush()
    instance = await job.latest(workflow_id)
    assert (instance["status"], list(instance["stage_statuses"])) == ("completed", ["1"])


async def test_a_strict_static_workflow(job: Job, mine: Calls) -> None:
    workflow_id = await mine.define(stages=2, validation_mode="strict")
    async with job.awaited.workflow(workflow_id, kind="static", agent="etl").start() as run:
        for path in (1, 2):
            async with run.stage(path):
                pass
    await job.awaited.flush()
    instance = await job.latest(workflow_id)
    assert (instance["status"], instance["id"]) == ("completed", run.instance_id)
    assert await mine.failed_pings(workflow_id) == []


async def test_runs_of_one_workflow_at_once_stay_apart(job: Job, mine: Calls) -> None:
    workflow_id, both = new_id(), threading.Barrier(2)

    def work(name: str) -> str | None:
        with job.sync.workflow(workflow_id, agent=name).start() as run:
            both.wait(10)
            with ThreadPoolExecutor(4) as pool:
                for path in ("1", "2", "3", "4"):
                    pool.submit(run.stage(path)(lambda: None))
        job.sync.flush()
        return run.instance_id

    with ThreadPoolExecutor(2) as pool:
        ids = await asyncio.gather(
            *(asyncio.get_running_loop().run_in_executor(pool, work, name) for name in ("ada", "bob"))
        )
    assert len({*ids, None}) == 3
    for instance_id, name in zip(ids, ("ada", "bob"), strict=True):
        instance = await mine.instance(str(instance_id))
        assert (instance["agent_code"], instance["status"]) == (name, "completed")
        assert list(instance["stage_statuses"]) == ["1", "2", "3", "4", "run"]


async def test_stages_of_many_tasks_and_one_decorator(job: Job) -> None:
    workflow_id, seen = new_id(), []

    async with job.awaited.workflow(workflow_id).start() as run:

        @run.stage("5")
        async def work(number: int) -> None:
            found = current_stage()
            assert found is not None
            await asyncio.sleep(0.01 * (number % 3))
            assert current_stage() is found
            found.add(payload={"number": number})
            seen.append(id(found))

        await asyncio.gather(*(work(number) for number in range(5)))
        assert current_stage() is None
    await job.awaited.flush()
    assert len(set(seen)) == 5
    steps = await job.steps(str(run.instance_id))
    assert steps.count(("5", "pending")) == steps.count(("5", "success")) == 5


@stage("1", name="Extract")
def extract(rows: int) -> int:
    """A function that knows of no run."""
    return rows


@stage("2")
async def load() -> None:
    found = current_stage()
    if found is not None:
        found.add(payload={"loaded": True})


async def test_functions_that_are_decorated_before_there_is_a_run(job: Job) -> None:
    assert extract(2) == 2
    await load()
    assert extract.__doc__ == "A function that knows of no run."
    workflow_id = new_id()

    def work() -> None:
        with job.sync.workflow(workflow_id).start():
            extract(3)
            asyncio.run(load())

    await job.run(work)
    assert list((await job.latest(workflow_id))["stage_statuses"]) == ["1", "2", "run"]


async def test_a_rerun_goes_on_with_its_instance(job: Job, mine: Calls) -> None:
    workflow_id, instance_id = await mine.open()
    rerun = (await mine.post(f"/api/instances/{instance_id}/rerun", {}, 201))["new_instance_id"]
    async with job.awaited.workflow(workflow_id).start(rerun) as run, run.stage(1):
        pass
    await job.awaited.flush()
    assert (await mine.instance(rerun))["status"] == "completed"


async def test_only_a_strict_job_is_told_of_what_is_wrong(
    job: Job, caplog: pytest.LogCaptureFixture, mine: Calls
) -> None:
    strict = job.sync._settings.strict

    def work() -> str:
        with job.sync.process("nobody"):
            return "done"

    with caplog.at_level(logging.INFO, "pingpulse"):
        if strict:
            with pytest.raises(NotFound):
                await job.run(work)
        else:
            assert await job.run(work) == "done"
            assert "404 not_found" in caplog.text
            assert "was never opened" in caplog.text


async def test_a_strict_job_that_fails_raises_its_own_error(
    proxy: Breakable, mine: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    client = PingPulse(proxy.url, mine.key, strict=True, retry_seconds=0)
    workflow_id = new_id()

    def work() -> None:
        with client.workflow(workflow_id).start() as run, run.stage(1):
            proxy.break_()
            raise Boom

    with caplog.at_level(logging.WARNING, "pingpulse"), pytest.raises(Boom):
        await asyncio.to_thread(work)
    assert "could not be reported" in caplog.text
    client.close()


async def test_nothing_that_is_wrong_with_a_report_reaches_a_job(
    gateway_url: str, mine: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    client, workflow_id = PingPulse(gateway_url, mine.key), new_id()
    circle: dict[str, Any] = {}
    circle["self"] = circle
    payloads: list[Any] = [circle, "text", {"key": "x"}, {"x": "y" * 200_000}, {"x": float("inf")}, 7]
    with caplog.at_level(logging.WARNING, "pingpulse"), client.workflow(workflow_id).start() as run:
        for order, payload in enumerate(payloads, 1):
            with run.stage(order) as visit:
                visit.add(payload=payload, nonsense=1)
        client.later.stage("..", 1)
        client.later.ping_log("x", "y", payload="z")  # type: ignore[arg-type]
        client.later.stage("x", 1, kind="odd")  # type: ignore[arg-type]
    assert await asyncio.to_thread(client.flush)
    tree = await mine.get(f"/dhk/{workflow_id}/tree")
    assert [stage["status"] for stage in tree.values()] == ["healthy"] * 7
    assert caplog.text.count("goes without its payload") == 6
    assert caplog.text.count("A ping could not be made") == 3
    await asyncio.to_thread(client.close)


async def test_pings_that_nobody_waits_for(gateway_url: str, mine: Calls) -> None:
    target, workflow_id = new_id("pls").replace("_", "-"), new_id()
    async with AsyncPingPulse(gateway_url, mine.key) as client:
        client.later.stage(workflow_id, 1, start=True)
        client.later.ping(target, create=True)
        client.later.ping_start(target, run_id="1")
        client.later.ping_fail(target, run_id="1", error="no")
        client.later.ping_log(target, "hm")
    pings = (await mine.get(f"/api/pulses/{target}/pings"))["pings"]
    assert [ping["event"] for ping in pings] == ["log", "fail", "start", "success"]
    assert list(await mine.get(f"/dhk/{workflow_id}/tree")) == ["1"]


async def test_what_cannot_be_reported_is_refused_where_it_is_written(mine: Calls, gateway_url: str) -> None:
    client = AsyncPingPulse(gateway_url, mine.key, strict=True)

    def numbers() -> Any:
        yield 1

    with pytest.raises(TypeError, match="is a generator"):
        client.run("x")(numbers)
    with pytest.raises(TypeError, match="async with"), client.run("x"):
        pass
    with pytest.raises(ValueError, match="static or dynamic"):
        client.workflow("x", kind="odd")  # type: ignore[arg-type]


async def test_a_sync_client_under_async_with_does_not_hold_up_the_loop(gateway_url: str, mine: Calls) -> None:
    client, workflow_id = PingPulse(gateway_url, mine.key, strict=True), new_id()
    async with client.workflow(workflow_id).start() as run, run.stage(1):
        pass
    assert (await mine.instance(str(run.instance_id)))["status"] == "completed"
    client.close()


async def test_without_an_address_a_job_runs_as_ever(caplog: pytest.LogCaptureFixture) -> None:
    client = PingPulse("", "")
    with caplog.at_level(logging.WARNING, "pingpulse"):
        for _ in range(3):
            with client.run("nightly"):
                pass
    assert client.dropped == 6
    assert caplog.text.count("PINGPULSE_URL") == 1


def test_a_scope_that_ends_in_another_context_does_no_harm(pulse: PingPulse, caplog: pytest.LogCaptureFixture) -> None:
    scope = pulse.run("nightly")
    thread = threading.Thread(target=scope.__enter__)
    thread.start()
    thread.join()
    with caplog.at_level(logging.WARNING, "pingpulse"):
        scope.__exit__(*sys.exc_info())
    assert "another context" in caplog.text
