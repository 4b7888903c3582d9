"""How the script gets to where it is used: from the gateway, with the package, and by the command of the package."""

import shutil
import signal
import sys
from pathlib import Path

import httpx
import pytest

from api.client_script import CLIENT_SCRIPT
from tests.api.calls import Calls
from tests.clients_shell.programs import run
from tests.clients_shell.test_exec import events, new_pulse
from tests.support.stack import Stack


async def test_the_gateway_serves_it_to_everybody(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.url) as client:
        response = await client.get("/cli")
        assert (response.status_code, response.content) == (200, CLIENT_SCRIPT.read_bytes())
        assert response.headers["content-type"] == "text/x-shellscript; charset=utf-8"
        assert response.headers["cache-control"] == "public, max-age=3600"
        again = await client.get("/cli", headers={"If-None-Match": response.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        head = await client.head("/cli")
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(response.content)))


def test_it_is_one_file_that_can_be_run() -> None:
    assert CLIENT_SCRIPT.read_bytes().startswith(b"#!/bin/sh\n")
    assert CLIENT_SCRIPT.stat().st_mode & 0o111
    root = CLIENT_SCRIPT.parents[1]
    copies = [path for path in root.glob("clients/**/*") if path.is_file() and b"KEPT_BYTES=" in path.read_bytes()]
    assert copies == []


async def test_shellcheck_finds_nothing() -> None:
    if (shellcheck := shutil.which("shellcheck")) is None:
        pytest.skip("shellcheck is not installed")
    root = CLIENT_SCRIPT.parents[1]
    for script in (CLIENT_SCRIPT, root / "clients" / "github-action" / "run.sh"):
        ended = await run(shellcheck, str(script), cwd=root)
        assert (ended.code, ended.out) == (0, b"")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "cli", *arguments]


async def test_the_command_of_the_package_hands_over(stack: Stack, ours: Calls, tmp_path: Path) -> None:
    pulse = new_pulse()
    there = {"PINGPULSE_URL": stack.url, "PINGPULSE_API_KEY": stack.key}
    job = ("sh", "-c", 'echo "$@"; exit 3', "sh", "--help", "--", "a  b")
    ended = await run(*command("exec", f"--pulse={pulse}", "--create", "--", *job), cwd=tmp_path, **there)
    assert (ended.code, ended.out, ended.error) == (3, b"--help -- a  b\n", b"")
    ended = await run(*command("ping", pulse, "--message=back", "--print", "event"), cwd=tmp_path, **there)
    assert (ended.code, ended.out, ended.error) == (0, b"success\n", b"")
    ended = await run(*command("approve-wait", "apr_nosuch"), cwd=tmp_path, **there)
    assert (ended.code, ended.out) == (2, b"")
    assert [ping["event"] for ping in await events(ours, pulse)] == ["start", "fail", "success"]


@pytest.mark.parametrize("name", ["exec", "ping", "approve-wait"])
async def test_its_help_is_the_scripts(tmp_path: Path, name: str) -> None:
    ended = await run(*command(name, "--help"), cwd=tmp_path)
    assert (ended.code, ended.error) == (0, b"")
    assert ended.out.decode().startswith(f"Usage: pingpulse {name}")


async def test_a_job_inherits_no_signal_that_python_ignores(tmp_path: Path) -> None:
    ended = await run(*command("exec", "--pulse", "x", "--", "grep", "SigIgn", "/proc/self/status"), cwd=tmp_path)
    ignored = int(ended.out.split()[1], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1) | 1 << (signal.SIGINT - 1))
