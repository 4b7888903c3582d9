"""What is worth telling of reported runs: that one failed, and that the next one succeeded.

Such a run is over when it is heard of, and hardly ever heals by itself. So the trouble is the workflow's, from the
first run that failed to the next one that succeeds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from domain.alerts import Alert, AlertKind
from domain.evaluation import Change
from domain.instance_alerts import INSTANCE_FAILED, INSTANCE_RECOVERED
from domain.instances import InstanceStatus
from domain.subjects import instance_subject, workflow_source
from domain.workflows import WorkflowDefinition


@dataclass(frozen=True)
class RunStanding:
    """How the runs of a workflow stand: `failing_since` while none has succeeded after one that failed; and when the
    latest of each was reported."""

    failing_since: datetime | None = None
    failed_at: datetime | None = None
    succeeded_at: datetime | None = None


def has_ended(change: Change) -> bool:
    """Whether a change of a reported run may be news. Cheap: asked for every change."""
    return any(item.path is None and item.after in (InstanceStatus.FAILED, InstanceStatus.COMPLETED)
               for item in change.transitions)  # fmt: skip


def standing_after(
    definition: WorkflowDefinition, change: Change, standing: RunStanding, external_id: str | None = None
) -> tuple[RunStanding, tuple[Alert, ...]]:
    """How the runs stand after a change of one, and the alerts of it.

    Runs are recorded in any order, and each counts at its own time: a failure that is heard of behind a later success
    is told together with its good end.
    """
    alerts: list[Alert] = []
    name = definition.name or definition.id
    for at, failed, reason in _ends(change):
        since = standing.failing_since or at
        if failed:
            said = f"failed: {reason}" if reason else "failed"
            alerts.append(
                _alert(definition, change, INSTANCE_FAILED, since, at, f"{name} ({change.instance_id}) {said}", reason)
            )
            standing = replace(standing, failed_at=max(filter(None, (standing.failed_at, at))), failing_since=since)
        else:
            standing = replace(standing, succeeded_at=max(filter(None, (standing.succeeded_at, at))))
        ended_at = standing.succeeded_at
        if standing.failing_since is not None and ended_at is not None and ended_at >= (standing.failed_at or ended_at):
            title = f"{name} recovered" + ("" if failed else f": run {change.instance_id} succeeded")
            alerts.append(_alert(definition, change, INSTANCE_RECOVERED, since, max(ended_at, at), title, None))
            standing = replace(standing, failing_since=None)
    named = tuple(replace(item, data={**item.data, "external_id": external_id}) for item in alerts)
    return standing, named


def _ends(change: Change) -> Iterator[tuple[datetime, bool, str | None]]:
    """When it ended, whether it failed, and why."""
    for item in change.transitions:
        if item.path is None and item.after in (InstanceStatus.FAILED, InstanceStatus.COMPLETED):
            yield item.at, item.after == InstanceStatus.FAILED, item.reason


def _alert(
    definition: WorkflowDefinition,
    change: Change,
    kind: AlertKind,
    since: datetime,
    at: datetime,
    title: str,
    reason: str | None,
) -> Alert:
    source, subject = workflow_source(definition.id), instance_subject(definition.id, change.instance_id)
    return Alert(
        kind=kind,
        account_id=definition.account_id,
        source=source,
        subject=subject,
        name=definition.name or definition.id,
        title=title,
        trouble=f"{source}/{since.isoformat()}",
        dedupe_key=f"{subject}/{change.version}/{kind.name}/",
        at=at,
        reason=reason,
        tags=definition.tags,
        data={
            "workflow_id": definition.id,
            "instance_id": change.instance_id,
            "agent": change.agent,
            "reason": reason,
        },
    )
