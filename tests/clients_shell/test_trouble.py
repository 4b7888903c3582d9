"""Signals, and gateways that are away, silent or wrong: the job does not notice."""

import asyncio
import fcntl
import os
import pty
import re
import resource
import shutil
import signal
import socket
import termios
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.api.calls import Calls
from tests.clients_shell.shells import SECONDS, Script, heed_signals
from tests.clients_shell.test_exec import events, new_pulse
from tests.support.receivers import Answer, HttpReceiver
from tests.support.waiting import until

WAITS = """
trap 'echo got {name}; exit 5' {name}
: >ready
while :; do sleep 0.05; done
"""
NAMES = ["TERM", "INT", "HUP", "USR1", "USR2", "QUIT"]


@pytest.fixture
def nobody() -> str:
    """An address at which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


async def started(script: Script, *job: str, pulse: str = "x") -> Process:
    """A run whose job has made the file `ready`."""
    process = await script.start("exec", "--pulse", pulse, "--create", "--", *job)
    await until(lambda: (script.home / "ready").exists())
    return process


def interrupts_as_such(script: Script) -> bool:
    """Whether INT and QUIT can reach a job as what they are: it takes bash, or an `env` that can reset signals."""
    return script.shell[0] != "busybox"


@pytest.mark.parametrize("name", NAMES)
async def test_a_signal_reaches_the_job_which_ends_as_it_likes(script: Script, ours: Calls, name: str) -> None:
    arrives = "TERM" if name in ("INT", "QUIT") and not interrupts_as_such(script) else name
    pulse = new_pulse()
    process = await started(script, "sh", "-c", WAITS.format(name=arrives), pulse=pulse)
    process.send_signal(signal.Signals[f"SIG{name}"])
    ended = await script.end(process)
    assert (ended.code, ended.out, ended.error) == (5, f"got {arrives}\n".encode(), b"")
    assert (await events(ours, pulse))[-1]["payload"]["exit_code"] == 5


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "KILL"])
async def test_a_job_that_a_signal_ends(script: Script, ours: Calls, name: str) -> None:
    pulse = new_pulse()
    process = await started(script, "sh", "-c", ": >ready; exec sleep 30", pulse=pulse)
    number = signal.Signals[f"SIG{name}"]
    if name == "KILL":
        # It is ready a moment before it is what it is to be.
        (await until(lambda: [one for one in psutil.Process(process.pid).children() if one.name() == "sleep"]))[
            0
        ].kill()
    else:
        process.send_signal(number)
    ended = await script.end(process)
    if name == "INT" and not interrupts_as_such(script):
        number, name = signal.SIGTERM, "TERM"
    assert (ended.code, ended.out, ended.error) == (128 + number, b"", b"")
    end = (await events(ours, pulse))[-1]
    assert (end["event"], end["error"]) == ("fail", f"exit code {128 + number} ({name})")


async def test_a_job_that_goes_on_after_a_signal_is_waited_for(script: Script) -> None:
    job = "trap 'echo again' TERM; : >ready; while [ ! -e go ]; do sleep 0.05; done; exit 127"
    process = await started(script, "sh", "-c", job)
    assert process.stdout is not None
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.stdout.readline(), SECONDS) == b"again\n"
    (script.home / "go").touch()
    assert (await script.end(process)).code == 127


def take_terminal() -> None:
    heed_signals()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


async def test_an_interrupt_at_a_terminal_reaches_the_job_once(script: Script) -> None:
    """The terminal sends it to the job too, and to many programs a second one means to give up cleaning up."""
    job = "trap 'echo got it' INT; : >ready; while [ ! -e go ]; do sleep 0.05; done; exit 0"
    main, terminal = pty.openpty()
    try:
        process = await script.start(
            "exec",
            "--pulse",
            "x",
            "--",
            *("sh", "-c", job),
            stdin=terminal,
            start_new_session=True,
            preexec_fn=take_terminal,
        )
        await until(lambda: (script.home / "ready").exists())
        os.write(main, b"\x03")
        assert process.stdout is not None
        if interrupts_as_such(script):
            assert await asyncio.wait_for(process.stdout.readline(), SECONDS) == b"got it\n"
            (script.home / "go").touch()
        ended = await script.end(process)
    finally:
        os.close(main)
        os.close(terminal)
    assert ended.out == b""
    assert ended.code == (0 if interrupts_as_such(script) else 143)


async def test_a_job_that_is_to_ignore_interrupts_does(script: Script) -> None:
    """As one in the background of a script."""
    process = await script.start(
        "exec",
        "--pulse",
        "x",
        "--",
        *("sh", "-c", ": >ready; while [ ! -e go ]; do sleep 0.05; done; exit 4"),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    await until(lambda: (script.home / "ready").exists())
    process.send_signal(signal.SIGINT)
    next(child for child in psutil.Process(process.pid).children() if child.name() == "sh").send_signal(signal.SIGINT)
    (script.home / "go").touch()
    assert (await script.end(process)).code == 4


async def test_a_signal_to_the_whole_group_costs_no_output(script: Script, ours: Calls) -> None:
    pulse = new_pulse()
    job = "trap 'sleep 0.2; echo cleaned up; exit 9' TERM; : >ready; while :; do sleep 0.05; done"
    process = await script.start("exec", "--pulse", pulse, "--create", "--", "sh", "-c", job, start_new_session=True)
    await until(lambda: (script.home / "ready").exists())
    for child in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        # Those that only wait a moment may be gone by now.
        with suppress(psutil.NoSuchProcess):
            if child.name() != "sleep":
                child.send_signal(signal.SIGTERM)
    ended = await script.end(process)
    assert (ended.code, ended.out) == (9, b"cleaned up\n")
    assert (await events(ours, pulse))[-1]["payload"]["output"] == "cleaned up\n"


async def test_the_job_runs_while_the_gateway_is_away(script: Script, nobody: str) -> None:
    began = time.monotonic()
    away = script.with_url(nobody).having(PINGPULSE_RETRY_SECONDS="1")
    ended = await away.run("exec", "--pulse", "x", "--", "sh", "-c", "echo out; exit 3")
    assert (ended.code, ended.out) == (3, b"out\n")
    assert re.fullmatch(rb"pingpulse: x: how it went could not be told: curl: \(7\) .*\n", ended.error)
    assert time.monotonic() - began < 10


async def test_the_job_does_not_wait_for_a_gateway_that_hangs(script: Script, receiver: HttpReceiver) -> None:
    receiver.answers = [Answer(hangs=True)]
    hanging = script.with_url(receiver.url("")).having(PINGPULSE_RETRY_SECONDS="1")
    began = time.monotonic()
    process = await hanging.start("exec", "--pulse", "x", "--", "sh", "-c", "echo out; exit 3")
    assert process.stdout is not None
    assert await process.stdout.readline() == b"out\n"
    assert time.monotonic() - began < 2
    ended = await hanging.end(process)
    assert ended.code == 3
    assert b"how it went could not be told: curl: (28) " in ended.error
    assert time.monotonic() - began < 25


async def test_an_end_is_told_again_until_it_is_taken_and_is_the_same_ping(
    script: Script, receiver: HttpReceiver
) -> None:
    receiver.answers = [Answer(), Answer(503), Answer(drops=True), Answer()]
    ended = await script.with_url(receiver.url("")).run("exec", "--pulse", "x", "--", "true")
    assert (ended.code, ended.error) == (0, b"")
    start, *ends = receiver.received
    assert start.target.startswith("/hbk/x/start?rid=")
    assert len(ends) == 3
    assert len({(end.target, end.body, end.headers["idempotency-key"]) for end in ends}) == 1
    assert start.headers["idempotency-key"] != ends[0].headers["idempotency-key"]


async def test_a_gateway_that_comes_back_is_told_of_the_whole_run_of_a_process(
    one_script: Script, receiver: HttpReceiver
) -> None:
    good = Answer(body=b'{"status":"success","process_hook_id":"p","run_id":"run_1","run_status":"running"}')
    receiver.answers = [Answer(503), good]
    await one_script.with_url(receiver.url("")).run("exec", "--process", "p", "--", "true")
    assert [request.target for request in receiver.received] == [
        "/phk/p/start?",
        "/phk/p/start?",
        "/phk/p/finish?run_id=run_1&status=0",
    ]
    assert len({request.headers["idempotency-key"] for request in receiver.received}) == 2


async def test_what_is_refused_is_said_and_not_tried_again(script: Script, receiver: HttpReceiver) -> None:
    receiver.answers = [Answer(404, body=b'{"code": "not_found", "detail": "There is no \\"pulse\\" x."}')]
    ended = await script.with_url(receiver.url("")).run("exec", "--pulse", "x", "--", "sh", "-c", "exit 3")
    assert ended.code == 3
    assert ended.error.decode().splitlines() == [
        'pingpulse: x: the start was refused: 404: There is no "pulse" x.',
        'pingpulse: x: how it went could not be told: 404: There is no "pulse" x.',
    ]
    assert len(receiver.received) == 2


@pytest.mark.parametrize("field", ["usage=87%", "cost_usd=much", "tool_calls=3"])
async def test_an_end_that_is_refused_for_its_fields_is_told_without_them(
    script: Script, ours: Calls, field: str
) -> None:
    pulse = new_pulse()
    ended = await script.run(
        "exec",
        "--pulse",
        pulse,
        "--create",
        "--field",
        field,
        "--field",
        "rows=3",
        "--",
        "sh",
        "-c",
        "echo out; exit 3",
    )
    assert (ended.code, ended.out) == (3, b"out\n")
    name = field.partition("=")[0]
    assert ended.error.decode().startswith(f"pingpulse: {pulse}: left out, because it was refused: the fields: 400: ")
    assert name in ended.error.decode()
    assert ended.error.count(b"\n") == 1
    start, end = await events(ours, pulse)
    assert (start["event"], end["event"], end["error"]) == ("start", "fail", "exit code 3: out")
    assert end["payload"]["output"] == "out\n"
    assert "rows" not in end["payload"]


async def test_an_end_that_is_too_large_is_told_without_output_and_fields(
    one_script: Script, receiver: HttpReceiver
) -> None:
    receiver.answers = [Answer(), Answer(413, body=b""), Answer()]
    ended = await one_script.with_url(receiver.url("")).run(
        "exec", "--pulse", "x", "--field", "a=b", "--", "echo", "out"
    )
    assert ended.error == b"pingpulse: x: left out, because it was refused: the fields and the output: 413\n"
    _, first, second = receiver.received
    assert (first.json["output"], first.json["a"]) == ("out\n", "b")
    assert set(second.json) == {"exit_code", "duration_ms", "host"}
    assert first.target == second.target
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]


async def test_an_end_that_is_refused_for_its_stage_is_not_told_again(
    one_script: Script, receiver: HttpReceiver
) -> None:
    receiver.answers = [Answer(), Answer(400, body=b'{"code":"stage_missed","detail":"Not yet."}')]
    ended = await one_script.with_url(receiver.url("")).run(
        "exec", "--pulse", "x", "--field", "a=b", "--", "echo", "out"
    )
    assert b"could not be told: 400: Not yet." in ended.error
    assert len(receiver.received) == 2


async def test_a_redirect_is_not_followed_with_the_key(script: Script, receiver: HttpReceiver) -> None:
    receiver.answers = [Answer(301, {"Location": receiver.url("/elsewhere")})]
    ended = await script.with_url(receiver.url("")).run("ping", "x")
    assert ended.code == 1
    assert b"301: the address leads elsewhere; is PINGPULSE_URL right?" in ended.error
    assert len(receiver.received) == 1


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PINGPULSE_URL", "", "PINGPULSE_URL is not set"),
        ("PINGPULSE_API_KEY", "", "PINGPULSE_API_KEY is not set"),
        ("PINGPULSE_URL", "gateway.example", "PINGPULSE_URL is no address"),
        ("PINGPULSE_URL", 'http://x/"\noutput = "stolen', "PINGPULSE_URL is no address"),
        ("PINGPULSE_API_KEY", "two\nlines", "PINGPULSE_API_KEY has characters that no key has"),
        ("PINGPULSE_API_KEY", 'a"\\b', "PINGPULSE_API_KEY has characters that no key has"),
    ],
)
async def test_without_a_good_address_and_key_the_job_runs_and_all_else_says_so(
    script: Script, name: str, value: str, message: str
) -> None:
    wrong = script.having(**{name: value})
    ended = await wrong.run("exec", "--pulse", "x", "--", "sh", "-c", "echo out; exit 3")
    assert (ended.code, ended.out) == (3, b"out\n")
    assert ended.error.decode().startswith(f"pingpulse: {message}")
    for arguments in (["ping", "x"], ["approve-wait", "apr_1"]):
        ended = await wrong.run(*arguments)
        assert (ended.code, ended.out) == (2, b"")
        assert ended.error.decode().startswith(f"pingpulse: {message}")
    assert not (script.home / "stolen").exists()


async def test_without_a_place_for_files_the_job_runs_and_its_end_is_told(script: Script, ours: Calls) -> None:
    pulse = new_pulse()
    ended = await script.having(TMPDIR="/no/such/place").run(
        "exec", "--pulse", pulse, "--create", "--", "sh", "-c", "echo out; exit 3"
    )
    assert (ended.code, ended.out) == (3, b"out\n")
    assert b"the output is not sent" in ended.error
    assert [ping["event"] for ping in await events(ours, pulse)] == ["start", "fail"]


def no_room_beyond(size: int) -> Callable[[], None]:
    """For a process whose files can have so many bytes: what a full disk does, too, it fails to write more."""

    def limit() -> None:
        heed_signals()
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@pytest.mark.parametrize(("size", "is_body_kept"), [(6000, True), (2000, True), (20, False), (0, False)])
async def test_where_a_disk_is_full_the_end_is_told_with_what_there_is_room_for(
    script: Script, ours: Calls, size: int, is_body_kept: bool
) -> None:
    pulse = new_pulse()
    job = "yes out | head -c 9000; exit 3"
    ended = await script.run(
        "exec",
        "--pulse",
        pulse,
        "--create",
        "--field",
        "rows=3",
        "--",
        "sh",
        "-c",
        job,
        preexec_fn=no_room_beyond(size),
    )
    assert (ended.code, len(ended.out)) == (3, 9000)
    assert b"the output is not sent." in ended.error
    assert (b"the fields are not sent." in ended.error) is not is_body_kept
    assert all(line.startswith(f"pingpulse: {pulse}: ") for line in ended.error.decode().splitlines())
    start, end = await events(ours, pulse)
    assert (start["event"], end["event"]) == ("start", "fail")
    if is_body_kept:
        assert (end["payload"]["exit_code"], end["payload"]["rows"], end["error"]) == (3, 3, "exit code 3")
        assert "output" not in end["payload"]


async def test_where_a_disk_is_full_a_run_of_a_process_ends_itself(script: Script, ours: Calls) -> None:
    hook = (await ours.post("/api/process-hooks", {"name": "ETL", "expected_seconds": 60}, 201))["id"]
    ended = await script.run("exec", "--process", hook, "--", "true", preexec_fn=no_room_beyond(20))
    assert (ended.code, ended.error) == (0, b"")
    assert [run["status"] for run in (await ours.get(f"/api/process-hooks/{hook}/runs"))["runs"]] == ["finished"]


async def test_a_ping_that_there_is_no_room_for_says_so(script: Script, receiver: HttpReceiver) -> None:
    there = script.with_url(receiver.url(""))
    (script.home / "body.json").write_text('{"text": "' + "x" * 5000 + '"}')
    full = no_room_beyond(100)
    for arguments in (["--field", "text=" + "x" * 200], ["--json", "body.json"], ["--json", "-"]):
        ended = await there.run("ping", "x", *arguments, stdin=b'{"a": "' + b"x" * 5000 + b'"}', preexec_fn=full)
        assert (ended.code, ended.out) == (4, b"")
        assert re.fullmatch(rb"pingpulse: what is to be sent could not be written below .*\n", ended.error)
    assert receiver.received == []
    assert await there.good("ping", "x", preexec_fn=no_room_beyond(0)) == ""


async def test_without_curl_the_job_runs(script: Script, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in {script.shell[0], "sh"}:
        (tools / name).symlink_to(shutil.which(name) or "")
    ended = await script.having(PATH=str(tools)).run("exec", "--pulse", "x", "--", "sh", "-c", "echo out; exit 3")
    assert (ended.code, ended.out) == (3, b"out\n")
    assert b"curl is not installed. The command runs, and nobody is told of it." in ended.error


async def test_the_key_is_in_no_list_of_processes(script: Script, receiver: HttpReceiver) -> None:
    receiver.answers = [Answer(hangs=True)]
    hanging = script.with_url(receiver.url("")).having(PINGPULSE_RETRY_SECONDS="0")
    process = await hanging.start("exec", "--pulse", "x", "--", "sleep", "0.3", stdin=DEVNULL)
    seen: list[str] = []
    while process.returncode is None:
        seen += command_lines()
        await asyncio.sleep(0.01)
    assert len(receiver.received) >= 2
    assert {request.headers["x-api-key"] for request in receiver.received} == {script.key}
    assert any("curl" in line and "--config" in line for line in seen)
    assert not any(script.key.rsplit("_")[-1] in line for line in seen)
    await hanging.end(process)


def command_lines() -> list[str]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(path.read_bytes().decode(errors="replace"))
    return lines
