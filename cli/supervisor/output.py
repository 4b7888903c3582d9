"""Where the lines of children go: the terminal, or a file of bounded size."""

import sys
from logging import LogRecord
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Protocol

LOG_FILE_BYTES = 5_000_000
LOG_FILE_BACKUPS = 2


class Output(Protocol):
    def write(self, line: str) -> None: ...
    def close(self) -> None: ...


class Terminal:
    """Passes lines on to standard error as they are; the children format them."""

    def write(self, line: str) -> None:
        try:
            print(line, file=sys.stderr, flush=True)
        except OSError:
            # The terminal is gone. The stack must go on until it is told to stop.
            return

    def close(self) -> None:
        """Nothing to close."""


class LogFile:
    """A file, rotated at five megabytes, the last two kept beside it. Its directory is made."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handler = RotatingFileHandler(
            path, maxBytes=LOG_FILE_BYTES, backupCount=LOG_FILE_BACKUPS, delay=True, encoding="utf-8"
        )
        # A full disk must not print a traceback per line; doctor reports the disk.
        self._handler.handleError = lambda record: None  # type: ignore[method-assign]

    def write(self, line: str) -> None:
        self._handler.emit(LogRecord("child", 0, "", 0, line, (), None))

    def close(self) -> None:
        self._handler.close()
