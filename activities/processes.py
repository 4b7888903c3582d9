"""What a ProcessRunWorkflow may ask of Postgres."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from temporalio import activity

from domain.processes import RunView, awaited_until, evaluate
from storage.base import Sessions, transaction
from storage.process_runs import fold_run, list_run_pings, lock_run, record_run


@dataclass(frozen=True)
class RunQuestion:
    """Which run to look at; its deadline counts if it is not after `until`."""

    hook_id: str
    run_id: str
    until: datetime


@dataclass(frozen=True)
class RecordedRun:
    """A run as it is recorded now. `awaited_until` is when to look again if no ping comes, None if it is over;
    `is_certain` is False while no gateway lives that could take one."""

    view: RunView
    account_id: str
    name: str
    awaited_until: datetime | None = None
    is_certain: bool = True


class ProcessActivities:
    """`told` is called when there are new alerts, after their commit."""

    def __init__(
        self, sessions: Sessions, clock: Callable[[], datetime], told: Callable[[], None] = lambda: None
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._told = told

    @activity.defn
    async def follow_run(self, question: RunQuestion) -> RecordedRun | None:
        """Records what the journal tells of a run, all or nothing; None if its hook was deleted.

        The journal has every ping that was acknowledged, those on their way to the workflow too: what it does not
        have by the deadline did not come. Folding it all anew makes any repetition harmless.
        """
        now = self._clock()
        async with transaction(self._sessions) as session:
            found = await lock_run(session, question.hook_id, question.run_id)
            if found is None:
                return None
            hook, run = found
            pings = (await list_run_pings(session, [run.subject]))[run.subject]
            state, is_certain = await fold_run(
                session, run, [ping.fact() for ping in pings], until=question.until, now=now
            )
            raised = await record_run(session, hook, run, state, now)
        if raised:
            self._told()
        return RecordedRun(evaluate(state), hook.account_id, hook.name, awaited_until(state), is_certain)
