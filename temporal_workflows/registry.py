"""Every Temporal workflow there is."""

from temporal_workflows.instance import InstanceWorkflow
from temporal_workflows.message import MessageWorkflow
from temporal_workflows.process_run import ProcessRunWorkflow
from temporal_workflows.pulse import PulseWorkflow

WORKFLOWS: tuple[type, ...] = (InstanceWorkflow, MessageWorkflow, ProcessRunWorkflow, PulseWorkflow)
