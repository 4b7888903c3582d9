"""InstanceWorkflow: one execution of a user's workflow, from its first ping until nothing more can change it."""

from dataclasses import dataclass, replace
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
    from domain.breaker import Trip
    from domain.evaluation import InstanceView, change_between, evaluate
    from domain.instances import FINISHED, InstanceState, confirm, merge
    from domain.room import fitted, shorten
    from domain.subjects import instance_subject
    from domain.verdicts import Judgement, Verdict, judge_all
    from temporal_workflows.inbox import MAX_HANDED_ON, Inbox, hand_out, unseen
    from temporal_workflows.inbox import Delivery as Delivery
    from temporal_workflows.options import READ_MODEL
    from temporal_workflows.rechecks import recheck_gap
    from temporal_workflows.search_attributes import OWNER, STAGE, STATUS

SETTLE: Final = timedelta(milliseconds=250)
"""A ping that was received in the last moment before a deadline is given this long to reach the journal."""

MAX_JUDGED_AT_ONCE: Final = 64
"""Verdicts cost time with the number of stages, and Temporal takes a workflow that computes for 2 s for stuck."""

MAX_SUMMARY_BYTES: Final = 200
MAX_DETAIL_LINES: Final = 50


@dataclass(frozen=True)
class InstanceInput:
    """`run` and `inbox` are what an earlier run hands on; without them the instance is loaded from Postgres."""

    workflow_id: str
    instance_id: str
    run: InstanceSnapshot | None = None
    inbox: tuple[Delivery, ...] = ()


