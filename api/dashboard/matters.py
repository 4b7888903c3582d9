"""What needs a human, in words: what it is called, and what is done about it."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Words:
    """Of one kind of matter: the state it has, its heading by number, what its button says and where more of it is."""

    state: str
    label: str
    one: str
    many: str
    action: str
    more: str


KINDS: Final[dict[str, Words]] = {
    "down": Words("down", "Down", "pulse is down", "pulses are down", "See its pings", "/pulses?status=down"),
    "failed": Words(
        "failed", "Failed", "workflow failed, with no good run since", "workflows failed, with no good run since",
        "See what failed", "/workflows",
    ),
    "paused": Words("paused", "Paused", "run is paused", "runs are paused", "Resume or end it", "/costs"),
    "stopped": Words(
        "held", "Stopped", "workflow is stopped for the day by its budget",
        "workflows are stopped for the day by their budgets", "See its budget", "/costs",
    ),
    "waiting": Words(
        "waiting", "Waits", "approval waits for a decision", "approvals wait for a decision", "Decide", "/approvals"
    ),
    "overdue": Words("overdue", "Overdue", "job is overdue", "jobs are overdue", "See the job", "/process-hooks"),
    "unreached": Words(
        "failed", "Not reached", "channel cannot be reached", "channels cannot be reached", "Check the channel",
        "/channels",
    ),
}  # fmt: skip
"""In the order in which they are shown."""


def address_of(kind: str, url: str) -> str:
    """Where something is done about it, given the page of what it is about."""
    return f"{url}/budget" if kind == "stopped" else url
