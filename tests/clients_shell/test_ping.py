"""`pingpulse ping`: one ping, of any kind."""

import json
import socket
from urllib.parse import unquote

import pytest

from tests.api.calls import Calls, new_id
from tests.clients_shell.shells import Script
from tests.clients_shell.test_exec import events, new_pulse
from tests.support.receivers import Answer, HttpReceiver


async def test_pings_of_a_pulse(script: Script, ours: Calls) -> None:
    pulse = new_pulse()
    assert await script.good("ping", pulse, "--create", "--period", "60", "--grace", "5") == ""
    assert await script.good("ping", "--pulse", pulse, "--start", "--run", "a b") == ""
    assert await script.good("ping", pulse, "--run=a b", "--status", "0", "--message", 'all "good"\\\n✓') == ""
    assert await script.good("ping", pulse, "--status", "failed", "--message", "disk full") == ""
    assert await script.good("ping", pulse, "--fail", "--message", "disk fuller") == ""
    assert await script.good("ping", pulse, "--log", "--field", "rows=-1.5", "--field", "up=true", "--field",
                             "id=007", "--field", "empty=", "--print", "event") == "log"  # fmt: skip
    pings = await events(ours, pulse)
    assert [ping["event"] for ping in pings] == ["success", "start", "success", "fail", "fail", "log"]
    assert [ping["rid"] for ping in pings[1:3]] == ["a b", "a b"]
    assert pings[2]["payload"] == {"message": 'all "good"\\\n✓'}
    assert [ping["error"] for ping in pings[3:5]] == ["disk full", "disk fuller"]
    assert pings[5]["payload"] == {"rows": -1.5, "up": True, "id": "007", "empty": ""}


async def test_pings_of_a_process_hook(script: Script, ours: Calls) -> None:
    hook = (await ours.post("/api/process-hooks", {"name": "ETL", "expected_seconds": 60}, 201))["id"]
    first = await script.good("ping", "--process", hook, "--start", "--print", "run_id")
    second = await script.good("ping", "--process", hook, "--start", "--print", "run_id")
    assert first != second
    await script.good("ping", "--process", hook, "--finish", "--run", first)
    answer = await script.good("ping", "--process", hook, "--fail", "--message", "disk full", "--print", "all")
    assert json.loads(answer)["run_status"] == "failed"
    failed, finished = (await ours.get(f"/api/process-hooks/{hook}/runs"))["runs"]
    assert (finished["run_id"], finished["status"]) == (first, "finished")
    assert (failed["run_id"], failed["status"], failed["error"]) == (second, "failed", "disk full")


async def test_pings_of_stages(script: Script, ours: Calls) -> None:
    workflow = new_id()
    target = ("--workflow", workflow, "--agent", "a b&c")
    instance = await script.good("ping", *target, "--stage", "1", "--start", "--print", "instance_id")
    assert instance.startswith("d")
    other = await script.good("ping", *target, "--stage", "1", "--start", "--print", "instance_id")
    assert other != instance
    body = {"usage": {"input_tokens": 3}, "text": "é\n"}
    await script.good("ping", *target, "--stage", "2.1", "--instance", instance, "--json", "-", "--name", "Train",
                      stdin=json.dumps(body, ensure_ascii=False).encode())  # fmt: skip
    (script.home / "body.json").write_text('{"rows": 5}')
    status = await script.good("ping", *target, "--stage", "3", "--instance", instance, "--final", "--json",
                               "body.json", "--print", "workflow_status")  # fmt: skip
    assert status == "completed"
    timeline = (await ours.get(f"/api/instances/{instance}/timeline"))["timeline"]
    assert [step["stage_path"] for step in timeline] == ["1", "2.1", "3"]
    assert [step["payload"] for step in timeline[1:]] == [body, {"rows": 5}]
    assert {step["agent_code"] for step in timeline} == {"a b&c"}
    static = await ours.define("static", 1)
    await script.good("ping", "--workflow", static, "--static", "--stage", "1", "--fail", "--message", "broken")
    assert (await ours.get(f"/shk/{static}/tree"))["1"]["status"] == "failed"


