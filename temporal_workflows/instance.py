"""InstanceWorkflow: one execution of a user's workflow, from its first ping until nothing more can change it."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.instances import (
        InstanceActivities,
        InstanceQuestion,
        InstanceSnapshot,
        Recorded,
        Recording,
        SilenceQuestion,
    )
    from domain.evaluation import InstanceView, change_between, evaluate
    from domain.instances import FINISHED, InstanceState, confirm, merge
    from domain.pings import PingFact
    from domain.room import fitted, shorten
    from domain.strict import Verdict, judge_all
    from domain.subjects import instance_subject
    from temporal_workflows.options import READ_MODEL
    from temporal_workflows.search_attributes import OWNER, STAGE, STATUS

SETTLE: Final = timedelta(milliseconds=250)
"""A ping that was received in the last moment before a deadline is given this long to reach the journal."""

MAX_RECHECK_SECONDS: Final = 60
MAX_JUDGED_AT_ONCE: Final = 64
"""Verdicts cost time with the number of stages, and Temporal takes a workflow that computes for 2 s for stuck."""

MAX_SUMMARY_BYTES: Final = 200
MAX_DETAIL_LINES: Final = 50


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


@dataclass(eq=False)
class Arrival:
    """A delivery in the inbox, and the verdicts that its sender gets."""

    delivery: Delivery
    verdicts: list[Verdict] = field(default_factory=list)
    is_taken_in: bool = False

    def __post_init__(self) -> None:
        self.asked = frozenset(self.delivery.wants_verdicts)


@dataclass(frozen=True)
class Unseen:
    """Pings not taken in before: those to take as they are, those to judge, and how far each gateway has come then."""

    told: list[PingFact]
    asked: list[PingFact]
    delivered: dict[int, int]
    is_rest: bool


@workflow.defn(name="InstanceWorkflow")
class InstanceWorkflow:
    @workflow.init
    def __init__(self, start: InstanceInput) -> None:
        self._start = start
        self._run = start.run
        self._view: InstanceView | None = evaluate(start.run.state) if start.run and start.run.version else None
        """The instance as the read model has it."""
        self._inbox: list[Arrival] = []
        self._rechecks = 0
        self._was_ended = False
        self._is_gone = False

    @workflow.run
    async def run(self, start: InstanceInput) -> str:
        """Folds pings and waits for what must come next; returns the final status."""
        if self._run is None:
            await self._load()
        else:
            self._announce()
        while not self._is_gone:
            if self._inbox:
                await self._take_in()
            elif await self._is_due():
                await self._confirm_silence()
            if self._is_closed() and await self._is_idle():
                return self._shown().status
            if workflow.info().is_continue_as_new_suggested() and await self._is_idle():
                run = self._loaded()
                workflow.continue_as_new(replace(start, run=replace(run, state=fitted(run.state))))
        await workflow.wait_condition(workflow.all_handlers_finished)
        return "withdrawn"

    @workflow.signal(description="Pings of this instance were journaled.")
    def pings_received(self, delivery: Delivery) -> None:
        self._inbox.append(Arrival(delivery))

    @workflow.signal(description="The instance was ended from outside, as Postgres knows.")
    def instance_terminated(self) -> None:
        self._was_ended = True

    @workflow.update
    async def submit_pings(self, delivery: Delivery) -> list[Verdict]:
        """Takes in pings whose callers wait.

        Returns the verdicts on those of the pings that want one, were not withdrawn, and had none before."""
        arrival = Arrival(delivery)
        self._inbox.append(arrival)
        await workflow.wait_condition(lambda: arrival.is_taken_in or self._is_gone)
        return arrival.verdicts

    @workflow.query(description="The instance as it is shown; null until it is loaded.")
    def tree(self) -> InstanceView | None:
        """Counts what has arrived but is not recorded yet, so that callers read their own writes."""
        if self._run is None:
            return None
        told = self._unseen(self._inbox).told
        return evaluate(merge(self._run.state, told)) if told else self._shown()

    @workflow.query(description="What its pings add up to, and up to which ping of each gateway.")
    def state(self) -> InstanceSnapshot | None:
        return self._run and replace(self._run, state=fitted(self._run.state))

    async def _load(self) -> None:
        """Begins where Postgres is, without forgetting a ping that was taken in before."""
        question = InstanceQuestion(self._start.instance_id, self._known())
        self._run = await workflow.execute_local_activity_method(
            InstanceActivities.load_instance, question, **READ_MODEL
        )
        if self._run is None:
            self._is_gone = True
            return
        self._view = evaluate(self._run.state) if self._run.version else None
        if self._view is not None:
            self._announce()

    def _known(self) -> dict[int, int]:
        """By gateway, the last ping that has come here and needs no verdict any more.

        The inbox counts: a task that was lost may have recorded it.
        """
        known = dict(self._run.delivered) if self._run is not None else {}
        undecided: set[int] = set()
        for arrival in self._inbox:
            for ping in arrival.delivery.pings:
                if ping.id in arrival.asked:
                    undecided.add(ping.gateway)
                elif ping.gateway not in undecided:
                    known[ping.gateway] = max(ping.id, known.get(ping.gateway, 0))
        return known

    async def _is_due(self) -> bool:
        """Waits for pings or the next deadline, and tells whether it is the deadline that came."""
        deadline = self._shown().next_deadline
        timeout = None
        if self._rechecks:
            timeout = timedelta(seconds=min(2 ** (self._rechecks - 1), MAX_RECHECK_SECONDS))
        elif deadline is not None:
            timeout = deadline.at + SETTLE - workflow.now()
            if timeout <= timedelta(0):
                return True
        try:
            await workflow.wait_condition(
                lambda: bool(self._inbox) or self._was_ended,
                timeout=timeout,
                timeout_summary=shorten(deadline.reason, MAX_SUMMARY_BYTES) if deadline is not None else None,
            )
        except TimeoutError:
            return True
        return self._was_ended

    async def _take_in(self) -> None:
        """Takes the whole inbox in. Arrivals leave it only when all is recorded, because updates wait for that."""
        arrivals = list(self._inbox)
        withdrawn: set[int] = set()
        while True:
            unseen = self._unseen(arrivals, withdrawn, most_asked=MAX_JUDGED_AT_ONCE)
            verdicts, state = judge_all(merge(self._loaded().state, unseen.told), unseen.asked)
            recorded = await self._record(state, unseen.delivered, tuple(verdicts))
            if recorded.is_stale:
                await self._load()
                if self._is_gone:
                    return
            elif recorded.withdrawn:
                # The verdicts on the pings behind a withdrawn one may have relied on it.
                withdrawn.update(recorded.withdrawn)
            else:
                _hand_out(verdicts, arrivals)
                if unseen.is_rest:
                    break
        for arrival in arrivals:
            arrival.is_taken_in = True
        del self._inbox[: len(arrivals)]
        self._rechecks = 0

    def _unseen(
        self, arrivals: Iterable[Arrival], withdrawn: Collection[int] = (), *, most_asked: int | None = None
    ) -> Unseen:
        """The next pings to take in, in order, up to `most_asked` of those to judge.

        A gateway delivers a subject's pings in order, so one number a gateway tells what was seen.
        """
        unseen = Unseen([], [], dict(self._loaded().delivered), is_rest=True)
        for arrival in arrivals:
            for ping in arrival.delivery.pings:
                if ping.id <= unseen.delivered.get(ping.gateway, 0):
                    continue
                is_asked = ping.id in arrival.asked
                if is_asked and len(unseen.asked) == most_asked:
                    return replace(unseen, is_rest=False)
                unseen.delivered[ping.gateway] = ping.id
                if ping.id not in withdrawn:
                    (unseen.asked if is_asked else unseen.told).append(ping)
        return unseen

    async def _confirm_silence(self) -> None:
        """Lets the deadline count. It does not while pings are on their way; an outage of ours moves it."""
        now, run = workflow.now(), self._loaded()
        self._was_ended = False
        self._rechecks += 1
        silence = await workflow.execute_local_activity_method(
            InstanceActivities.confirm_silence,
            SilenceQuestion(self._subject(), self._start.instance_id, since=run.state.opened_at),
            **READ_MODEL,
        )
        if not silence.is_certain or self._inbox:
            return
        terminated_at = run.state.terminated_at or silence.terminated_at
        state = replace(run.state, outages=silence.outages, terminated_at=terminated_at)
        if (await self._record(confirm(state, now - SETTLE), run.delivered)).is_stale:
            await self._load()
        else:
            self._rechecks = 0

    async def _record(
        self, state: InstanceState, delivered: dict[int, int], verdicts: tuple[Verdict, ...] = ()
    ) -> Recorded:
        """Makes `state` ours once Postgres knows what is different by it."""
        run, before, after = self._loaded(), self._view, evaluate(state)
        recorded, version = Recorded(), run.version
        if before != after or verdicts:
            version += 1
            change = change_between(self._start.instance_id, version, before, after)
            recorded = await workflow.execute_local_activity_method(
                InstanceActivities.record, Recording(change, verdicts), **READ_MODEL
            )
            if recorded.is_stale or recorded.withdrawn:
                return recorded
        self._run = InstanceSnapshot(state, delivered, version)
        self._view = after
        self._announce()
        return recorded

    async def _is_idle(self) -> bool:
        """Whether nothing is left to do, once the handlers under way are done.

        Found out in a task of its own, because a ping that comes while a task ends a history voids that task. Had
        it recorded anything, that would have to be read back from Postgres.
        """
        await workflow.sleep(timedelta(milliseconds=1), summary="about to end")
        await workflow.wait_condition(lambda: bool(self._inbox) or workflow.all_handlers_finished())
        return not self._inbox and not self._was_ended

    def _is_closed(self) -> bool:
        if self._run is None or self._is_gone:
            return False
        view, confirmed = self._shown(), self._run.state.confirmed_until
        is_over = view.closes_at is not None and confirmed is not None and view.closes_at <= confirmed
        return view.status in FINISHED and is_over

    def _announce(self) -> None:
        """Shows the instance to whoever looks at the Temporal UI."""
        view = self._shown()
        workflow.set_current_details(_details(view))
        if workflow.info().typed_search_attributes.get(STATUS) == view.status:
            return
        owner = self._loaded().state.definition.account_id
        attributes = [STATUS.value_set(view.status), OWNER.value_set(owner)]
        if reported := [(stage.at, path) for path, stage in view.stages.items() if stage.at is not None]:
            attributes.append(STAGE.value_set(max(reported)[1][:MAX_SUMMARY_BYTES]))
        workflow.upsert_search_attributes(attributes)

    def _shown(self) -> InstanceView:
        return self._view or evaluate(self._loaded().state)

    def _loaded(self) -> InstanceSnapshot:
        assert self._run is not None
        return self._run

    def _subject(self) -> str:
        return instance_subject(self._start.workflow_id, self._start.instance_id)


def _hand_out(verdicts: Iterable[Verdict], arrivals: Iterable[Arrival]) -> None:
    by_ping = {verdict.ping_id: verdict for verdict in verdicts}
    for arrival in arrivals:
        arrival.verdicts += [by_ping[id_] for id_ in sorted(arrival.asked & by_ping.keys())]


def _details(view: InstanceView) -> str:
    """What the Temporal UI shows of the instance, as Markdown."""
    lines = [f"**{view.status}**" + (f": {view.failure_reason}" if view.failure_reason else "")]
    shown = list(view.stages.items())[-MAX_DETAIL_LINES:]
    lines += [f"- {path} {stage.name or ''} {stage.status}" for path, stage in shown]
    return "\n".join(lines)
