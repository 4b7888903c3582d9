"""What a ping is about, named as its Temporal workflow is: one string for both.

Its first part is its kind. What channels attach to, the source of alerts, is named alike.
"""

from typing import Final

INSTANCE: Final = "instance"
PULSE: Final = "pulse"
PROCESS: Final = "process"
APPROVAL: Final = "approval"


def instance_subject(workflow_id: str, instance_id: str) -> str:
    return f"{INSTANCE}/{workflow_id}/{instance_id}"


def pulse_subject(pulse_id: str) -> str:
    return f"{PULSE}/{pulse_id}"


def run_subject(hook_id: str, run_id: str) -> str:
    return f"{PROCESS}/{hook_id}/{run_id}"


def workflow_source(workflow_id: str) -> str:
    """What the alerts of a user's workflow come from."""
    return f"workflow/{workflow_id}"


def pulse_source(pulse_id: str) -> str:
    return f"{PULSE}/{pulse_id}"


def process_source(hook_id: str) -> str:
    return f"{PROCESS}/{hook_id}"


def approval_subject(approval_id: str) -> str:
    """Of one approval; it is also what its alerts come from, if channels are attached to it."""
    return f"{APPROVAL}/{approval_id}"


def parts_of(subject: str) -> tuple[str, ...]:
    """Its kind, and then its ids: of an instance the workflow's and its own, of a process run the hook's and its own,
    of a pulse or an approval one."""
    return tuple(subject.split("/"))