ODD = ["a b", "a/b", "..", "%2e", "ä", 'quote"', "back\\slash", "[1-3]{a,b}", "q?x=1&y#z", "-", "new\nline"]


@pytest.mark.parametrize("pulse", ODD)
async def test_an_odd_id_is_sent_as_it_is(script: Script, receiver: HttpReceiver, pulse: str) -> None:
    receiver.answers = [Answer(body=b"{}")]
    there = script.with_url(receiver.url(""))
    await there.good("ping", "--pulse", pulse, "--run", pulse)
    await there.good("ping", "--workflow", pulse, "--stage", pulse)
    first, second = (request.target for request in receiver.received)
    path, _, query = first.partition("?")
    assert unquote(path) == f"/hbk/{pulse}"
    assert path.count("/") == 2
    assert unquote(query) == f"rid={pulse}"
    assert unquote(second) == f"/dhk/{pulse}?stagePath={pulse}"


async def test_an_id_that_cannot_be_is_refused_by_the_gateway(script: Script) -> None:
    ended = await script.run("ping", "a/b c")
    assert ended.code == 1
    assert ended.error.startswith(b"pingpulse: a/b c: 40")


async def test_refused_unknown_and_unreachable_have_codes_of_their_own(script: Script) -> None:
    ended = await script.run("ping", "no-such-pulse")
    assert (ended.code, ended.out) == (1, b"")
    assert ended.error.startswith(b"pingpulse: no-such-pulse: 404: There is no pulse no-such-pulse. Create it with")
    ended = await script.having(PINGPULSE_API_KEY="ppk_aaaaaaaaaa_wrong").run("ping", "x")
    assert ended.code == 1
    assert ended.error.startswith(b"pingpulse: x: 401: ")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{listener.getsockname()[1]}"
    ended = await script.with_url(nobody).having(PINGPULSE_RETRY_SECONDS="0").run("ping", "x")
    assert (ended.code, ended.out) == (4, b"")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what it is about"),
        (["x", "y"], "one pulse at a time, and y is another"),
        (["x", "--", "y"], "one pulse at a time, and y is another"),
        (["x", "--workflow", "w", "--stage", "1"], "only one of"),
        (["x", "--stage", "1"], "--stage, --instance, --name, --final and --static are for a --workflow"),
        (["x", "--print", "a.*b"], "--print takes the name of a field"),
        (["x", "--json", "-", "--message", "m"], "--json has it all"),
        (["x", "--finish"], "--finish is for a --process"),
        (["x", "--field", "key=v"], "--field key=… cannot be sent"),
        (["--process", "p", "--log"], "--log is for a pulse"),
        (["--workflow", "w", "--stage", "1", "--run", "r"], "--log, --finish and --run are not for a stage"),
    ],
)
async def test_wrong_usage(one_script: Script, arguments: list[str], message: str) -> None:
    ended = await one_script.run("ping", *arguments)
    assert (ended.code, ended.out) == (2, b"")
    assert ended.error.decode().startswith(f"pingpulse: {message}")


async def test_a_file_that_cannot_be_read(one_script: Script) -> None:
    ended = await one_script.run("ping", "x", "--json", "no-such-file")
    assert (ended.code, ended.error) == (2, b"pingpulse: no-such-file cannot be read\n")


@pytest.mark.parametrize("command", [[], ["exec"], ["ping"], ["approve-wait"]])
async def test_help(script: Script, command: list[str]) -> None:
    text = await script.good(*command, "--help")
    assert text.startswith("Usage: pingpulse")


@pytest.mark.parametrize("command", [[], ["pong"]])
async def test_what_is_no_command(script: Script, command: list[str]) -> None:
    ended = await script.run(*command)
    assert (ended.code, ended.out) == (2, b"")
    assert b"Usage: pingpulse exec" in ended.error
