"""What is told of costs: lines that were crossed, and runs that may go on."""

from datetime import datetime
from typing import Final

from domain.alerts import Alert, AlertKind, Severity, alert_kind
from domain.breaker import Crossing
from domain.budgets import Action, Rule
from domain.subjects import instance_subject, workflow_source
from domain.workflows import WorkflowDefinition

_KINDS: Final = {
    Rule.THRESHOLD: alert_kind(
        "budget_alert_threshold", Severity.WARNING, "nears its budget", "runs are near their budget"
    ),
    Rule.LIMIT: alert_kind("budget_exceeded", Severity.CRITICAL, "exceeds its budget", "runs exceed their budget"),
    Rule.DAILY: alert_kind(
        "daily_budget_exceeded", Severity.CRITICAL, "exceeds its daily budget", "workflows exceed their daily budget"
    ),
    Rule.ANOMALY: alert_kind("cost_anomaly", Severity.ERROR, "costs unusually much", "runs cost unusually much"),
    Rule.PINGS: alert_kind("runaway_pings", Severity.ERROR, "pings without end", "runs ping without end"),
    Rule.VISITS: alert_kind(
        "runaway_stage", Severity.ERROR, "repeats a stage without end", "runs repeat a stage without end"
    ),
}
RESUMED: Final = alert_kind("instance_resumed", Severity.INFO, "was resumed", "runs were resumed", resolves=True)

_DONE: Final = {
    Action.ALERT: "",
    Action.PAUSE: "; the run is paused",
    Action.TERMINATE: "; the run was terminated",
}


def crossing_alert(definition: WorkflowDefinition, instance_id: str, crossing: Crossing) -> Alert:
    return _alert(
        _KINDS[crossing.rule],
        definition,
        instance_id,
        crossing.message + _DONE[crossing.taken],
        key=f"budget/{crossing.key}",
        at=crossing.at,
        data={
            "ping_id": crossing.ping_id,
            "current_cost_usd": f"{crossing.current_usd:f}",
            "threshold_usd": f"{crossing.threshold_usd:f}" if crossing.threshold_usd is not None else None,
            "action_taken": crossing.taken.value,
        },
    )


def resumed_alert(definition: WorkflowDefinition, instance_id: str, cause: str, by: str, at: datetime) -> Alert:
    """`cause` is that of the pause that has ended."""
    return _alert(
        RESUMED,
        definition,
        instance_id,
        f"was resumed by {by}",
        key=f"budget/{cause}",
        at=at,
        data={"resumed_by": by},
        suffix=f"/resumed/{instance_id}/{at.isoformat()}",
    )


def _alert(
    kind: AlertKind,
    definition: WorkflowDefinition,
    instance_id: str,
    reason: str,
    *,
    key: str,
    at: datetime,
    data: dict[str, object],
    suffix: str = "",
) -> Alert:
    name = definition.name or definition.id
    return Alert(
        kind=kind,
        account_id=definition.account_id,
        source=workflow_source(definition.id),
        subject=instance_subject(definition.id, instance_id),
        name=name,
        title=f"{name} ({instance_id}): {reason}",
        trouble=key,
        dedupe_key=key + suffix,
        at=at,
        reason=reason,
        tags=definition.tags,
        data={"workflow_id": definition.id, "instance_id": instance_id, "reason": reason, **data},
    )
