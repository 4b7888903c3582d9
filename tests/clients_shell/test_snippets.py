"""What the pages and the public API's reference show for shells and crons, run as it stands."""

import os
import shutil
from pathlib import Path

import pytest

from api.client_script import CLIENT_SCRIPT
from tests.api.calls import Calls
from tests.clients_shell.programs import EXAMPLES, crontab, program, put_in, run, snippets
from tests.clients_shell.test_exec import events
from tests.support.stack import Stack


async def test_the_page_of_the_shell(stack: Stack, ours: Calls, tmp_path: Path) -> None:
    (tmp_path / "documents").mkdir()
    there = {"http://localhost:8000": stack.url, "YOUR_KEY": stack.key}
    script = program(tmp_path / "page.sh", "set -e\n" + put_in("".join(snippets("shell.md", "sh")), there))
    ended = await run("sh", str(script), cwd=tmp_path)
    assert ended.code == 0, ended
    assert ended.out == b"extracted\nloaded\nnot deploying: 3\n"
    assert (tmp_path / "backup.tar").exists()
    assert [ping["event"] for ping in await events(ours, "nightly-backup")] == ["start", "success"]
    assert [ping["event"] for ping in await events(ours, "heartbeat")] == ["success", "fail", "log"]
    assert [ping["payload"] for ping in await events(ours, "plain-curl")] == [
        None,
        {"status": "ok", "rows_processed": 1500},
    ]
    assert set(await ours.get("/dhk/nightly-etl/tree")) == {"1", "2"}
    assert (await ours.get("/dhk/training/tree"))["2"] == {"status": "healthy", "agent_code": "trainer"}


@pytest.mark.parametrize("code", [0, 3])
async def test_the_crontabs_of_the_page(stack: Stack, ours: Calls, tmp_path: Path, code: int) -> None:
    backup = program(tmp_path / "backup", f"#!/bin/sh\necho backing up\nexit {code}\n")
    names = {
        "nightly-backup": f"cron-nightly-{code}",
        "hourly-backup": f"cron-hourly-{code}",
        "daily-backup": f"cron-daily-{code}",
        "script-backup": f"cron-script-{code}",
    }
    for name in names.values():
        if "nightly" not in name:
            await ours.post("/api/pulses", {"name": name, "period_seconds": 3600}, 201)
    with_client, with_curl = snippets("cron.md", "crontab")
    there = {"http://localhost:8000": stack.url, "YOUR_KEY": stack.key, "/usr/local/bin/backup": str(backup)}
    with_client = put_in(with_client, there | {"/usr/local/bin/pingpulse": str(CLIENT_SCRIPT)})
    for text in (with_client, with_curl):
        for theirs, mine in (there | names).items():
            text = text.replace(theirs, mine)
        variables, commands = crontab(text)
        for command in commands:
            ended = await run("/bin/sh", "-c", command, cwd=tmp_path, **variables)
            assert ended.error == b""
    (in_script,) = snippets("cron.md", "bash")
    script = program(tmp_path / "script", put_in(in_script, there | {"script-backup": names["script-backup"]}))
    assert (await run(str(script), cwd=tmp_path)).code == code
    told = {name: [ping["event"] for ping in await events(ours, mine)] for name, mine in names.items()}
    assert told == {
        "nightly-backup": ["start", "fail" if code else "success"],
        "hourly-backup": [] if code else ["success"],
        "daily-backup": ["fail" if code else "success"],
        "script-backup": [] if code else ["success"],
    }


@pytest.mark.parametrize("code", [0, 3])
async def test_the_crontab_and_the_script_of_the_reference(
    stack: Stack, ours: Calls, tmp_path: Path, code: int
) -> None:
    pulse = f"monitor-{code}"
    await ours.post("/api/pulses", {"name": pulse, "period_seconds": 3600}, 201)
    job = program(tmp_path / "job", f"#!/bin/sh\nexit {code}\n")
    there = {"https://app.pingpulse.com": stack.url, "MONITOR_ID": pulse, "API_KEY": stack.key}
    text = put_in(
        (EXAMPLES / "crontab").read_text(), there | {"/path/to/backup.sh": str(job), "/path/to/job.sh": str(job)}
    )
    for command in crontab(text)[1]:
        await run("/bin/sh", "-c", command, cwd=tmp_path)
    (tmp_path / "bin").mkdir()
    for tool in ("pg_dump", "aws"):
        program(tmp_path / "bin" / tool, f"#!/bin/sh\nexit {code}\n")
    text = put_in((EXAMPLES / "backup.sh").read_text(), there | {"/backups": str(tmp_path)})
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    assert (await run("bash", "-c", text, cwd=tmp_path, PATH=path)).code == code
    expected = ["fail"] if code else ["success", "success", "success"]
    assert [ping["event"] for ping in await events(ours, pulse)] == expected


async def test_the_hooks_and_pulses_of_the_reference(stack: Stack, ours: Calls, tmp_path: Path) -> None:
    hook = (await ours.post("/api/process-hooks", {"name": "ph123", "expected_seconds": 60}, 201))["id"]
    await ours.post("/api/pulses", {"name": "cron_backup", "slug": "cron_backup", "period_seconds": 3600}, 201)
    there = {"https://pingpulsehq.com": stack.url, "YOUR_KEY": stack.key}
    text = put_in((EXAMPLES / "hooks.sh").read_text(), there).replace("curl ", "curl -fsS ")
    ended = await run("bash", "-ec", text, cwd=tmp_path)
    assert ended.code == 0, ended
    second, first = (await ours.get(f"/api/process-hooks/{hook}/runs"))["runs"]
    assert [first["status"], second["status"]] == ["finished", "finished"]
    assert second["metadata"] == {"job": "nightly_backup", "status": "success", "duration_ms": 45000}
    assert (second["agent"], second["duration_seconds"] is None) == ("ci-server", False)
    assert [ping["payload"] for ping in await events(ours, "cron_backup")] == [
        None,
        {"status": "ok", "rows_processed": 1500},
    ]


async def test_the_page_for_powershell(stack: Stack, ours: Calls, tmp_path: Path) -> None:
    if (pwsh := shutil.which("pwsh")) is None:
        pytest.skip("PowerShell is not installed")
    (text,) = snippets("shell.md", "powershell")
    script = program(tmp_path / "page.ps1", "$ErrorActionPreference = 'Stop'\n" + text)
    variables = {"PINGPULSE_URL": stack.url, "PINGPULSE_API_KEY": stack.key}
    ended = await run(pwsh, "-NoProfile", "-File", str(script), cwd=tmp_path, **variables)
    assert ended.code == 0, ended
    assert [ping["event"] for ping in await events(ours, "from-powershell")] == ["start", "success"]
