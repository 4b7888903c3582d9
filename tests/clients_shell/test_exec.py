"""`pingpulse exec`: the job is the same with it and without it, and the gateway knows how it went."""

import os
import shlex
from typing import Any

import pytest

from api.client_script import CLIENT_SCRIPT
from tests.api.calls import Calls, new_id
from tests.clients_shell.shells import Script
from tests.support.waiting import until


async def events(ours: Calls, pulse: str) -> list[dict[str, Any]]:
    """The pings of a pulse, the oldest first."""
    return list(reversed((await ours.get(f"/api/pulses/{pulse}/pings"))["pings"]))


def new_pulse() -> str:
    return new_id("job").replace("_", "-").lower()


@pytest.mark.parametrize("code", [0, 3, 255])
async def test_a_run_of_a_pulse(script: Script, ours: Calls, code: int) -> None:
    pulse = new_pulse()
    job = f"echo one; echo two >&2; printf three; exit {code}"
    ended = await script.run("exec", "--pulse", pulse, "--create", "--period=3600", "--", "sh", "-c", job)
    assert (ended.code, ended.out, ended.error) == (code, b"one\nthree", b"two\n")
    start, end = await events(ours, pulse)
    assert [start["event"], end["event"]] == ["start", "fail" if code else "success"]
    assert start["rid"] == end["rid"]
    assert end["rid"]
    assert end["payload"]["exit_code"] == code
    assert 0 <= end["payload"]["duration_ms"] < 20_000
    assert end["payload"]["host"] == os.uname().nodename
    # The two outputs are different pipes here: which of them was first, nobody can say.
    assert sorted(end["payload"]["output"].replace("three", "three\n").split()) == ["one", "three", "two"]
    assert (end["error"] or "").startswith(f"exit code {code}: " if code else "")
    pulse_now = await ours.get(f"/api/pulses/{pulse}")
    assert pulse_now["period_seconds"] == 3600
    assert pulse_now["running"] == []


async def test_a_run_of_a_process_hook(script: Script, ours: Calls) -> None:
    hook = (await ours.post("/api/process-hooks", {"name": "ETL", "expected_seconds": 60}, 201))["id"]
    for code in (0, 4):
        ended = await script.run("exec", "--process", hook, "--agent", "etl-1", "--field", "rows=12", "--",
                                 "sh", "-c", f"exit {code}")  # fmt: skip
        assert (ended.code, ended.error) == (code, b"")
    failed, finished = (await ours.get(f"/api/process-hooks/{hook}/runs"))["runs"]
    assert [finished["status"], failed["status"]] == ["finished", "failed"]
    assert failed["error"] == "exit code 4"
    assert (finished["agent"], finished["metadata"]["rows"], failed["metadata"]["exit_code"]) == ("etl-1", 12, 4)


async def test_a_run_that_may_not_begin_ends_no_other(one_script: Script, ours: Calls) -> None:
    body = {"name": "ETL", "expected_seconds": 60, "overlap": False}
    hook = (await ours.post("/api/process-hooks", body, 201))["id"]
    await ours.get(f"/phk/{hook}/start")
    ended = await one_script.run("exec", "--process", hook, "--", "echo", "done")
    assert (ended.code, ended.out) == (0, b"done\n")
    assert b"the start was refused: 409: Run run_" in ended.error
    assert [run["status"] for run in (await ours.get(f"/api/process-hooks/{hook}/runs"))["runs"]] == ["running"]


async def test_stages_of_a_workflow(script: Script, ours: Calls) -> None:
    workflow = new_id()
    target = ("--workflow", workflow, "--agent", "ci")
    for last, *options in (("1", "--start", "--name", "Build it"), ("2.1",), ("3", "--final")):
        ended = await script.run("exec", *target, "--stage", last, *options, "--", "true")
        assert (ended.code, ended.error) == (0, b"")
    tree = await ours.get(f"/dhk/{workflow}/tree")
    assert tree["1"] == {"status": "healthy", "stage_name": "Build it", "agent_code": "ci"}
    assert set(tree) == {"1", "2.1", "3"}

    async def is_completed() -> bool:
        history = await ours.history(workflow)
        return [run["status"] for run in history["recent_instances"]] == ["completed"]

    await until(is_completed)


