"""Identifiers: their shapes, and new ones."""

import re
import secrets
import string
from typing import Final

ALPHABET: Final = string.ascii_lowercase + string.digits

WORKFLOW_ID: Final = re.compile(r"[A-Za-z0-9_.\-]{1,128}")
"""What a caller may choose as the id of a dynamic workflow."""


def random_id(prefix: str, length: int) -> str:
    """`prefix` and `length` random characters of a-z and 0-9, from the system's secure source."""
    return prefix + "".join(secrets.choice(ALPHABET) for _ in range(length))


def new_instance_id(kind: str) -> str:
    """`s`, `d` or `r` for the workflow's kind, and 8 characters."""
    return random_id(kind[0], 8)


def new_workflow_id(kind: str) -> str:
    """`swf…` for a static workflow, `dwf…` for a dynamic one."""
    return random_id(f"{kind[0]}wf_", 10)
