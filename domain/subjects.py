"""What a ping is about, named as its Temporal workflow is: one string for both."""


def instance_subject(workflow_id: str, instance_id: str) -> str:
    return f"instance/{workflow_id}/{instance_id}"


def split_instance_subject(subject: str) -> tuple[str, str]:
    """The workflow's id and the instance's."""
    _, workflow_id, instance_id = subject.split("/")
    return workflow_id, instance_id
