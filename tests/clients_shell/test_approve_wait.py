"""`pingpulse approve-wait`: goes by what people decide, and by nothing else."""

import json
import re
import signal
import time
from typing import Any

import psutil
import pytest

from tests.api.calls import Calls
from tests.clients_shell.shells import Script
from tests.support.receivers import Answer, HttpReceiver
from tests.support.waiting import until

ADA = "ada@example.com"


async def asked(ours: Calls, **fields: Any) -> str:
    body = {"context": "Deploy?", "approvers": [ADA], **fields}
    return str((await ours.post("/api/approvals", body, 201))["approval_id"])


async def decide(ours: Calls, approval: str, decision: str, **fields: Any) -> None:
    await ours.post(f"/api/approvals/{approval}/decide", {"decision": decision, "approver": ADA, **fields})


@pytest.mark.parametrize(("decision", "code", "status"), [("approve", 0, "approved"), ("deny", 1, "denied")])
async def test_it_waits_for_the_decision(script: Script, ours: Calls, decision: str, code: int, status: str) -> None:
    # What is asked may look like an answer.
    approval = await asked(ours, payload={"status": "approved", "result": 1}, context='"status":"approved","result":1,')
    process = await script.start("approve-wait", approval, "--print", "all")
    began = time.monotonic()
    await until(lambda: time.monotonic() - began > 0.3)
    assert process.returncode is None
    await decide(ours, approval, decision, notes='"decided_by":"eve@example.com", \\ fine')
    ended = await script.end(process)
    assert time.monotonic() - began < 10
    assert ended.code == code
    assert ended.error.decode() == f"pingpulse: {approval} is {status}, by {ADA}.\n"
    assert json.loads(ended.out)["status"] == status


async def test_what_is_over_already(script: Script, ours: Calls) -> None:
    cancelled = await asked(ours)
    await ours.post(f"/api/approvals/{cancelled}/cancel", {})
    ended = await script.run("approve-wait", cancelled, "--print=status")
    assert (ended.code, ended.out) == (1, b"cancelled\n")
    approved = await asked(ours)
    await decide(ours, approved, "approve")
    assert (await script.run("approve-wait", approved, "--print", "decided_by")).out == f"{ADA}\n".encode()


async def test_a_time_of_its_own_runs_out(script: Script, ours: Calls) -> None:
    approval = await asked(ours)
    began = time.monotonic()
    ended = await script.run("approve-wait", "--timeout", "1", approval)
    assert (ended.code, ended.out) == (3, b"")
    assert ended.error.decode() == f"pingpulse: {approval}: nobody has decided in 1 seconds\n"
    assert 1 <= time.monotonic() - began < 10
    assert (await script.run("approve-wait", "--timeout", "0", approval)).code == 3
    assert (await ours.get(f"/api/approvals/{approval}"))["status"] == "pending"


@pytest.mark.parametrize(("otherwise", "code"), [("deny", 3), ("approve", 0)])
async def test_it_asks_and_waits_no_longer_than_it_was_told(
    script: Script, ours: Calls, otherwise: str, code: int
) -> None:
    who = ("--approver", ADA, "--approver", "bob@example.com", "--quorum", "2")
    what = ("--title", 'Deploy "it"?', "--context", "It is\nbig.")
    ended = await script.run("approve-wait", *what, *who, "--timeout", "1", "--otherwise", otherwise, "--print", "all")
    assert ended.code == code, ended
    said = json.loads(ended.out)
    assert (said["title"], said["context"]) == ('Deploy "it"?', "It is\nbig.")
    assert said["approvers"] == [ADA, "bob@example.com"]
    assert (said["quorum"], said["timeout_action"], said["decided_by"]) == (2, otherwise, "timeout")


async def test_it_asks_and_is_answered(script: Script, ours: Calls) -> None:
    process = await script.start("approve-wait", "--title", "Deploy?", "--approver", ADA, "--print", "approval_id")
    assert process.stderr is not None
    line = (await process.stderr.readline()).decode()
    found = re.fullmatch(r"pingpulse: (apr_\w+) waits for a decision\.\n", line)
    assert found
    await decide(ours, found[1], "approve")
    ended = await script.end(process)
    assert (ended.code, ended.out.decode().strip()) == (0, found[1])
    said = await ours.get(f"/api/approvals/{found[1]}")
    assert (said["context"], said["expires_at"] is None) == ("Deploy?", False)


async def test_what_the_gateway_refuses(script: Script) -> None:
    ended = await script.run("approve-wait", "apr_nosuch")
    assert (ended.code, ended.out) == (2, b"")
    assert ended.error.startswith(b"pingpulse: apr_nosuch: 404: There is no approval apr_nosuch")
    ended = await script.run("approve-wait", "--title", "Deploy?", "--approver", "nobody")
    assert ended.code == 2
    assert b"400: " in ended.error


async def test_a_gateway_that_is_away_for_a_moment(script: Script, receiver: HttpReceiver) -> None:
    pending = b'{"approval_id":"apr_1","status":"pending","result":null,"seconds_remaining":9,"expires_at":null}'
    approved = (b'{"approval_id":"apr_1","status":"approved","result":1,"notes":null,"decided_by":"ada@example.com",'
                b'"expires_at":null}')  # fmt: skip
    receiver.answers = [Answer(503), Answer(body=pending), Answer(drops=True), Answer(body=approved)]
    ended = await script.with_url(receiver.url("")).run("approve-wait", "apr_1")
    assert (ended.code, ended.error) == (0, b"pingpulse: apr_1 is approved, by ada@example.com.\n")
    assert {request.target for request in receiver.received} == {"/api/approvals/apr_1?wait=30"}


@pytest.mark.parametrize(
    "answer",
    [
        Answer(503),
        Answer(body=b"<html>welcome to the hotel</html>"),
        Answer(body=b'{"payload":{"approval_id":"apr_1","status":"approved","result":1,"x":1}}'),
        Answer(body=b'{"approval_id":"apr_1","status":"denied","result":1,"notes":null}'),
    ],
)
async def test_nothing_else_is_an_approval(script: Script, receiver: HttpReceiver, answer: Answer) -> None:
    receiver.answers = [answer]
    there = script.with_url(receiver.url("")).having(PINGPULSE_RETRY_SECONDS="1")
    assert (await there.run("approve-wait", "apr_1")).code == 4


async def test_interrupted_it_leaves_nothing_behind(script: Script, ours: Calls) -> None:
    process = await script.start("approve-wait", await asked(ours))
    await until(lambda: any("curl" in child.name() for child in psutil.Process(process.pid).children(recursive=True)))
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert (await script.end(process)).code == 143
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "which approval?"),
        (["--timeout", "5m", "apr_1"], "--timeout takes seconds"),
        (["--otherwise", "maybe", "--title", "x"], "--otherwise takes approve or deny"),
        (["apr_1", "--title", "x"], "apr_1 was asked for already"),
        (["apr_1", "apr_2"], "one approval at a time"),
        (["--approver", ADA], "which approval?"),
    ],
)
async def test_wrong_usage(one_script: Script, arguments: list[str], message: str) -> None:
    ended = await one_script.run("approve-wait", *arguments)
    assert (ended.code, ended.out) == (2, b"")
    assert ended.error.decode().startswith(f"pingpulse: {message}")
