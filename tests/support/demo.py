"""An account with a life: what the dashboard's pages are looked at with. Names and figures are made up."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any, Final

from sqlalchemy import text

from config.clock import utc_now
from storage.base import Sessions, transaction
from tests.api.calls import Calls
from tests.support.waiting import until

DAYS: Final = 90
RUNS: Final = 160


@dataclass(frozen=True)
class Demo:
    """The ids of what there is."""

    load: str
    research: str
    invoices: str
    run: str
    other_run: str
    failed: str
    paused: str
    comparison: str
    pulse: str
    down: str
    hook: str
    hook_run: str
    approval: str
    channel: str
    alert: str


async def furnish(calls: Calls, sessions: Sessions, approver: str, webhook_url: str) -> Demo:
    """Workflows, runs, pulses, process hooks, approvals and costs of the account whose calls these are. `approver` is
    asked to decide; alerts go to `webhook_url`, which must be on this machine."""
    tail = calls.account_id[-6:].lower()
    channel = await calls.post(
        "/api/channels", {"kind": "webhook", "name": "On-call webhook", "url": webhook_url, "default": True}, 201
    )
    load = await calls.define(
        name="Nightly warehouse load",
        id=f"warehouse_{tail}",
        stages=[
            {"order": order, "name": name, "timeout_seconds": 1800}
            for order, name in enumerate(("Extract", "Transform", "Load", "Publish"), 1)
        ],
        tags=["data", "nightly"],
    )
    research = await calls.define("dynamic", name="Research agents", id=f"research_{tail}", tags=["agents"])
    invoices = await calls.define("run", name="Invoice sync", id=f"invoices_{tail}", expected_interval_seconds=86_400)
    run, other_run = await _research(calls, research, good=True), await _research(calls, research, good=False)
    await _load(calls, load)
    failed = await _load(calls, load, fails_at=3)
    ended = utc_now().isoformat()
    report = {"workflow_id": invoices, "external_execution_id": "n8n-1187", "duration_ms": 8412, "ended_at": ended}
    await calls.post("/api/v1/ingest/run-success", report, 202)
    paused = await _paused(calls, tail)
    comparison = await calls.post("/api/instances/compare", {"instance_a": run, "instance_b": other_run})
    pulse, down = await _pulses(calls, tail)
    hook, hook_run = await _hook(calls, tail)
    approval = await calls.post(
        "/api/approvals",
        {
            "title": "Publish the March figures?",
            "context": "The load is done, 1,204 rows differ from last month. Publish them to the finance share?",
            "approvers": [approver],
            "requested_by": "warehouse bot",
            "timeout_seconds": 7200,
        },
        201,
    )
    alert = (await calls.get("/api/alerts"))["alerts"][0]
    demo = Demo(
        *(load, research, invoices, run, other_run, failed, paused, str(comparison["session_id"]), pulse, down),
        *(hook, hook_run, str(approval["approval_id"]), str(channel["id"]), str(alert["id"])),
    )
    await calls.settled(failed, "failed")
    await calls.settled(paused, "paused")
    await _past(sessions, calls.account_id, demo)
    return demo


_STEPS: Final[tuple[dict[str, Any], ...]] = (
    {"stagePath": "1", "agent": "planner", "stagename": "Plan", "duration_ms": 42, "handoff_reason": "plan ready"},
    {"stagePath": "2", "agent": "searcher", "stagename": "Search", "duration_ms": 9},
    {"stagePath": "2.1", "agent": "searcher", "stagename": "Search the archive", "duration_ms": 81},
    {"stagePath": "2.2", "agent": "searcher", "stagename": "Search the web", "handoff_reason": "12 sources"},
    {"stagePath": "3", "agent": "writer", "stagename": "Draft", "duration_ms": 35, "handoff_reason": "draft 1"},
    {"stagePath": "3.1", "agent": "critic", "stagename": "Review", "duration_ms": 53, "handoff_reason": "7 remarks"},
    {"stagePath": "3.2", "agent": "writer", "stagename": "Revise", "duration_ms": 29, "handoff_reason": "final text"},
    {"stagePath": "4", "agent": "publisher", "stagename": "Publish", "duration_ms": 6},
)


async def _research(calls: Calls, workflow_id: str, *, good: bool) -> str:
    """Planner, searcher, writer, critic; the one that is not `good` searches less, and its review fails."""
    instance_id = ""
    for number, step in enumerate(_STEPS):
        if not good and step["stagePath"] == "2.2":
            continue
        # Stages that take no time at all are no picture of anything.
        await asyncio.sleep(0.05)
        is_last = step["stagePath"] == ("4" if good else "3.1")
        body: dict[str, Any] = {
            **step,
            "model_id": "gpt-4o" if number % 2 else "claude-sonnet-4-5",
            "usage": {"input_tokens": 1800 + 310 * number, "output_tokens": 420 + 35 * number},
            "payload": {"question": "What moved the March figures?", "step": number, "sources": number * 3},
        }
        if number == 0:
            body["start"] = "yes"
        else:
            body["instance_id"] = instance_id
        if is_last and good:
            body["final"] = "yes"
        elif is_last:
            body |= {"status": "failed", "error": "The review found no sources for two claims."}
        answer = await calls.post(f"/dhk/{workflow_id}", body)
        instance_id = str(answer["instance_id"])
        if is_last:
            break
    return instance_id


async def _load(calls: Calls, workflow_id: str, fails_at: int = 0) -> str:
    answer = await calls.post(f"/shk/{workflow_id}", {"stage": 1, "agent": "airflow", "payload": {"rows": 120_411}})
    instance_id = str(answer["instance_id"])
    for stage in range(2, 5):
        bad = {"status": "failed", "error": "permission denied for schema finance"} if stage == fails_at else {}
        await calls.post(f"/shk/{workflow_id}", {"stage": stage, "agent": "airflow", "payload": {"rows": 9}, **bad})
        if bad:
            break
    return instance_id


async def _paused(calls: Calls, tail: str) -> str:
    workflow_id = await calls.define("dynamic", name="Support triage", id=f"triage_{tail}", tags=["agents"])
    await calls.http.put(
        f"/api/workflows/{workflow_id}/budget",
        json={"budget_limit_usd": 2, "budget_daily_limit_usd": 25, "budget_action": "pause"},
    )
    answer = await calls.post(f"/dhk/{workflow_id}", {"stagePath": "1", "start": "yes", "cost_usd": "0.84"})
    instance_id = str(answer["instance_id"])
    await calls.post(f"/dhk/{workflow_id}", {"stagePath": "2", "instance_id": instance_id, "cost_usd": "1.31"})
    return instance_id


async def _pulses(calls: Calls, tail: str) -> tuple[str, str]:
    """One that is up, and one that is down."""
    made: list[str] = []
    for name, fields in (
        ("Nightly backup", {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "grace_seconds": 900}),
        ("Mail queue", {"period_seconds": 300, "grace_seconds": 60, "tags": ["mail"]}),
        ("Robot 7, hall B", {"period_seconds": 60, "grace_seconds": 30, "tags": ["robots"]}),
        ("Certificate renewal", {"cron": "0 4 * * 1", "timezone": "UTC", "grace_seconds": 3600}),
    ):
        slug = f"{name.lower().replace(' ', '-').replace(',', '')}-{tail}"
        pulse = await calls.post("/api/pulses", {"name": name, "slug": slug, **fields}, 201)
        made.append(str(pulse["id"]))
        await calls.get(f"/hbk/{pulse['id']}")
    await calls.get(f"/hbk/{made[2]}/fail")

    async def is_down() -> bool:
        return bool((await calls.get(f"/api/pulses/{made[2]}"))["status"] == "down")

    await until(is_down)
    return made[0], made[2]


async def _hook(calls: Calls, tail: str) -> tuple[str, str]:
    hook = await calls.post(
        "/api/process-hooks",
        {"name": "Render farm", "slug": f"render-{tail}", "expected_seconds": 1200, "grace_seconds": 300},
        201,
    )
    hook_id = str(hook["id"])
    answer = await calls.get(f"/phk/{hook_id}/start")
    await calls.get(f"/phk/{hook_id}/finish", run_id=answer["run_id"])
    await calls.get(f"/phk/{hook_id}/start")
    return hook_id, str(answer["run_id"])


async def _past(sessions: Sessions, account_id: str, demo: Demo) -> None:
    """What happened in the last three months: rows as they would be by now."""
    random, now = Random(7), utc_now()
    instances, spent, runs, steps = [], [], [], []
    for number in range(RUNS):
        workflow_id = (demo.load, demo.research, demo.invoices)[number % 3]
        at = now - timedelta(hours=5 + 12.7 * number)
        failed = random.random() < 0.09
        seconds = random.lognormvariate(5.2, 0.35)
        instances.append(
            {
                "id": f"{'sdr'[number % 3]}{random.getrandbits(40):08x}"[:9],
                "workflow": workflow_id,
                "account": account_id,
                "status": "failed" if failed else "completed",
                "opened": at,
                "ended": at + timedelta(seconds=seconds),
                "reason": "Stage 3 failed: connection reset by peer" if failed else None,
            }
        )
        runs.append(
            {
                "id": f"run_{random.getrandbits(48):012x}",
                "hook": demo.hook,
                "account": account_id,
                "at": at,
                "ended": at + timedelta(seconds=random.lognormvariate(6.9, 0.2)),
                "status": "failed" if random.random() < 0.05 else "finished",
            }
        )
    for day in range(1, 45):
        for model, agent, share in (
            ("gpt-4o", "writer", 1.0),
            ("claude-sonnet-4-5", "planner", 0.6),
            ("gpt-4o-mini", "searcher", 0.15),
        ):
            cost = share * (3 + 2 * random.random()) * (0.4 if (now - timedelta(days=day)).weekday() > 4 else 1)
            spent.append(
                {
                    "account": account_id,
                    "day": (now - timedelta(days=day)).date(),
                    "key": random.randbytes(32),
                    "workflow": demo.research,
                    "model": model,
                    "agent": agent,
                    "pings": random.randint(20, 60),
                    "tokens": random.randint(90_000, 400_000),
                    "cost": round(cost, 4),
                }
            )
    for pulse_id, outages in ((demo.pulse, 1), (demo.down, 6)):
        begin = now - timedelta(days=DAYS)
        steps.append({"subject": f"pulse/{pulse_id}", "before": "new", "after": "up", "at": begin})
        for number in range(outages):
            down = begin + timedelta(days=7 + 13 * number + random.random())
            up = down + timedelta(minutes=random.randint(20, 600))
            steps.append({"subject": f"pulse/{pulse_id}", "before": "up", "after": "down", "at": down})
            steps.append({"subject": f"pulse/{pulse_id}", "before": "down", "after": "up", "at": up})
    async with transaction(sessions) as session:
        for statement, rows in ((_INSTANCE, instances), (_SPENT, spent), (_RUN, runs), (_STEP, steps)):
            await session.execute(text(statement), rows)
        await session.execute(text(_SPENT_A_DAY), {"account": account_id})
        await session.execute(
            text("UPDATE pulses SET created_at = created_at - interval '90 days' WHERE account_id = :account"),
            {"account": account_id},
        )


_INSTANCE: Final = """
INSERT INTO instances (
    id, workflow_id, account_id, status, opened_at, completed_at, closes_at, first_stage_seen, failure_reason,
    definition, version
)
VALUES (:id, :workflow, :account, :status, :opened, :ended, :ended, true, :reason, '{}', 1)
"""
_SPENT: Final = """
INSERT INTO cost_rollups (
    account_id, day, key, workflow_id, model_id, agent, stage_path, pings, unpriced_pings, input_tokens, output_tokens,
    cached_tokens, cache_write_tokens, reasoning_tokens, cost_usd
)
VALUES (:account, :day, :key, :workflow, :model, :agent, '3', :pings, 0, :tokens, :tokens / 5, 0, 0, 0, :cost)
"""
_SPENT_A_DAY: Final = """
INSERT INTO workflow_costs AS known (workflow_id, day, cost_usd)
SELECT workflow_id, day, sum(cost_usd) FROM cost_rollups WHERE account_id = :account GROUP BY workflow_id, day
ON CONFLICT (workflow_id, day) DO UPDATE SET cost_usd = excluded.cost_usd
"""
_RUN: Final = """
INSERT INTO process_runs (
    id, hook_id, account_id, expected_seconds, grace_seconds, started_at, ended_at, finished_at, status, version
)
VALUES (:id, :hook, :account, 1200, 300, :at, :ended, :ended, :status, 1)
"""
_STEP: Final = """
INSERT INTO transitions (subject, before, after, at) VALUES (:subject, :before, :after, :at)
"""
