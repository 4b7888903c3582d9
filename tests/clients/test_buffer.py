"""Pings that wait for PingPulse: outages, a full buffer, the end of the program, and forks."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pingpulse import AsyncPingPulse, PingPulse
from pingpulse._buffer import _buffers
from tests.api.calls import Calls, new_id
from tests.clients.breakable import Breakable, Fault
from tests.support.waiting import until

SOURCE = Path(__file__).parents[2] / "clients/python/src"


async def run_program(text: str, url: str, key: str, *, warnings: str = "error") -> tuple[int, str, float]:
    """Exit code, all that was printed, and how many seconds it took."""
    environment = {**os.environ, "PINGPULSE_URL": url, "PINGPULSE_API_KEY": key, "PYTHONPATH": str(SOURCE)}
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", warnings, "-c", text, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, output.decode(), time.monotonic() - began


async def stages(mine: Calls, workflow_id: str) -> list[str]:
    response = await mine.http.get(f"/dhk/{workflow_id}/tree")
    return list(response.json()) if response.status_code == 200 else []


async def test_a_job_runs_while_the_gateway_is_down_and_is_told_of_afterwards(
    proxy: Breakable, mine: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.break_()
    client, workflow_id = PingPulse(proxy.url, mine.key), new_id()
    began = time.monotonic()
    with caplog.at_level(logging.INFO, "pingpulse"):
        with client.workflow(workflow_id).start() as run:
            for path in ("1", "2", "3"):
                with run.stage(path):
                    pass
        assert time.monotonic() - began < 1
        assert run.instance_id is None
        await until(lambda: "cannot be reached" in caplog.text)
        proxy.mend()
        assert await asyncio.to_thread(client.flush)
    instance = await mine.instance(str(run.instance_id))
    assert instance["status"] == "completed"
    assert list(instance["stage_statuses"]) == ["1", "2", "3", "run"]
    assert [seen.stage for seen in proxy.seen] == ["1", "1", "2", "2", "3", "3", "run"]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert mine.key not in caplog.text
    await asyncio.to_thread(client.close)


async def test_it_comes_back_by_itself_too(proxy: Breakable, mine: Calls) -> None:
    proxy.break_()
    client, workflow_id = AsyncPingPulse(proxy.url, mine.key), new_id()
    client.later.stage(workflow_id, 1, start=True)
    await asyncio.sleep(0.3)
    proxy.mend()

    async def has_come() -> Any:
        return await stages(mine, workflow_id)

    assert await until(has_come) == ["1"]
    await client.close()


async def test_lost_answers_count_once_here_too(proxy: Breakable, mine: Calls) -> None:
    client, workflow_id = PingPulse(proxy.url, mine.key), new_id()
    proxy.faults.extend([Fault(loses=True), Fault(503, {"Retry-After": "1"}), Fault(loses=True)])
    with client.workflow(workflow_id).start(announce=False) as run, run.stage(1):
        pass
    assert await asyncio.to_thread(client.flush)
    timeline = await mine.get(f"/api/instances/{run.instance_id}/timeline")
    assert [step["stage_path"] for step in timeline["timeline"]] == ["1", "run"]
    assert len(proxy.seen) == 5
    assert len({seen.key for seen in proxy.seen}) == 2
    await asyncio.to_thread(client.close)


async def test_the_first_ping_that_gets_through_opens_the_run(
    proxy: Breakable, mine: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    client, workflow_id = PingPulse(proxy.url, mine.key), new_id()
    proxy.faults.append(Fault(400))
    with client.workflow(workflow_id).start(announce=False) as run:
        for path in ("1", "2", "3"):
            with run.stage(path):
                pass
    assert await asyncio.to_thread(client.flush)
    assert await stages(mine, workflow_id) == ["2", "3", "run"]
    assert caplog.text.count("was given up") == 1
    await asyncio.to_thread(client.close)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"buffer_size": 3}, ["1", "8", "9", "10"]),
        ({"buffer_size": 3, "when_full": "drop_newest"}, ["1", "2", "3", "4"]),
        ({"buffer_bytes": 3500}, ["1", "8", "9", "10"]),
    ],
)
async def test_a_full_buffer_leaves_pings_out_and_says_so_once(
    proxy: Breakable, mine: Calls, caplog: pytest.LogCaptureFixture, options: Any, kept: list[str]
) -> None:
    workflow_id = new_id()
    await mine.open(workflow_id)
    proxy.faults.append(Fault(503, {"Retry-After": "2"}))
    client = PingPulse(proxy.url, mine.key, **options)
    with caplog.at_level(logging.WARNING, "pingpulse"):
        client.later.stage(workflow_id, 1)
        await until(lambda: len(proxy.seen) == 1)
        began = time.monotonic()
        for order in range(2, 11):
            client.later.stage(workflow_id, order, payload={"x": "y" * 1000})
        assert time.monotonic() - began < 1
    assert client.dropped == 6
    assert caplog.text.count("The buffer is full") == 1
    assert await asyncio.to_thread(client.flush)
    assert await stages(mine, workflow_id) == kept
    await asyncio.to_thread(client.close)


async def test_what_is_too_old_is_given_up(proxy: Breakable, mine: Calls, caplog: pytest.LogCaptureFixture) -> None:
    proxy.break_()
    client = PingPulse(proxy.url, mine.key, keep_seconds=0.5)
    with caplog.at_level(logging.WARNING, "pingpulse"):
        client.later.ping("nightly")
        assert await asyncio.to_thread(client.flush)
    assert "was given up" in caplog.text
    await asyncio.to_thread(client.close)


async def test_flush_says_whether_all_was_sent(proxy: Breakable, mine: Calls) -> None:
    proxy.break_()
    client = AsyncPingPulse(proxy.url, mine.key, exit_seconds=0)
    assert await client.flush(0)
    client.later.stage(new_id(), 1, start=True)
    assert not await client.flush(0.2)
    proxy.mend()
    assert await client.flush()
    await client.close()


async def test_a_closed_client_may_be_used_again(gateway_url: str, mine: Calls) -> None:
    client, workflow_id = AsyncPingPulse(gateway_url, mine.key), new_id()
    await client.stage(workflow_id, 1, start=True)
    await client.close()
    client.later.stage(workflow_id, 2)
    await client.close()
    await client.stage(workflow_id, 3)
    await client.close()
    assert await stages(mine, workflow_id) == ["1", "2", "3"]


async def test_an_idle_thread_ends_and_another_begins(
    gateway_url: str, mine: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pingpulse._buffer.IDLE_SECONDS", 0.05)
    client, workflow_id = PingPulse(gateway_url, mine.key), new_id()
    for path in ("1", "2"):
        client.later.stage(workflow_id, path, start=path == "1")
        assert await asyncio.to_thread(client.flush)
        await until(lambda: client._buffer._thread is None)
    assert await stages(mine, workflow_id) == ["1", "2"]
    buffer = client._buffer
    assert buffer in _buffers
    await asyncio.to_thread(client.close)


JOB = """
import sys
from pingpulse import PingPulse
pulse = PingPulse(exit_seconds=float(sys.argv[-1]) if len(sys.argv) > 1 else 5)
with pulse.workflow("%s").start() as run:
    for path in ("1", "2", "3"):
        with run.stage(path, payload={"path": path}):
            pass
    %s
