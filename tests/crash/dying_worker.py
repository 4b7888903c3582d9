"""The real worker, in which a process is killed the first time that a step of telling is reached.

`python -m tests.crash.dying_worker STEP [PID]`, with the settings of `pingpulse worker`: it kills itself; or the
process PID, and works on.
"""

import asyncio
import inspect
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final

import activities.messages
import activities.pulses
import worker.telling
from activities.messages import MessageActivities
from cli.serve import serve_worker
from config.settings import Settings
from worker.telling import Telling


@dataclass(frozen=True)
class Step:
    """Before a function of ours is called, or `after` it, `if_` its arguments or else its result are so."""

    owner: Any
    function: str
    after: bool = False
    if_: Callable[[Any], bool] = lambda _: True


STEPS: Final = {
    "alert due": Step(activities.pulses, "_write", if_=lambda arguments: bool(arguments[1].alerts)),
    "alert committed": Step(Telling, "wake"),
    "message written": Step(worker.telling, "form_messages", after=True, if_=lambda formed: bool(formed.messages)),
    "message committed": Step(Telling, "_hand_over", if_=lambda arguments: bool(arguments[1])),
    "handed over": Step(worker.telling, "mark_handed_over"),
    "about to send": Step(activities.messages, "_send"),
    "answered": Step(MessageActivities, "_record"),
    "recorded": Step(MessageActivities, "_record", after=True),
}
"""In the order in which telling goes through them. What was only written is not committed yet."""


def kill_at(name: str, pid: int) -> None:
    """Puts the kill before or behind the function of the step."""
    step, is_over = STEPS[name], False
    original: Callable[..., Any] = getattr(step.owner, step.function)

    def reached(said: Any) -> None:
        nonlocal is_over
        if not is_over and step.if_(said):
            is_over = True
            sys.stdout.write(f"{killed_at(name)}\n")
            sys.stdout.flush()
            os.kill(pid, signal.SIGKILL)

    @wraps(original)
    async def awaited(*arguments: Any) -> Any:
        if not step.after:
            reached(arguments)
        result = await original(*arguments)
        if step.after:
            reached(result)
        return result

    @wraps(original)
    def called(*arguments: Any) -> Any:
        reached(arguments)
        return original(*arguments)

    setattr(step.owner, step.function, awaited if inspect.iscoroutinefunction(original) else called)


def killed_at(name: str) -> str:
    """What it says then."""
    return f"killed at: {name}"


if __name__ == "__main__":
    kill_at(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else os.getpid())
    asyncio.run(serve_worker(Settings()))
