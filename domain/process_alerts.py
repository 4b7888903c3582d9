"""What of a process run is worth telling: that it failed, that it is overdue, and that it came to an end after all."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from domain.alerts import Alert, AlertKind, Severity, alert_kind
from domain.durations import in_words
from domain.processes import RunStatus, RunView, how_it_ended, seconds_between
from domain.subjects import process_source, run_subject
from domain.transitions import Transition

PROCESS_FAILED: Final = alert_kind("process_failed", Severity.ERROR, "failed", "process runs failed")
PROCESS_OVERDUE: Final = alert_kind("process_overdue", Severity.ERROR, "is overdue", "process runs are overdue")
PROCESS_RECOVERED: Final = alert_kind(
    "process_recovered", Severity.INFO, "finished after all", "process runs finished after all", resolves=True
)


@dataclass(frozen=True)
class RunIdentity:
    """Whose run it is; `name` and `tags` are the hook's."""

    account_id: str
    hook_id: str
    run_id: str
    name: str
    tags: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        return run_subject(self.hook_id, self.run_id)


def alerts_of(run: RunIdentity, view: RunView, transitions: Iterable[Transition]) -> tuple[Alert, ...]:
    """The alerts that `transitions` bring about; `view` is the run after them. All belong to one trouble, the run."""
    return tuple(
        _alert(run, view, transition, kind) for transition in transitions if (kind := _kind_of(transition)) is not None
    )


def _kind_of(transition: Transition) -> AlertKind | None:
    if transition.after == RunStatus.FAILED:
        return PROCESS_FAILED
    if transition.after == RunStatus.OVERDUE:
        return PROCESS_OVERDUE
    if transition.after == RunStatus.FINISHED and transition.before == RunStatus.OVERDUE:
        return PROCESS_RECOVERED
    return None


def _alert(run: RunIdentity, view: RunView, transition: Transition, kind: AlertKind) -> Alert:
    if kind is PROCESS_OVERDUE:
        waited = in_words(seconds_between(view.started_at, transition.at))
        title = f"{run.name} is overdue: no finish within {waited}"
    else:
        said = how_it_ended(view)
        title = f"{run.name} {said[0].lower()}{said[1:]}"
    return Alert(
        kind=kind,
        account_id=run.account_id,
        source=process_source(run.hook_id),
        subject=run.subject,
        name=run.name,
        title=title,
        trouble=run.subject,
        dedupe_key=f"{run.subject}/{kind.name}/{transition.at.isoformat()}",
        at=transition.at,
        reason=view.reason if kind is PROCESS_FAILED else transition.reason,
        tags=run.tags,
        data={
            "process_hook_id": run.hook_id,
            "run_id": run.run_id,
            "started_at": view.started_at.isoformat(),
            **(
                {"duration_seconds": view.duration_seconds, "late_seconds": view.late_seconds or 0.0}
                if kind is not PROCESS_OVERDUE
                else {}
            ),
        },
    )
