"""One format for all, and no secret in any line."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from config.logging import configure_logging, redact
from config.settings import Settings

KEY = "ppk_3bs7q4k6bq_VnnOq5o2XtlFSRcPHWoNmICx9Yqi7IDCTSFMZr9a"


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("signed with whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw=", "signed with whsec_***"),
        (f"the key {KEY}.", "the key ppk_***."),
        ("GET /dhk/x?stage=1&key=abc&start=yes", "GET /dhk/x?stage=1&key=***&start=yes"),
        ('{"key": "abc", "keyboard": "qwerty"}', '{"key": "***", "keyboard": "qwerty"}'),
        (r'"{\"key\": \"abc\"}"', r'"{\"key\": \"***\"}"'),
        ("Authorization: Bearer abcdefghijklmnopqrstuvwxyz", "Authorization: Bearer ***"),
        ("access_token=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_123", "access_token=***"),
        ("postgresql://ada:hunter2@db/pings", "postgresql://ada:***@db/pings"),
        ("monkey=banana, bearer of bad news", "monkey=banana, bearer of bad news"),
    ],
)
def test_redact(text: str, redacted: str) -> None:
    assert redact(text) == redacted


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_no_line_tells_a_key(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format=log_format))
    ours, theirs = structlog.stdlib.get_logger(f"ours.{log_format}"), logging.getLogger("theirs")
    ours.info("pinged", key="abc123secret", nested={"url": f"/shk/x?key={KEY}"}, text=KEY)
    theirs.warning("GET %s", f"/dhk/x?key={KEY}")
    theirs.error("with %r", {"key": "abc123secret"})
    try:
        secret = KEY
        raise ValueError(f"no such key {secret}")
    except ValueError:
        ours.exception("failed")
        theirs.exception("failed too")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "VnnOq5" not in captured.err
    assert "abc123secret" not in captured.err
    assert captured.err.count("ValueError: no such key ppk_***") == 2


def test_json_lines_are_json_from_everyone(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format="json", log_level="warning"))
    structlog.stdlib.get_logger("ours.lines").warning("one", count=3)
    logging.getLogger("theirs").warning("two %s", "words")
    logging.getLogger("theirs").info("not severe enough")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["message"], first["level"], first["logger"], first["count"]) == ("one", "warning", "ours.lines", 3)
    assert (second["message"], second["level"], second["logger"]) == ("two words", "warning", "theirs")
    assert second["timestamp"].endswith("Z")
