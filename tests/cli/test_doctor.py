"""The doctor's bedside manner; that it finds a whole stack healthy is in test_up.py."""

from pathlib import Path

import pytest

from cli.doctor.registry import Finding, Problem, _checks, _run, check, examine
from cli.errors import CommandError
from config.settings import Settings

NOWHERE = "postgresql://ada:hunter2@127.0.0.1:1/pings"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, database_url=NOWHERE, temporal_address="127.0.0.1:1")


async def test_checks_that_fail_say_the_remedy_and_the_others_still_run(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not await examine(settings, ["python", "settings", "Postgres", "Migrations", "Outbox", "Disk"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["✓", "Python"],
        ["✗", "Settings"],
        ["✗", "Postgres"],
        ["✗", "Migrations"],
        ["✗", "Outbox"],
        ["✓", "Disk"],
    ]
    assert "PINGPULSE_SECRET_KEY" in lines[1]
    assert "correct PINGPULSE_DATABASE_URL" in lines[2]
    assert "hunter2" not in "".join(lines)


async def test_without_a_check_of_that_name(settings: Settings) -> None:
    with pytest.raises(CommandError, match=r"There is no check horoscope; there are Python, Settings"):
        await examine(settings, ["Horoscope"])


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (Finding("fine"), "✓ New           fine"),
        (Finding("tight", warning=True), "! New           tight"),
        (Problem("broken", "mend it"), "✗ New           broken. → mend it"),
        (ValueError("at postgresql://a:secret@b\nmore"), "✗ New           ValueError: at postgresql://a:***@b"),
    ],
)
async def test_other_checks_can_register(
    settings: Settings, outcome: Finding | Exception, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def new(_settings: Settings) -> Finding:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    check("New")(new)
    function = _checks.pop("New")
    assert await _run("New", function, settings) is isinstance(outcome, Finding)
    assert capsys.readouterr().out.splitlines() == [line]
