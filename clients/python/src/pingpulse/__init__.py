"""The client of PingPulse: reports pipelines, crons and agents, and asks people before they go on.

from pingpulse import PingPulse

pulse = PingPulse()  # PINGPULSE_URL, PINGPULSE_API_KEY
with pulse.run("nightly"):
    back_up()
"""

import logging

from pingpulse._runs import ProcessRun, PulseRun, StageVisit, Workflow, WorkflowRun, current_stage, stage
from pingpulse._scopes import Scope
from pingpulse.aio import AsyncPingPulse
from pingpulse.client import PingPulse
from pingpulse.errors import (
    ApiError,
    ApprovalPending,
    AuthenticationFailed,
    ConfigurationError,
    Conflict,
    ConnectionFailed,
    FieldProblem,
    InvalidRequest,
    NotFound,
    PayloadError,
    PayloadTooLarge,
    PermissionDenied,
    PingPulseError,
    RateLimited,
    ServerError,
    Unavailable,
    UnexpectedAnswer,
)
from pingpulse.models import Approval, ApprovalRequest, Instance, StageAnswer, StageState, Timeline

__version__ = "0.1.0"

__all__ = [
    "ApiError",
    "Approval",
    "ApprovalPending",
    "ApprovalRequest",
    "AsyncPingPulse",
    "AuthenticationFailed",
    "ConfigurationError",
    "Conflict",
    "ConnectionFailed",
    "FieldProblem",
    "Instance",
    "InvalidRequest",
    "NotFound",
    "PayloadError",
    "PayloadTooLarge",
    "PermissionDenied",
    "PingPulse",
    "PingPulseError",
    "ProcessRun",
    "PulseRun",
    "RateLimited",
    "Scope",
    "ServerError",
    "StageAnswer",
    "StageState",
    "StageVisit",
    "Timeline",
    "Unavailable",
    "UnexpectedAnswer",
    "Workflow",
    "WorkflowRun",
    "current_stage",
    "stage",
]

logging.getLogger("pingpulse").addHandler(logging.NullHandler())
