"""What of a workflow's instances is worth telling: failures, their good end, and pings out of order."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from domain.alerts import Alert, AlertKind, Severity, alert_kind
from domain.evaluation import Change, StageView
from domain.instances import InstanceStatus, StageStatus
from domain.subjects import instance_subject, workflow_source
from domain.transitions import Transition
from domain.verdicts import NoOpenInstance
from domain.workflows import WorkflowDefinition

STAGE_FAILED: Final = alert_kind("stage_failed", Severity.ERROR, "has a failed stage", "stages failed")
STAGE_MISSED: Final = alert_kind("stage_missed", Severity.ERROR, "missed a stage", "stages were missed")
STAGE_TIMED_OUT: Final = alert_kind("stage_timed_out", Severity.ERROR, "waited for a stage in vain", "stages timed out")
INSTANCE_FAILED: Final = alert_kind("instance_failed", Severity.CRITICAL, "failed", "runs failed")
INSTANCE_TIMED_OUT: Final = alert_kind("instance_timed_out", Severity.CRITICAL, "timed out", "runs timed out")
INSTANCE_RECOVERED: Final = alert_kind(
    "instance_recovered", Severity.INFO, "recovered", "runs recovered", resolves=True
)
STRICT_VIOLATION: Final = alert_kind("strict_violation", Severity.WARNING, "refused a ping", "pings were refused")
PING_UNCLAIMED: Final = alert_kind(
    "ping_unclaimed", Severity.WARNING, "got a ping that belongs to no run", "pings belonged to no run"
)
RERUN_REQUESTED: Final = alert_kind(
    "instance_rerun_requested", Severity.INFO, "is to be run again", "runs are to be done again"
)

_OF_STAGES: Final = {
    StageStatus.FAILED: (STAGE_FAILED, "failed"),
    StageStatus.MISSED: (STAGE_MISSED, "was missed"),
    StageStatus.TIMEOUT: (STAGE_TIMED_OUT, "did not come in time"),
}
_OF_NO_STAGE: Final = ("Instance timeout", "Idle timeout")
"""How the reasons of `domain.evaluation` begin where no stage is to blame."""

_HEALED: Final = (InstanceStatus.RUNNING, InstanceStatus.COMPLETED)


def touches_failure(change: Change) -> bool:
    """Whether `alerts_of` the change may be any. Cheap: asked for every change."""
    return any(
        transition.after in (_OF_STAGES if transition.path is not None else (InstanceStatus.FAILED,))
        or (transition.path is None and transition.before == InstanceStatus.FAILED)
        for transition in change.transitions
    )


def fails_now(change: Change) -> datetime | None:
    """When the instance failed, if it is this change that tells of it."""
    moments = [item.at for item in change.transitions if item.path is None and item.after == InstanceStatus.FAILED]
    return moments[0] if moments else None


def alerts_of(definition: WorkflowDefinition, change: Change, failed_since: datetime | None) -> tuple[Alert, ...]:
    """The alerts of a change, in the order of its transitions.

    `failed_since` is when an instance that had failed before the change did so: what follows, its recovery too, is of
    that same trouble. The moment alone would not make an occurrence: a stage that heals, and is then announced
    anew behind its deadline, fails by the same deadline again. So `change.version` is in the keys.
    """
    subject = instance_subject(definition.id, change.instance_id)
    since = fails_now(change) or failed_since
    alerts: list[Alert] = []
    for transition in change.transitions:
        found = _stage_alert(change, transition) if transition.path is not None else _instance_alert(transition)
        if found is None or since is None:
            continue
        kind, said, reason = found
        stage = change.stages.get(transition.path) if transition.path is not None else None
        alerts.append(
            Alert(
                kind=kind,
                account_id=definition.account_id,
                source=workflow_source(definition.id),
                subject=subject,
                name=definition.name or definition.id,
                title=f"{definition.name or definition.id} ({change.instance_id}) {said}",
                trouble=f"{subject}/{since.isoformat()}",
                dedupe_key=f"{subject}/{change.version}/{kind.name}/{transition.path or ''}",
                # A straggler that was received before the deadline heals what was told of later.
                at=max(transition.at, since) if kind.resolves else transition.at,
                reason=reason,
                tags=definition.tags,
                data={
                    "workflow_id": definition.id,
                    "instance_id": change.instance_id,
                    "stage": transition.path,
                    "stage_name": stage.name if stage else None,
                    "agent": (stage.agent if stage else None) or change.agent,
                    "reason": reason,
                },
            )
        )
    return tuple(alerts)


def _stage_alert(change: Change, transition: Transition) -> tuple[AlertKind, str, str] | None:
    """Its kind, its words and its reason."""
    assert transition.path is not None
    if transition.after not in _OF_STAGES:
        return None
    kind, verb = _OF_STAGES[StageStatus(transition.after)]
    named = _named(transition.path, change.stages.get(transition.path))
    reason = f"Stage {named} {verb}" + (f": {transition.reason}" if transition.reason else "")
    return kind, f"has trouble: {reason}", reason


def _named(path: str, stage: StageView | None) -> str:
    return f"{path} ({stage.name})" if stage is not None and stage.name and stage.name != path else path


def _instance_alert(transition: Transition) -> tuple[AlertKind, str, str | None] | None:
    reason = transition.reason
    if transition.after == InstanceStatus.FAILED:
        is_silence = (reason or "").startswith(_OF_NO_STAGE)
        kind, verb = (INSTANCE_TIMED_OUT, "timed out") if is_silence else (INSTANCE_FAILED, "failed")
        return kind, f"{verb}: {reason}" if reason else verb, reason
    if transition.before == InstanceStatus.FAILED and transition.after in _HEALED:
        status = "is running again" if transition.after == InstanceStatus.RUNNING else "completed"
        return INSTANCE_RECOVERED, f"recovered and {status}", None
    return None


def violation_alert(
    account_id: str,
    workflow_id: str,
    workflow_name: str,
    instance_id: str | None,
    path: str,
    code: str,
    message: str,
    at: datetime,
    *,
    tags: tuple[str, ...] = (),
    agent: str | None = None,
    kind: AlertKind = STRICT_VIOLATION,
) -> Alert:
    """Tells of a ping that was not taken; `code` and `message` are those of the error that says why.

    An agent that repeats it in a loop is told of once an instance or, where there is none, once an hour.
    """
    source, name = workflow_source(workflow_id), workflow_name or workflow_id
    occasion = instance_id or at.strftime("%Y-%m-%dT%H")
    key = f"{source}/{occasion}/{kind.name}/{code}/{path}"
    return Alert(
        kind=kind,
        account_id=account_id,
        source=source,
        subject=instance_subject(workflow_id, instance_id) if instance_id is not None else source,
        name=name,
        title=f"{name} ({instance_id}) {kind.one}: {message}" if instance_id else f"{name} {kind.one}: {message}",
        trouble=key,
        dedupe_key=key,
        at=at,
        reason=message,
        tags=tags,
        data={
            "workflow_id": workflow_id,
            "instance_id": instance_id,
            "stage": path,
            "agent": agent,
            "code": code,
            "reason": message,
        },
    )


def rerun_alert(
    definition: WorkflowDefinition,
    instance_id: str,
    parent_id: str,
    session_id: str,
    at: datetime,
    inputs_url: str,
    modified: Sequence[str],
) -> Alert:
    """Asks whoever does the work to do it again, with the inputs at `inputs_url`; `modified` are stages."""
    subject, name = instance_subject(definition.id, instance_id), definition.name or definition.id
    return Alert(
        kind=RERUN_REQUESTED,
        account_id=definition.account_id,
        source=workflow_source(definition.id),
        subject=subject,
        name=name,
        title=f"{name} {RERUN_REQUESTED.one}: {parent_id}, as {instance_id}",
        trouble=f"{subject}/rerun",
        dedupe_key=f"{subject}/{RERUN_REQUESTED.name}",
        at=at,
        tags=definition.tags,
        data={
            "workflow_id": definition.id,
            "instance_id": instance_id,
            "parent_id": parent_id,
            "session_id": session_id,
            "inputs_url": inputs_url,
            "modified_stages": list(modified),
        },
    )


def unclaimed_alert(
    account_id: str,
    workflow_id: str,
    workflow_name: str,
    path: str,
    at: datetime,
    *,
    tags: tuple[str, ...] = (),
    agent: str | None = None,
) -> Alert:
    """Tells of a ping that came while no instance was open, and that none adopted; once an hour and stage."""
    message = f"Stage {path} was pinged while no run was open, and none was opened within the grace period."
    return violation_alert(
        account_id,
        workflow_id,
        workflow_name,
        None,
        path,
        NoOpenInstance.code,
        message,
        at,
        tags=tags,
        agent=agent,
        kind=PING_UNCLAIMED,
    )