async def test_a_stage_that_fails_fails_its_run(script: Script, ours: Calls) -> None:
    workflow = await ours.define("static", 2)
    arguments = ("--workflow", workflow, "--static", "--stage", "1")
    ended = await script.run("exec", *arguments, "--", "sh", "-c", "echo disk full >&2; exit 7")
    assert (ended.code, ended.error) == (7, b"disk full\n")

    async def reason() -> Any:
        recent = (await ours.history(workflow))["recent_instances"]
        return recent[0]["failure_reason"] if recent else None

    assert await until(reason) == "Stage 1 failed: exit code 7: disk full"


async def test_a_strict_workflow_takes_start_and_end_of_a_stage(one_script: Script, ours: Calls) -> None:
    workflow = await ours.define("static", 2, validation_mode="strict")
    for stage in ("1", "2"):
        ended = await one_script.run(
            "exec", "--workflow", workflow, "--static", "--stage", stage, "--agent", "ci", "--", "true"
        )
        assert (ended.code, ended.error) == (0, b"")
    assert {item["status"] for item in (await ours.get(f"/shk/{workflow}/tree")).values()} == {"healthy"}


async def test_input_and_arguments_reach_the_job_unchanged(script: Script, ours: Calls) -> None:
    odd = ["a  b", "*", "$HOME", "--flag", "", "new\nline", "'\"\\", "--"]
    ended = await script.run("exec", "--pulse", new_pulse(), "--create", "--",
                             "sh", "-c", 'cat; printf "[%s]" "$@"', "sh", *odd, stdin=b"\x00in\xff")  # fmt: skip
    assert ended.out == b"\x00in\xff" + "".join(f"[{text}]" for text in odd).encode()
    assert (ended.code, ended.error) == (0, b"")


async def test_a_megabyte_of_any_bytes_passes_through_and_its_end_is_told(script: Script, ours: Calls) -> None:
    pulse = new_pulse()
    data = os.urandom(1_000_000) + "Grüße 🚀\x00\x1b[31m".encode()
    (script.home / "data").write_bytes(data)
    ended = await script.run("exec", "--pulse", pulse, "--create", "--", "cat", "data")
    assert (ended.code, ended.error) == (0, b"")
    assert ended.out == data
    output = (await events(ours, pulse))[-1]["payload"]["output"]
    assert output.endswith("Grüße 🚀\ufffd\x1b[31m")
    kept = data[-10_000:]
    expected = kept.decode(errors="replace").replace("\x00", "\ufffd")
    # How many marks stand for a sequence that is cut short is a matter of taste.
    assert output.replace("\ufffd", "") == expected.replace("\ufffd", "")


async def test_text_is_told_as_it_is_even_if_its_front_is_cut(script: Script, ours: Calls) -> None:
    pulse = new_pulse()
    (script.home / "text").write_text("é" * 20_000 + "\n")
    await script.run("exec", "--pulse", pulse, "--create", "--", "cat", "text")
    assert (await events(ours, pulse))[-1]["payload"]["output"] == "é" * 4_999 + "\n"


async def test_both_outputs_stay_in_order_where_they_go_to_the_same_place(script: Script, ours: Calls) -> None:
    pulse = new_pulse()
    job = "i=0; while [ $i -lt 300 ]; do echo $i; echo $((i + 1)) >&2; i=$((i + 2)); done"
    with (script.home / "log").open("wb") as log:
        ended = await script.run("exec", "--pulse", pulse, "--create", "--", "sh", "-c", job, stdout=log, stderr=log)
    assert ended.code == 0
    expected = "".join(f"{number}\n" for number in range(300))
    assert (script.home / "log").read_text() == expected
    assert (await events(ours, pulse))[-1]["payload"]["output"] == expected


async def test_without_output_none_is_told(script: Script, ours: Calls) -> None:
    pulse = new_pulse()
    ended = await script.run(
        "exec", "--pulse", pulse, "--create", "--no-output", "--", "sh", "-c", "echo secret; exit 1"
    )
    assert (ended.code, ended.out) == (1, b"secret\n")
    payload = (await events(ours, pulse))[-1]["payload"]
    assert "output" not in payload
    assert payload["error"] == "exit code 1"