"""


@pytest.mark.parametrize(("end", "code"), [("pass", 0), ("sys.exit(7)", 7), ("raise ValueError('boom')", 1)])
async def test_what_is_left_is_sent_when_the_program_ends(gateway_url: str, mine: Calls, end: str, code: int) -> None:
    workflow_id = new_id()
    returned, output, _ = await run_program(JOB % (workflow_id, end), gateway_url, mine.key)
    assert returned == code, output
    assert output == "" if code != 1 else output.endswith("ValueError: boom\n")
    assert await stages(mine, workflow_id) == ["1", "2", "3", "run"]


async def test_the_end_of_the_program_waits_for_a_gateway_that_is_down_but_not_for_long(
    proxy: Breakable, mine: Calls
) -> None:
    proxy.break_()
    program = (JOB % (new_id(), "pass")).replace("else 5", "else 1")
    code, output, seconds = await run_program(program, proxy.url, mine.key)
    assert (code, output) == (0, "")
    assert seconds < 6


async def test_a_gateway_that_hangs_does_not_hold_up_the_end(proxy: Breakable, mine: Calls) -> None:
    proxy.faults.extend([Fault(hangs=True)] * 9)
    program = (JOB % (new_id(), "pass")).replace("else 5", "else 1")
    code, output, seconds = await run_program(program, proxy.url, mine.key)
    assert (code, output) == (0, "")
    assert seconds < 6


async def test_what_is_pinged_while_the_program_ends_is_sent(gateway_url: str, mine: Calls) -> None:
    workflow_id = new_id()
    program = f"""
