"""Every Temporal workflow there is."""

from temporal_workflows.instance import InstanceWorkflow

WORKFLOWS: tuple[type, ...] = (InstanceWorkflow,)