async def test_what_the_job_leaves_running_is_not_waited_for(script: Script, ours: Calls) -> None:
    pulse = new_pulse()
    job = "(sleep 4; echo late) & echo begun"
    process = await script.start("exec", "--pulse", pulse, "--create", "--", "sh", "-c", job)
    assert process.stdout is not None
    assert await process.wait() == 0
    end = (await events(ours, pulse))[-1]
    assert (end["event"], end["payload"]["output"]) == ("success", "begun\n")
    assert await process.stdout.read() == b"begun\nlate\n"
    assert list(script.temporary.iterdir()) == []


@pytest.mark.parametrize("closed", [0, 1, 2])
async def test_a_job_runs_where_a_stream_is_closed(script: Script, ours: Calls, closed: int) -> None:
    pulse = new_pulse()
    arguments = ("exec", "--pulse", pulse, "--create", "--", "sh", "-c", "echo out; echo err >&2; cat; exit 3")
    ended = await script.run(*arguments, preexec_fn=lambda: os.close(closed))
    assert ended.code == 3
    assert ended.out == (b"out\n" if closed != 1 else b"")
    assert ended.error == (b"err\n" if closed != 2 else b"")
    assert [ping["event"] for ping in await events(ours, pulse)] == ["start", "fail"]


async def test_a_run_is_told_of_although_its_files_are_swept_away(script: Script, ours: Calls) -> None:
    pulse = new_pulse()
    ended = await script.run(
        "exec", "--pulse", pulse, "--create", "--", "sh", "-c", 'echo out; rm -r "$TMPDIR"/*; exit 3'
    )
    assert (ended.code, ended.out) == (3, b"out\n")
    assert [ping["event"] for ping in await events(ours, pulse)] == ["start", "fail"]


@pytest.mark.parametrize(("command", "code"), [("no-such-command", 127), ("./not-executable", 126), ("a=b", 127)])
async def test_what_cannot_be_run_is_told_too(script: Script, ours: Calls, command: str, code: int) -> None:
    pulse = new_pulse()
    (script.home / "not-executable").write_text("echo")
    ended = await script.run("exec", "--pulse", pulse, "--create", "--", command)
    assert ended.code == code
    assert command.encode() in ended.error
    assert (await events(ours, pulse))[-1]["payload"]["exit_code"] == code


async def test_a_reader_that_goes_away_ends_the_job_as_ever(script: Script) -> None:
    inner = shlex.join([*script.shell, str(CLIENT_SCRIPT), "exec", "--pulse", new_pulse(), "--create", "--", "yes"])
    ended = await script.run("exec", "--pulse", new_pulse(), "--create", "--", "sh", "-c", f"{inner} | head -n 1")
    assert (ended.code, ended.out) == (0, b"y\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pulse", "x", "--"], "which command?"),
        (["--", "echo", "ran"], "say what it is about"),
        (["--pulse", "x", "--process", "y", "--", "echo", "ran"], "only one of"),
        (["--workflow", "x", "--", "echo", "ran"], "--workflow needs a --stage"),
        (
            ["--pulse", "x", "--final", "--", "echo", "ran"],
            "--stage, --instance, --name, --final and --static are for a --workflow",
        ),
        (["--puls", "x", "--", "echo", "ran"], "there is no option --puls"),
        (["--pulse"], "--pulse needs a value"),
        (["--pulse", "x", "--create=yes", "echo", "ran"], "--create takes no value"),
        (["--pulse", "x", "--field", "rows", "--", "echo", "ran"], "--field takes NAME=VALUE"),
        (["--pulse", "x", "--status", "ok", "--", "echo", "ran"], "there is no option --status"),
        (["--pulse", "x", "--field", "key=v", "--", "echo", "ran"], "--field key=… cannot be sent"),
    ],
)
async def test_wrong_usage_runs_nothing(script: Script, arguments: list[str], message: str) -> None:
    ended = await script.run("exec", *arguments)
    assert (ended.code, ended.out) == (2, b"")
    assert ended.error.decode().startswith(f"pingpulse: {message}")
    assert ended.error.decode().endswith(" See: pingpulse exec --help\n")
    assert "?." not in ended.error.decode()
