"""Every Temporal workflow there is, and where it is worked on."""

from temporal_workflows.approval import ApprovalWorkflow
from temporal_workflows.instance import InstanceWorkflow
from temporal_workflows.message import MessageWorkflow
from temporal_workflows.process_run import ProcessRunWorkflow
from temporal_workflows.pulse import PulseWorkflow

SUBJECT_WORKFLOWS: tuple[type, ...] = (ApprovalWorkflow, InstanceWorkflow, ProcessRunWorkflow, PulseWorkflow)
WORKFLOWS: tuple[type, ...] = (*SUBJECT_WORKFLOWS, MessageWorkflow)


def message_queue(task_queue: str) -> str:
    """The task queue of messages, beside that of all else."""
    return f"{task_queue}-messages"
