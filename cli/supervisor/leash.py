"""Start programs so that they die with us, and as another user when asked.

A tiny launcher does it between fork and exec: `preexec_fn` is not safe beside threads, and Python's own
`user=` cannot be combined with a death signal without it (a change of user clears the signal).
"""

import os
import signal
import sys
from collections.abc import Sequence

_LAUNCHER = """
import ctypes, os, pwd, sys  # all of it now: another user may not be let into this Python's directories
parent, death_signal, user = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
program = sys.argv[4:]
if user:
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ.update(HOME=entry.pw_dir, USER=user, LOGNAME=user)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, death_signal)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it died before we asked to be told
        sys.exit(1)
os.execvp(program[0], program)
"""


def leashed(
    argv: Sequence[str], *, death_signal: signal.Signals = signal.SIGKILL, user: str | None = None
) -> list[str]:
    """The command that runs `argv` as `user` and, on Linux, sends it `death_signal` when this process dies.

    Start it from the main thread: the kernel watches the thread, not the process.
    """
    if sys.platform != "linux" and user is None:
        return list(argv)
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), str(int(death_signal)), user or ""]
    return [*launcher, *argv]
