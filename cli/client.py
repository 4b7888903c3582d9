"""The commands that hosts without Python have too: they hand over to the shell script that those use."""

import os
import signal
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from typer.core import TyperCommand

from api.client_script import CLIENT_SCRIPT
from cli.errors import CommandError

SHELL: Final = "/bin/sh"


class HandedOver(TyperCommand):
    """A command whose arguments are the script's, `--help` and `--` included."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.args = list(args)
        return args


def hand_over(command: str, arguments: Sequence[str]) -> NoReturn:
    """Becomes the script. Raises CommandError where there is no POSIX shell."""
    if not os.access(SHELL, os.X_OK):
        raise CommandError(f"This takes {SHELL}, which this system does not have.")
    # Python ignores these, and a job would inherit that: `yes | head` would not end.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.execv(SHELL, [SHELL, str(CLIENT_SCRIPT), command, *arguments])
