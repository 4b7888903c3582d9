"""ProcessRunWorkflow: one run of a process hook, from its start until nothing more is expected of it."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.processes import ProcessActivities, RecordedRun, RunQuestion
    from domain.processes import ENDED, RunStatus
    from domain.room import shorten
    from temporal_workflows.inbox import Delivery as Delivery
    from temporal_workflows.options import READ_MODEL
    from temporal_workflows.rechecks import recheck_gap
    from temporal_workflows.search_attributes import OWNER, STATUS

SETTLE: Final = timedelta(milliseconds=250)
"""A ping that was received in the last moment before a deadline is given this long to reach the journal."""

MAX_SUMMARY_BYTES: Final = 200


@dataclass(frozen=True)
class ProcessRunInput:
    hook_id: str
    run_id: str


@workflow.defn(name="ProcessRunWorkflow")
class ProcessRunWorkflow:
    """Keeps time, and nothing else: what is known of the run is in the journal, and each look at it takes in all.

    So a ping that is delivered twice, or in another order, or to a workflow that begins anew, makes no difference, and
    another history begins with nothing but names.
    """

    def __init__(self) -> None:
        self._run: RecordedRun | None = None
        self._is_pinged = False
        self._rechecks = 0

    @workflow.run
    async def run(self, start: ProcessRunInput) -> str:
        """Looks at the run whenever it was pinged or is due; returns the last status."""
        while True:
            self._is_pinged = False
            question = RunQuestion(start.hook_id, start.run_id, workflow.now() - SETTLE)
            self._run = await workflow.execute_local_activity_method(
                ProcessActivities.follow_run, question, **READ_MODEL
            )
            if self._run is None:
                return "withdrawn"
            self._announce(self._run)
            if not self._is_pinged and self._is_over(self._run):
                return self._run.view.status
            await self._wait(self._run)
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(start)

    @workflow.signal(description="Pings of this run were journaled.")
    def pings_received(self, delivery: Delivery) -> None:
        self._is_pinged = True

    @workflow.query(description="The run as it is recorded; null until it is loaded.")
    def state(self) -> RecordedRun | None:
        return self._run

    def _is_over(self, run: RecordedRun) -> bool:
        """An overdue run is over once nobody waits for its end any more; that starts the workflow again."""
        if run.view.status is RunStatus.OVERDUE:
            return run.awaited_until is not None and run.awaited_until <= workflow.now()
        return run.view.status in ENDED

    async def _wait(self, run: RecordedRun) -> None:
        """Until it is pinged or due. While that would not be certain, it looks again after longer and longer times."""
        due_in = (run.awaited_until or workflow.now()) + SETTLE - workflow.now()
        if run.is_certain and due_in > timedelta(0):
            self._rechecks = 0
        else:
            self._rechecks += 1
            due_in = max(due_in, recheck_gap(self._rechecks))
        summary = "until it is given up" if run.view.status is RunStatus.OVERDUE else "until it is overdue"
        with suppress(TimeoutError):
            await workflow.wait_condition(lambda: self._is_pinged, timeout=due_in, timeout_summary=summary)

    def _announce(self, run: RecordedRun) -> None:
        """Shows the run to whoever looks at the Temporal UI."""
        status = run.view.status
        workflow.set_current_details(f"**{status}** {shorten(run.name, MAX_SUMMARY_BYTES)}")
        if workflow.info().typed_search_attributes.get(STATUS) != status:
            workflow.upsert_search_attributes([STATUS.value_set(status), OWNER.value_set(run.account_id)])
