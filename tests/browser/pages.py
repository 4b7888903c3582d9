"""Every page of the dashboard, in an account with a life."""

from collections.abc import Mapping
from typing import Final

from tests.support.demo import Demo

WITHOUT_LOGIN: Final[Mapping[str, str]] = {"log in": "/login", "nothing here": "/no-such-page"}


def pages_of(demo: Demo) -> Mapping[str, str]:
    """Their addresses, by what they are called in tests and file names."""
    return {
        "overview": "/",
        "welcome": "/welcome",
        "search": "/search?q=research",
        "workflows": "/workflows",
        "new-workflow": "/workflows/new",
        "workflow": f"/workflows/{demo.load}",
        "run-workflow": f"/workflows/{demo.invoices}",
        "edit-workflow": f"/workflows/{demo.load}/edit",
        "failed-queue": f"/workflows/{demo.load}/failed",
        "delete-workflow": f"/workflows/{demo.load}/delete",
        "budget": f"/workflows/{demo.research}/budget",
        "instance": f"/instances/{demo.run}",
        "instance-at-a-step": f"/instances/{demo.run}?step=3",
        "failed-instance": f"/instances/{demo.failed}",
        "paused-instance": f"/instances/{demo.paused}",
        "timeline": f"/instances/{demo.run}/timeline",
        "step": f"/instances/{demo.run}/steps/2",
        "fork-or-rerun": f"/instances/{demo.run}/go-on",
        "lineage": f"/instances/{demo.run}/lineage",
        "compare": "/compare",
        "comparison": f"/comparisons/{demo.comparison}",
        "pulses": "/pulses",
        "new-pulse": "/pulses/new",
        "pulse": f"/pulses/{demo.pulse}",
        "pulse-that-is-down": f"/pulses/{demo.down}",
        "edit-pulse": f"/pulses/{demo.pulse}/edit",
        "process-hooks": "/process-hooks",
        "new-process-hook": "/process-hooks/new",
        "process-hook": f"/process-hooks/{demo.hook}",
        "edit-process-hook": f"/process-hooks/{demo.hook}/edit",
        "process-run": f"/process-hooks/{demo.hook}/runs/{demo.hook_run}",
        "approvals": "/approvals",
        "approval-history": "/approvals/history",
        "audit-of-an-approval": f"/approvals/{demo.approval}/audit",
        "costs": "/costs",
        "costs-by-model": "/costs?group_by=model",
        "budgets": "/costs/budgets",
        "cost-alerts": "/costs/alerts",
        "alerts": "/alerts",
        "alert": f"/alerts/{demo.alert}",
        "channels": "/channels",
        "new-channel": "/channels/new",
        "channel": f"/channels/{demo.channel}",
        "edit-channel": f"/channels/{demo.channel}/edit",
        "maintenance": "/maintenance",
        "integrations": "/integrations",
        "integration": "/integrations/shell",
        "account": "/settings/account",
        "members": "/settings/members",
        "keys": "/settings/keys",
        "security": "/settings/security",
        "prices": "/settings/prices",
        "retention": "/settings/retention",
        "status-page-settings": "/settings/status",
        "audit": "/settings/audit",
    }
