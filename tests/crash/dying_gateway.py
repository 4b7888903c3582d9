"""The real gateway, killed when a vote is committed and its workflow is about to be told.

`python -m tests.crash.dying_gateway PORT`, with the settings of `pingpulse api`.
"""

import os
import signal
import sys

import api.app
from api.delivery import Temporal
from cli.serve import serve_api
from config.settings import Settings
from temporal_workflows.approval import ApprovalEvent


class Dying(Temporal):
    async def tell_of_approval(self, approval_id: str, event: ApprovalEvent) -> None:
        if event.what in ("approve", "deny"):
            os.kill(os.getpid(), signal.SIGKILL)
        await super().tell_of_approval(approval_id, event)


if __name__ == "__main__":
    api.app.Temporal = Dying  # type: ignore[attr-defined]
    serve_api(Settings().model_copy(update={"port": int(sys.argv[1])}))
