"""Going on to a moment, on a server that skips time."""

from datetime import datetime, timedelta

from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

ATTEMPTS = 10


async def skip_to(environment: WorkflowEnvironment, moment: datetime) -> None:
    """Returns when it is that time on the server. A call ends after ten seconds of ours: on a busy machine a year of
    timers takes longer than that."""
    for _ in range(ATTEMPTS):
        left = moment - await environment.get_current_time()
        if left <= timedelta(0):
            return
        try:
            await environment.sleep(left)
        except RPCError as error:
            if error.status not in (RPCStatusCode.CANCELLED, RPCStatusCode.DEADLINE_EXCEEDED):
                raise
    raise AssertionError(f"the server does not come to {moment}")
