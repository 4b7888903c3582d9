"""PulseWorkflow: a target that must ping on a schedule, for as long as it exists."""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.pulses import (
        PulseActivities,
        PulseQuestion,
        PulseRecorded,
        PulseRecording,
        PulseSnapshot,
        SilenceClaim,
    )
    from domain.pings import PingFact
    from domain.pulse_rules import Advanced, advance, expectation, next_deadline, outages_matter_since, redefine
    from domain.pulses import PulseStatus
    from temporal_workflows.inbox import MAX_HANDED_ON, Delivery, Inbox, remembered, unseen
    from temporal_workflows.options import READ_MODEL
    from temporal_workflows.rechecks import recheck_gap
    from temporal_workflows.search_attributes import OWNER, STATUS

SETTLE: Final = timedelta(milliseconds=100)
"""A ping that was received in the last moment before a deadline is given this long to reach the journal."""

MAX_FOLDED: Final = 200
"""Pings that are recorded together: each may raise an alert, and all of them travel in one payload of 2 MiB."""


SHOWN_AFTER: Final = timedelta(seconds=30)
"""Once to twice as long, so that not all that changed in one second is shown in one second."""


@dataclass(frozen=True)
class PulseInput:
    """`run` and `inbox` are what an earlier run hands on; without them the pulse is loaded from Postgres."""

    pulse_id: str
    run: PulseSnapshot | None = None
    inbox: tuple[Delivery, ...] = ()


@dataclass(frozen=True)
class _Wake:
    at: datetime
    reason: str
    is_for_show: bool = False