import atexit
def last(): pulse.later.stage("{workflow_id}", 2)
import pingpulse, pingpulse._buffer as buffer
atexit.unregister(buffer._flush_all)
atexit.register(buffer._flush_all)
atexit.register(last)
pulse = pingpulse.PingPulse()
with pulse:
    pulse.stage("{workflow_id}", 1, start=True)
"""
    assert (await run_program(program, gateway_url, mine.key))[:2] == (0, "")
    assert await stages(mine, workflow_id) == ["1", "2"]


async def test_without_a_thread_the_flush_sends_by_itself(
    proxy: Breakable, mine: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the interpreter is ending: from Python 3.12 on there are no new threads then."""

    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "pingpulse":
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)

    client, workflow_id = PingPulse(proxy.url, mine.key, timeout=0.5), new_id()
    with monkeypatch.context() as patch:
        patch.setattr("threading.Thread.start", refuse)
        client.later.stage(workflow_id, 1, start=True)
        client.later.stage(workflow_id, 2)
        assert client.flush()
        proxy.faults.append(Fault(503))
        client.later.stage(workflow_id, 3)
        assert client.flush()
    assert await stages(mine, workflow_id) == ["1", "2", "3"]
    proxy.break_()
    with monkeypatch.context() as patch:
        patch.setattr("threading.Thread.start", refuse)
        client.later.stage(workflow_id, 4)
        began = time.monotonic()
        assert not client.flush(0.5)
        assert time.monotonic() - began < 3
    client.close(0)


async def test_a_forked_child_sends_its_own_and_the_parent_its_own(gateway_url: str, mine: Calls) -> None:
    workflow_id = new_id()
    program = f"""
import os, sys
from pingpulse import PingPulse
pulse = PingPulse()
pulse.stage("{workflow_id}", 1, start=True)
pulse.later.stage("{workflow_id}", 2)
child = os.fork()
pulse.later.stage("{workflow_id}", 3 if child else 4)
if child:
    assert os.waitpid(child, 0)[1] == 0
    pulse.stage("{workflow_id}", 5)
else:
    pulse.stage("{workflow_id}", 6)
"""
    # Python warns of forks where there are threads, and of sockets that the child leaves to its parent.
    code, output, _ = await run_program(program, gateway_url, mine.key, warnings="ignore")
    assert (code, output) == (0, "")
    assert await stages(mine, workflow_id) == ["1", "2", "3", "4", "5", "6"]
    history = await mine.history(workflow_id)
    timeline = await mine.get(f"/api/instances/{history['running_instance']['id']}/timeline")
    assert timeline["total_steps"] == 6