@workflow.defn(name="InstanceWorkflow")
class InstanceWorkflow:
    @workflow.init
    def __init__(self, start: InstanceInput) -> None:
        self._start = start
        self._run = start.run
        self._view: InstanceView | None = evaluate(start.run.state) if start.run and start.run.version else None
        """The instance as the read model has it."""
        self._inbox = Inbox(start.inbox)
        self._rechecks = 0
        self._worked_at = 0
        self._cannot_wait = False
        self._was_ended = False
        self._was_changed = False
        self._is_gone = False

    @workflow.run
    async def run(self, start: InstanceInput) -> str:
        """Folds pings and waits for what must come next; returns the final status."""
        if self._run is None:
            await self._load()
        else:
            self._announce()
        while not self._is_gone:
            if workflow.info().is_continue_as_new_suggested() and await self._may_begin_anew():
                self._begin_anew()
            if self._inbox:
                await self._take_in()
            elif self._was_changed:
                await self._load()
            elif await self._is_due():
                await self._confirm_silence()
            if self._is_closed() and await self._is_idle():
                return self._shown().status
        await workflow.wait_condition(workflow.all_handlers_finished)
        return "withdrawn"

    @workflow.signal(description="Pings of this instance were journaled.")
    def pings_received(self, delivery: Delivery) -> None:
        self._inbox.add(delivery)

    @workflow.signal(description="The instance was ended from outside, as Postgres knows.")
    def instance_terminated(self) -> None:
        self._was_ended = True

    @workflow.signal(description="The instance was resumed, or otherwise changed from outside, as Postgres knows.")
    def instance_changed(self) -> None:
        self._was_changed = True

    @workflow.update
    async def submit_pings(self, delivery: Delivery) -> list[Verdict]:
        """Takes in pings whose callers wait.

        Returns the verdicts on those of the pings that want one, were not withdrawn, and had none before."""
        arrival = self._inbox.add(delivery)
        await workflow.wait_condition(lambda: arrival.is_taken_in or self._is_gone)
        return arrival.verdicts

    @workflow.query(description="The instance as it is shown; null until it is loaded.")
    def tree(self) -> InstanceView | None:
        """Counts what has arrived but is not recorded yet, so that callers read their own writes."""
        if self._run is None:
            return None
        told = unseen(self._inbox.arrivals, self._run.delivered).told
        return evaluate(merge(self._run.state, told)) if told else self._shown()

    @workflow.query(description="What its pings add up to, and up to which ping of each gateway.")
    def state(self) -> InstanceSnapshot | None:
        return self._run and replace(self._run, state=fitted(self._run.state))

    async def _load(self) -> None:
        """Begins where Postgres is, without forgetting a ping that has come here: a lost task may have recorded it."""
        self._was_changed = False
        known = self._inbox.known(self._run.delivered if self._run is not None else {})
        self._run = await workflow.execute_local_activity_method(
            InstanceActivities.load_instance, InstanceQuestion(self._start.instance_id, known), **READ_MODEL
        )
        self._has_worked()
        if self._run is None:
            self._is_gone = True
            return
        self._view = evaluate(self._run.state) if self._run.version else None
        if self._view is not None:
            self._announce()

    async def _is_due(self) -> bool:
        """Waits for pings or the next deadline, and tells whether it is the deadline that came."""
        deadline = self._shown().next_deadline
        timeout = None
        if self._rechecks:
            timeout = recheck_gap(self._rechecks)
        elif deadline is not None:
            timeout = deadline.at + SETTLE - workflow.now()
            if timeout <= timedelta(0):
                return True
        try:
            await workflow.wait_condition(
                lambda: bool(self._inbox) or self._was_ended or self._was_changed,
                timeout=timeout,
                timeout_summary=shorten(deadline.reason, MAX_SUMMARY_BYTES) if deadline is not None else None,
            )
        except TimeoutError:
            return True
        return self._was_ended and not self._was_changed

    async def _take_in(self) -> None:
        """Takes in what is in the inbox now."""
        arrivals = self._inbox.arrivals
        self._cannot_wait = self._inbox.size > MAX_HANDED_ON or any(arrival.asked for arrival in arrivals)
        withdrawn: set[int] = set()
        trip: Trip | None = None
        while True:
            run = self._loaded()
            batch = unseen(arrivals, run.delivered, withdrawn=withdrawn, most_asked=MAX_JUDGED_AT_ONCE)
            judgement = judge_all(merge(run.state, batch.told), batch.asked, trip)
            recorded = await self._record(judgement.state, batch.delivered, judgement, trip)
            if recorded.must_judge_again:
                trip = recorded.trip
            elif recorded.is_stale:
                await self._load()
                if self._is_gone:
                    return
            elif recorded.withdrawn:
                # The verdicts on the pings behind a withdrawn one may have relied on it.
                withdrawn.update(recorded.withdrawn)
            else:
                verdicts = judgement.verdicts
                if recorded.reports:
                    verdicts = tuple(replace(item, budget=recorded.reports.get(item.ping_id)) for item in verdicts)
                hand_out(verdicts, arrivals)
                trip = None
                if batch.is_rest:
                    break
        self._inbox.remove(arrivals)
        self._rechecks = 0

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
        self._has_worked()
        if not silence.is_certain or self._inbox:
            return
        terminated_at = run.state.terminated_at or silence.terminated_at
        state = replace(run.state, outages=silence.outages, terminated_at=terminated_at)
        if (await self._record(confirm(state, now - SETTLE), run.delivered)).is_stale:
            await self._load()
        else:
            self._rechecks = 0

    async def _record(
        self,
        state: InstanceState,
        delivered: dict[int, int],
        judgement: Judgement | None = None,
        trip: Trip | None = None,
    ) -> Recorded:
        """Makes `state` ours once Postgres knows what is different by it."""
        run, before, after = self._loaded(), self._view, evaluate(state)
        recorded, version = Recorded(), run.version
        if before != after or (judgement is not None and judgement.verdicts):
            version += 1
            recording = Recording(change_between(self._start.instance_id, version, before, after))
            if judgement is not None:
                recording = replace(recording, verdicts=judgement.verdicts, counts=judgement.counts, trip=trip)
            recorded = await workflow.execute_local_activity_method(InstanceActivities.record, recording, **READ_MODEL)
            self._has_worked()
            if recorded.is_stale or recorded.withdrawn or recorded.must_judge_again:
                return recorded
        self._run = InstanceSnapshot(state, delivered, version)
        self._view = after
        self._announce()
        return recorded

    async def _is_idle(self) -> bool:
        """Whether nothing is left to do, once the handlers under way are done."""
        await workflow.wait_condition(lambda: bool(self._inbox) or workflow.all_handlers_finished())
        return not (self._inbox or self._was_ended or self._was_changed)

    async def _may_begin_anew(self) -> bool:
        """Whether this is the moment to go on in a new history.

        A signal that comes while a task ends a history voids the task, with all that its local activities have
        recorded: that would have to be read back from Postgres. So it is done by a task that has done nothing yet,
        unless an update came with it, or too many pings to hand them on.
        """
        await workflow.wait_condition(lambda: bool(self._inbox) or workflow.all_handlers_finished())
        is_fresh = self._worked_at != workflow.info().get_current_history_length()
        return (
            (is_fresh or self._cannot_wait)
            and workflow.all_handlers_finished()
            and self._inbox.size <= MAX_HANDED_ON
            and not (self._was_ended or self._was_changed)
        )

    def _begin_anew(self) -> None:
        run = self._loaded()
        run = replace(run, state=fitted(run.state))
        inbox = tuple(arrival.delivery for arrival in self._inbox.arrivals)
        workflow.continue_as_new(replace(self._start, run=run, inbox=inbox))

    def _has_worked(self) -> None:
        self._worked_at = workflow.info().get_current_history_length()

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


def _details(view: InstanceView) -> str:
    """What the Temporal UI shows of the instance, as Markdown."""
    lines = [f"**{view.status}**" + (f": {view.failure_reason}" if view.failure_reason else "")]
    shown = list(view.stages.items())[-MAX_DETAIL_LINES:]
    lines += [f"- {path} {stage.name or ''} {stage.status}" for path, stage in shown]
    return "\n".join(lines)