@workflow.defn(name="PulseWorkflow")
class PulseWorkflow:
    @workflow.init
    def __init__(self, start: PulseInput) -> None:
        self._start = start
        self._run = start.run
        self._inbox = Inbox(start.inbox)
        self._has_new_rules = False
        self._rechecks = 0
        self._worked_at = 0
        self._is_gone = False
        self._announced: PulseStatus | None = None
        self._shows_at: datetime | None = None
        """When the status that lists in the Temporal UI have is to be put right."""

    @workflow.run
    async def run(self, start: PulseInput) -> str:
        """Folds pings and waits for what must come next; returns when the pulse was deleted."""
        if self._run is None:
            await self._load()
        else:
            self._announce()
        while not self._is_gone:
            if workflow.info().is_continue_as_new_suggested() and self._may_begin_anew():
                self._begin_anew()
            if self._has_new_rules:
                await self._take_new_rules()
            elif self._inbox:
                await self._take_in()
            elif await self._is_due():
                await self._call_deadlines()
        return "deleted"

    @workflow.signal(description="Pings of this pulse were journaled.")
    def pings_received(self, delivery: Delivery) -> None:
        self._inbox.add(delivery)

    @workflow.signal(description="Its rules were changed, or it was paused, resumed or deleted.")
    def definition_changed(self) -> None:
        self._has_new_rules = True

    @workflow.query(description="Its rules, and what its pings add up to; null until it is loaded.")
    def state(self) -> PulseSnapshot | None:
        return self._run

    async def _load(self) -> None:
        """Begins where Postgres is, without forgetting a ping that has come here."""
        known = self._inbox.known(self._run.delivered if self._run is not None else {})
        self._run = await workflow.execute_local_activity_method(
            PulseActivities.load_pulse, PulseQuestion(self._start.pulse_id, known), **READ_MODEL
        )
        self._has_worked()
        if self._run is None:
            self._is_gone = True
            return
        if self._run.unrecorded:
            self._inbox.put_first(Delivery(self._run.unrecorded))
            self._run = replace(self._run, unrecorded=())
        self._has_new_rules |= self._run.revision != self._run.definition.revision
        self._announce()

    async def _is_due(self) -> bool:
        """Waits for news or the next deadline, and tells whether it is the deadline that came."""
        wake = self._next_wake()
        timeout = wake.at - workflow.now() if wake is not None else None
        try:
            if timeout is None or timeout > timedelta(0):
                await workflow.wait_condition(
                    lambda: bool(self._inbox) or self._has_new_rules,
                    timeout=timeout,
                    timeout_summary=wake.reason if wake is not None else None,
                )
                return False
        except TimeoutError:
            pass
        if wake is not None and wake.is_for_show:
            self._show_status()
            return False
        return True

    def _next_wake(self) -> "_Wake | None":
        """When to do something if there is no news, and what."""
        run, wakes = self._loaded(), list[_Wake]()
        if self._rechecks:
            wakes.append(_Wake(workflow.now() + recheck_gap(self._rechecks), "look again"))
        elif (deadline := next_deadline(run.definition, run.state)) is not None:
            wakes.append(_Wake(deadline.at + SETTLE, deadline.reason))
        if self._shows_at is not None:
            wakes.append(_Wake(self._shows_at, "show the status", is_for_show=True))
        return min(wakes, key=lambda wake: wake.at, default=None)

    async def _take_in(self) -> None:
        """Takes in what is in the inbox now, with the deadlines that passed before it."""
        arrivals = self._inbox.arrivals
        told = unseen(arrivals, self._loaded().delivered).told
        for first in range(0, len(told), MAX_FOLDED):
            if not await self._advance(told[first : first + MAX_FOLDED], until=None):
                await self._wait_for_more()
                return
        self._inbox.remove(arrivals)

    async def _call_deadlines(self) -> None:
        await self._advance([], until=workflow.now() - SETTLE)

    async def _advance(self, pings: list[PingFact], until: datetime | None) -> bool:
        """Takes in `pings` and, `until` a moment, what did not come. False if that is not certain yet, or has to be
        begun anew."""
        while True:
            run = self._loaded()
            delivered = {**run.delivered, **{ping.gateway: ping.id for ping in pings}}
            advanced = advance(run.definition, run.state, pings, until)
            recorded = await self._record(advanced, delivered, self._claim(advanced))
            if recorded.is_uncertain:
                self._rechecks += 1
                return False
            if recorded.outages is None:
                return recorded.is_written
            self._run = replace(run, state=replace(run.state, outages=recorded.outages))

    def _claim(self, advanced: Advanced) -> SilenceClaim | None:
        """What must be true for the deadlines that were called; None if none was."""
        if advanced.silent_until is None:
            return None
        run = self._loaded()
        since = outages_matter_since(run.state) or advanced.silent_until
        return SilenceClaim(since, advanced.silent_until, self._inbox.known(run.delivered), run.state.outages)

    async def _wait_for_more(self) -> None:
        """If something is not certain: for pings that came before those in the inbox, and are still held elsewhere."""
        arrived = len(self._inbox.arrivals)
        if self._rechecks:
            with suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: len(self._inbox.arrivals) > arrived, timeout=recheck_gap(self._rechecks)
                )

    async def _take_new_rules(self) -> None:
        """Goes on by other rules from the moment on at which they were given; until then, the old ones apply."""
        self._has_new_rules = False
        known = self._inbox.known(self._loaded().delivered)
        rules = await workflow.execute_local_activity_method(
            PulseActivities.read_pulse_rules, PulseQuestion(self._start.pulse_id, known), **READ_MODEL
        )
        self._has_worked()
        if rules is None:
            self._is_gone = True
            return
        if rules.pings_are_missing:
            self._rechecks += 1
        if rules.pings_are_missing or not await self._settle_until(rules.changed_at):
            self._has_new_rules = True
            await self._wait_for_more()
            return
        run = self._loaded()
        if rules.definition.revision != run.revision:
            self._run = run = replace(run, definition=rules.definition, revision=rules.definition.revision)
            await self._record(redefine(rules.definition, run.state, rules.changed_at), run.delivered)

    async def _settle_until(self, moment: datetime) -> bool:
        """Takes in the pings that came until then, and calls the deadlines. False if that is not certain yet."""
        run = self._loaded()
        if run.definition.revision != run.revision:
            # It has just been loaded, and does not know the rules that applied.
            return True
        told = unseen(self._inbox.arrivals, self._loaded().delivered).told
        later = {ping.gateway: ping.id for ping in reversed(told) if ping.at > moment}
        until_then = [ping for ping in told if ping.id < later.get(ping.gateway, ping.id + 1)]
        for first in range(0, len(until_then), MAX_FOLDED):
            if not await self._advance(until_then[first : first + MAX_FOLDED], until=None):
                return False
        run = self._loaded()
        deadline = next_deadline(run.definition, run.state)
        return deadline is None or deadline.at > moment or await self._advance([], until=moment)

    async def _record(
        self, advanced: Advanced, delivered: dict[int, int], silence: SilenceClaim | None = None
    ) -> PulseRecorded:
        """Makes the state ours once Postgres has it."""
        run = self._loaded()
        delivered = remembered(delivered)
        expected = expectation(run.definition, advanced.state)
        recorded = await workflow.execute_local_activity_method(
            PulseActivities.record_pulse,
            PulseRecording(
                self._start.pulse_id,
                run.version + 1,
                run.revision,
                advanced.state,
                delivered,
                expected.due_at if expected is not None else None,
                advanced.transitions,
                advanced.alerts,
                silence,
            ),
            **READ_MODEL,
        )
        self._has_worked()
        if recorded.is_gone:
            self._is_gone = True
        elif recorded.is_stale:
            await self._load()
        elif recorded.is_written:
            self._rechecks = 0
            self._run = PulseSnapshot(run.definition, advanced.state, delivered, run.version + 1, run.revision)
            self._announce()
            self._has_new_rules |= recorded.has_new_rules
        return recorded

    def _may_begin_anew(self) -> bool:
        """Only a task that has done nothing yet may end a history: see InstanceWorkflow."""
        is_fresh = self._worked_at != workflow.info().get_current_history_length()
        return is_fresh and self._inbox.size <= MAX_HANDED_ON and not self._has_new_rules

    def _begin_anew(self) -> None:
        inbox = tuple(arrival.delivery for arrival in self._inbox.arrivals)
        workflow.continue_as_new(replace(self._start, run=self._loaded(), inbox=inbox))

    def _has_worked(self) -> None:
        self._worked_at = workflow.info().get_current_history_length()

    def _announce(self) -> None:
        """Shows the pulse to whoever looks at the Temporal UI; lists there know of its status after a while.

        That takes Temporal as long again as the change itself. When a thousand pulses go down at once, people are told
        first; and what is only late for a moment is not worth it.
        """
        state = self._loaded().state
        name = self._loaded().definition.name
        workflow.set_current_details(f"**{name}** {state.status}" + (f": {state.reason}" if state.reason else ""))
        if workflow.info().typed_search_attributes.get(STATUS) == state.status:
            self._shows_at = None
        elif self._announced is not state.status:
            self._shows_at = workflow.now() + SHOWN_AFTER * (1 + workflow.random().random())
        self._announced = state.status

    def _show_status(self) -> None:
        run, self._shows_at = self._loaded(), None
        workflow.upsert_search_attributes(
            [STATUS.value_set(run.state.status), OWNER.value_set(run.definition.account_id)]
        )

    def _loaded(self) -> PulseSnapshot:
        assert self._run is not None
        return self._run
