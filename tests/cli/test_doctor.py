"""The doctor's bedside manner; that it finds a whole stack healthy is in test_up.py."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from cli.doctor.checks import approvals
from cli.doctor.registry import Finding, Problem, _checks, _run, check, examine
from cli.errors import CommandError
from cli.postgres import EmbeddedPostgres
from config.clock import utc_now
from config.settings import Settings
from storage.accounts import create_account
from storage.approvals import Approval
from storage.base import Sessions, create_engine, create_sessions, transaction
from storage.deciding import follow
from tests.conftest import copy_database
from tests.support.approvals import ask, gateway_lives

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


@pytest.fixture(scope="module")
async def doctored(postgres: EmbeddedPostgres) -> AsyncIterator[tuple[Settings, Sessions]]:
    """A database of our own, and settings that lead to it."""
    url = await copy_database(postgres, "doctored")
    engine = create_engine(url)
    yield Settings(_env_file=None, database_url=url), create_sessions(engine)
    await engine.dispose()


async def test_approvals_are_counted_and_their_audit_trails_verified(doctored: tuple[Settings, Sessions]) -> None:
    settings, sessions = doctored
    assert await approvals(settings) == Finding("0 pending, every audit trail holds")
    async with transaction(sessions) as session:
        account = await create_account(session, "tests", utc_now())
    asked = [await ask(sessions, account.id) for _ in range(3)]
    assert await approvals(settings) == Finding("3 pending, every audit trail holds")

    async def change(statement: str, numbers: Sequence[int]) -> None:
        async with transaction(sessions) as session:
            await session.execute(text("SET LOCAL session_replication_role = replica"))
            for number in numbers:
                await session.execute(text(f"{statement} WHERE approval_id = :id"), {"id": asked[number].id})

    await change("UPDATE approval_audit SET entry = replace(entry, 'deploy', 'Deploy')", [1])
    with pytest.raises(
        Problem, match=rf"tampered with {asked[1].id} \(entry 1 is missing, or not what was written\)$"
    ) as problem:
        await approvals(settings)
    assert "compare with a backup" in problem.value.remedy
    await change("UPDATE approval_audit SET entry = replace(entry, 'Deploy', 'deploy')", [1])
    assert await approvals(settings) == Finding("3 pending, every audit trail holds")
    asked += [await ask(sessions, account.id) for _ in range(4)]
    await change("DELETE FROM approval_audit", range(7))
    with pytest.raises(Problem, match=r"(apr_\w+ \([^)]*\)(, )?){5} and 2 more$"):
        await approvals(settings)


async def test_approvals_that_no_workflow_follows_are_a_problem(postgres: EmbeddedPostgres) -> None:
    url = await copy_database(postgres, "unfollowed")
    settings, engine = Settings(_env_file=None, database_url=url), create_engine(url)
    sessions, now = create_sessions(engine), utc_now()
    async with transaction(sessions) as session:
        account = await create_account(session, "tests", now)
    a_while_ago = now - timedelta(minutes=5)
    await gateway_lives(sessions, a_while_ago, now)

    async def look(approval: Approval) -> None:
        async with transaction(sessions) as session:
            await follow(session, approval.id, a_while_ago, now)

    late = await ask(sessions, account.id, now=a_while_ago, timeout=60.0)
    with pytest.raises(Problem, match="1 pending, 1 of them past their deadline; 1 have news that no workflow has"):
        await approvals(settings)
    await look(late)
    with pytest.raises(Problem, match="1 of them past their deadline; 0 have news") as problem:
        await approvals(settings)
    assert "pingpulse revive" in problem.value.remedy
    async with transaction(sessions) as session:
        await follow(session, late.id, now, now)
    unnoticed = await ask(sessions, account.id, now=a_while_ago, timeout=None)
    with pytest.raises(Problem, match="1 pending, 0 of them past their deadline; 1 have news"):
        await approvals(settings)
    await look(unnoticed)
    assert await approvals(settings) == Finding("1 pending, every audit trail holds")
    await engine.dispose()