async def test_a_fork_right_after_the_first_ping_leaves_the_child_whole(gateway_url: str, mine: Calls) -> None:
    """The sender's thread builds its first client then."""
    for delay in (0, 0.002, 0.005, 0.01, 0.02, 0.04):
        workflow_id = new_id()
        program = f"""
import os, time
from pingpulse import PingPulse
pulse = PingPulse()
pulse.later.stage("{workflow_id}", 1, start=True)
until = time.monotonic() + {delay}
while time.monotonic() < until: pass
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
else:
    pulse.ping_log("{workflow_id}".replace("_", "-").lower(), create=True, period_seconds=60)
"""
        code, output, _ = await run_program(program, gateway_url, mine.key, warnings="ignore")
        assert (code, output) == (0, "")
        assert await stages(mine, workflow_id) == ["1"]


@pytest.mark.parametrize(
    ("details", "kept"),
    [
        ({"payload": {"usage": 87}}, {}),
        ({"payload": {"tool_calls": "many", "status": "failed"}}, {"status": "failed"}),
        ({"payload": {"usage": 87}, "cost_usd": 0.5}, {"cost_usd": 0.5}),
        ({"payload": {"text": "\x00"}, "cost_usd": -1, "error": "broken"}, {"error": "broken"}),
    ],
)
async def test_a_ping_that_is_refused_for_its_payload_goes_without_it(
    proxy: Breakable, mine: Calls, caplog: pytest.LogCaptureFixture, details: dict[str, Any], kept: dict[str, Any]
) -> None:
    client, workflow_id = PingPulse(proxy.url, mine.key), new_id()
    client.later.stage(workflow_id, 1, start=True, **details)
    client.later.stage(workflow_id, 2)
    assert await asyncio.to_thread(client.flush)
    assert await stages(mine, workflow_id) == ["1", "2"]
    *refused, taken, _ = proxy.seen
    assert refused
    assert json.loads(taken.body or b"{}") == kept
    keys = [seen.headers["idempotency-key"] for seen in proxy.seen]
    assert len(set(keys)) == len(keys)
    assert caplog.text.count("goes without its payload. 400 invalid_request") == len(refused)
    await asyncio.to_thread(client.close)


async def test_a_stage_that_is_refused_for_itself_is_not_sent_again(proxy: Breakable, mine: Calls) -> None:
    workflow_id = await mine.define("static", 2, validation_mode="strict")
    client = PingPulse(proxy.url, mine.key)
    client.later.stage(workflow_id, 2, kind="static", agent="ci", payload={"rows": 3})
    assert await asyncio.to_thread(client.flush)
    assert len(proxy.seen) == 1
    await asyncio.to_thread(client.close)


@pytest.mark.parametrize("method", ["fork", "spawn"])
async def test_the_children_of_multiprocessing_flush_too(
    gateway_url: str, mine: Calls, method: str, tmp_path: Path
) -> None:
    workflow_id = new_id()
    program = tmp_path / "program.py"
    program.write_text(f"""
import multiprocessing
from pingpulse import PingPulse

pulse = PingPulse()

def work(path):
    pulse.later.stage("{workflow_id}", path)

if __name__ == "__main__":
    pulse.stage("{workflow_id}", 1, start=True)
    context = multiprocessing.get_context("{method}")
    children = [context.Process(target=work, args=(path,)) for path in ("2", "3")]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
""")
    text = f"import runpy; runpy.run_path({str(program)!r}, run_name='__main__')"
    if method == "spawn":
        text = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, {str(program)!r}]))"
    code, output, _ = await run_program(text, gateway_url, mine.key, warnings="ignore")
    assert (code, output) == (0, "")
    assert await stages(mine, workflow_id) == ["1", "2", "3"]


async def test_nothing_is_printed(proxy: Breakable, mine: Calls) -> None:
    proxy.break_()
    program = """
from pingpulse import PingPulse
pulse = PingPulse(exit_seconds=0.3, buffer_size=1)
for _ in range(5):
    with pulse.run("nightly"):
        pass
PingPulse("", "").later.ping("x")
"""
    assert (await run_program(program, proxy.url, mine.key))[:2] == (0, "")
