"""InstanceWorkflow: one execution of a user's workflow, from its first ping until nothing more can change it."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.instances import InstanceActivities, InstanceSnapshot, Recording, SilenceQuestion
    from domain.evaluation import InstanceView, change_between, evaluate
    from domain.instances import FINISHED, InstanceState, confirm, merge
    from domain.pings import PingFact
    from domain.strict import Verdict, judge
    from domain.subjects import instance_subject
    from temporal_workflows.options import READ_MODEL
    from temporal_workflows.search_attributes import STATUS

SETTLE: Final = timedelta(milliseconds=250)
"""A ping that was received in the last moment before a deadline is given this long to reach the journal."""

MAX_RECHECK_SECONDS: Final = 60


@dataclass(frozen=True)
class InstanceInput:
    """`run` is what an earlier run hands on; without it the instance is loaded from Postgres."""

    workflow_id: str
    instance_id: str
    run: InstanceSnapshot | None = None


@dataclass(frozen=True)
class Delivery:
    """Pings of one gateway, in its order. `wants_verdicts` lists those whose callers wait for an answer."""

    pings: tuple[PingFact, ...]
    wants_verdicts: tuple[int, ...] = ()


@workflow.defn(name="InstanceWorkflow")
class InstanceWorkflow:
    @workflow.init
    def __init__(self, start: InstanceInput) -> None:
        self._start = start
        self._run = start.run
        self._view: InstanceView | None = evaluate(start.run.state) if start.run and start.run.version else None
        self._inbox: list[Delivery] = []
        self._verdicts: dict[int, Verdict] = {}
        self._is_gone = False
        self._was_ended = False

    @workflow.run
    async def run(self, start: InstanceInput) -> str:
        """Folds pings and waits for what must come next; returns the final status."""
        if self._run is None and not await self._load():
            return "withdrawn"
        rechecks = 0
        while True:
            if self._inbox:
                await self._take_in()
                rechecks = 0
            elif await self._is_due(rechecks):
                if await self._confirm_silence():
                    rechecks = 0
                    if self._is_closed():
                        break
                else:
                    rechecks += 1
            if workflow.info().is_continue_as_new_suggested() and not self._inbox:
                await workflow.wait_condition(workflow.all_handlers_finished)
                workflow.continue_as_new(replace(start, run=self._run))
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._shown().status

    @workflow.signal(description="Pings of this instance were journaled.")
    def pings_received(self, delivery: Delivery) -> None:
        self._inbox.append(delivery)

    @workflow.signal(description="The instance was ended from outside, as Postgres knows.")
    def instance_terminated(self) -> None:
        self._was_ended = True

    @workflow.update
    async def submit_pings(self, delivery: Delivery) -> list[Verdict]:
        """Takes in pings whose callers wait.

        Returns the verdicts on those pings of the delivery that want one and were not withdrawn, in no order."""
        self._inbox.append(delivery)
        await workflow.wait_condition(lambda: self._is_gone or delivery not in self._inbox)
        return [self._verdicts.pop(id_) for id_ in delivery.wants_verdicts if id_ in self._verdicts]

    @workflow.query(description="The instance as it is shown; null until it is loaded.")
    def tree(self) -> InstanceView | None:
        """Counts what has arrived but is not recorded yet, so that callers read their own writes."""
        if self._run is None:
            return None
        told, _, _ = self._unseen(self._inbox)
        return evaluate(merge(self._run.state, told)) if told else self._shown()

    @workflow.query(description="What its pings add up to, and up to which ping of each gateway.")
    def state(self) -> InstanceSnapshot | None:
        return self._run

    async def _load(self) -> bool:
        self._run = await workflow.execute_local_activity_method(
            InstanceActivities.load_instance, self._start.instance_id, **READ_MODEL
        )
        if self._run is None:
            self._is_gone = True
            await workflow.wait_condition(workflow.all_handlers_finished)
            return False
        if self._run.version:
            self._view = evaluate(self._run.state)
        return True

    async def _is_due(self, rechecks: int) -> bool:
        """Waits for pings or the next deadline, and tells whether it is the deadline that came."""
        if self._was_ended:
            self._was_ended = False
            return True
        deadline = self._shown().next_deadline
        timeout = None
        if deadline is not None:
            timeout = deadline.at + SETTLE - workflow.now()
            if rechecks:
                timeout = timedelta(seconds=min(2 ** (rechecks - 1), MAX_RECHECK_SECONDS))
            if timeout <= timedelta(0):
                return True
        try:
            await workflow.wait_condition(
                lambda: bool(self._inbox) or self._was_ended,
                timeout=timeout,
                timeout_summary=f"{deadline.path or 'instance'}: {deadline.reason}" if deadline else None,
            )
        except TimeoutError:
            return True
        return False

    async def _take_in(self) -> None:
        """Takes the whole inbox in. Deliveries leave it only when all is recorded, because updates wait for that."""
        deliveries = list(self._inbox)
        told, asked, delivered = self._unseen(deliveries)
        state = merge(self._loaded().state, told)
        while True:
            verdicts, judged = _judge_all(state, asked)
            withdrawn = await self._record(judged, delivered, tuple(verdicts))
            if not withdrawn:
                break
            # The verdicts on the pings behind a withdrawn one may have relied on it.
            asked = [ping for ping in asked if ping.id not in withdrawn]
        self._verdicts.update({verdict.ping_id: verdict for verdict in verdicts})
        del self._inbox[: len(deliveries)]

    def _unseen(self, deliveries: list[Delivery]) -> tuple[list[PingFact], list[PingFact], dict[int, int]]:
        """The pings not taken in before: those to take as they are, those to judge, and what is delivered then.

        A gateway delivers a subject's pings in order, so one number a gateway tells what was seen.
        """
        delivered = dict(self._loaded().delivered)
        told: list[PingFact] = []
        asked: list[PingFact] = []
        for delivery in deliveries:
            for ping in delivery.pings:
                if ping.id > delivered.get(ping.gateway, 0):
                    delivered[ping.gateway] = ping.id
                    (asked if ping.id in delivery.wants_verdicts else told).append(ping)
        return told, asked, delivered

    async def _confirm_silence(self) -> bool:
        """Whether the deadline holds. It does not while pings are on their way; an outage of ours moves it."""
        now = workflow.now()
        run = self._loaded()
        silence = await workflow.execute_local_activity_method(
            InstanceActivities.confirm_silence,
            SilenceQuestion(self._subject(), self._start.instance_id, since=run.state.opened_at),
            **READ_MODEL,
        )
        if not silence.is_certain or self._inbox:
            return False
        terminated_at = run.state.terminated_at or silence.terminated_at
        state = replace(run.state, outages=silence.outages, terminated_at=terminated_at)
        await self._record(confirm(state, now - SETTLE), run.delivered)
        return True

    async def _record(
        self, state: InstanceState, delivered: dict[int, int], verdicts: tuple[Verdict, ...] = ()
    ) -> list[int]:
        """Makes `state` ours once Postgres knows what is different by it; else returns the withdrawn pings."""
        before, after = self._view, evaluate(state)
        change = change_between(self._start.instance_id, self._loaded().version + 1, before, after)
        if change is not None or verdicts:
            withdrawn = await workflow.execute_local_activity_method(
                InstanceActivities.record, Recording(change, verdicts), **READ_MODEL
            )
            if withdrawn:
                return withdrawn
        run = self._loaded()
        self._run = InstanceSnapshot(state, delivered, change.version if change else run.version)
        self._view = after
        if before is None or before.status != after.status:
            workflow.upsert_search_attributes([STATUS.value_set(after.status)])
        if change is not None:
            workflow.set_current_details(_details(after))
        return []

    def _is_closed(self) -> bool:
        view = self._shown()
        confirmed = self._loaded().state.confirmed_until
        is_over = view.closes_at is not None and confirmed is not None and view.closes_at <= confirmed
        return view.status in FINISHED and is_over and not self._inbox

    def _shown(self) -> InstanceView:
        return self._view or evaluate(self._loaded().state)

    def _loaded(self) -> InstanceSnapshot:
        assert self._run is not None
        return self._run

    def _subject(self) -> str:
        return instance_subject(self._start.workflow_id, self._start.instance_id)


def _judge_all(state: InstanceState, pings: list[PingFact]) -> tuple[list[Verdict], InstanceState]:
    verdicts = []
    for ping in pings:
        rejection = judge(state, ping, evaluate(state).closes_at)
        if rejection is None:
            state = merge(state, [ping])
            verdicts.append(Verdict(ping.id, accepted=True, instance_status=evaluate(state).status))
            continue
        expected = rejection.extra.get("expected_stage")
        verdicts.append(
            Verdict(
                ping.id,
                accepted=False,
                instance_status=evaluate(state).status,
                code=rejection.code,
                message=rejection.message,
                expected=str(expected) if expected is not None else None,
            )
        )
    return verdicts, state


def _details(view: InstanceView) -> str:
    """What the Temporal UI shows of the instance, as Markdown."""
    lines = [f"**{view.status}**" + (f": {view.failure_reason}" if view.failure_reason else "")]
    shown = list(view.stages.items())[-50:]
    lines += [f"- {path} {stage.name or ''} {stage.status}" for path, stage in shown]
    return "\n".join(lines)
