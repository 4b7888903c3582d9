"""One format for every log line, ours and the libraries', and no key in any of them."""

import logging
import os
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from config.settings import Settings

REDACTED = "***"

_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"ppk_[A-Za-z0-9_\-]+"), f"ppk_{REDACTED}"),
    (re.compile(r"whsec_[A-Za-z0-9+/=_\-]+"), f"whsec_{REDACTED}"),
    # A query value, as in an address of ours that an HTTP library logs.
    (re.compile(r"(?i)\b(key|api_key|apikey|token|password|secret)=[^&\s\"'<>]+"), rf"\1={REDACTED}"),
    # A member of a JSON body, also inside a string where its quotes are escaped.
    (
        re.compile(r"""(?i)(\\?["'](?:key|password|secret|access_token)\\?["']\s*:\s*\\?["'])[^"'\\]+"""),
        rf"\1{REDACTED}",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=\-]{8,}"), rf"\1 {REDACTED}"),
    (re.compile(r"\beyJ[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]+"), REDACTED),
    (re.compile(r"(://[^/:@\s]*:)[^/@\s]+@"), rf"\1{REDACTED}@"),
)
_SECRET_FIELDS = frozenset({"key", "api_key", "x_api_key", "password", "secret", "token", "authorization", "cookie"})

# Chatty at info, and what they say there is either ours to say or on the metrics page.
_QUIET = ("httpx", "httpcore", "sqlalchemy.engine", "alembic", "asyncio")


def redact(text: str) -> str:
    """`text` without API keys, passwords, bearer tokens and sessions."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _clean_fields(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.pop("color_message", None)  # uvicorn's second copy of the message
    for name in event.keys() & _SECRET_FIELDS:
        event[name] = REDACTED
    return event


class _RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Redacts the finished line: only there are exceptions, their arguments and nested values text at last."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def configure_logging(settings: Settings) -> None:
    """Send structlog and `logging` alike to standard error, as `log_format` and `log_level` say."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _clean_fields,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _RedactingFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(settings)],
        )
    )
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _renderers(settings: Settings) -> list[structlog.typing.Processor]:
    # Plain tracebacks in both: the pretty ones print local variables, and a key may be one of them.
    if settings.log_format == "json":
        return [
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(default=str),
        ]
    return [
        structlog.dev.ConsoleRenderer(
            colors=_wants_colors(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        )
    ]


def _wants_colors() -> bool:
    """The convention of https://no-color.org; `up` forces colour on for its children, who write to a pipe."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stderr.isatty()
