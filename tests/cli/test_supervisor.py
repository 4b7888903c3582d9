"""The supervisor, with real little processes."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from cli.errors import CommandError
from cli.supervisor.child import Child, Service, describe_exit
from cli.supervisor.output import LogFile
from cli.supervisor.supervisor import Backoff, Supervisor
from tests.support.waiting import is_gone, until

QUICK = Backoff(first=0.02, factor=2, longest=0.1)
# Says so in a file when it is up, and ends on SIGTERM with a line in another.
POLITE = """
import pathlib, signal, sys, time
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
def stop(*_):
    with open(folder / "stopped", "a") as file:
        file.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
(folder / name).touch()
while True:
    time.sleep(60)
"""
DEAF = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
(pathlib.Path(sys.argv[2]) / sys.argv[1]).touch()
while True:
    time.sleep(60)
"""


def service(code: str, folder: Path, name: str = "child", **options: Any) -> Service:
    """Ready when it has made a file of its name, unless told otherwise."""

    async def made_its_file(_pid: int) -> bool:
        return (folder / name).exists()

    options = {"ready": made_its_file, "output": LogFile(folder / "logs" / name), **options}
    return Service(name=name, argv=[sys.executable, "-I", "-S", "-c", code, name, str(folder)], **options)


@asynccontextmanager
async def supervisor(**options: Any) -> AsyncIterator[Supervisor]:
    supervised = Supervisor(QUICK, **options)
    try:
        yield supervised
    finally:
        supervised.hurry()
        await supervised.stop()


def answer(value: bool) -> Callable[[int], Awaitable[bool]]:
    async def ready(_pid: int) -> bool:
        return value

    return ready


def test_backoff_doubles_up_to_its_longest_and_forgets_after_a_healthy_while() -> None:
    backoff = Backoff(first=1, factor=2, longest=5, healthy_after=30)
    assert [backoff.next(None, 0), backoff.next(1, 0), backoff.next(2, 0), backoff.next(4, 0)] == [1, 2, 4, 5]
    assert backoff.next(5, 30) == 1


async def test_a_child_that_dies_is_started_again_with_growing_delays_and_a_line_each(tmp_path: Path) -> None:
    # The first one lives until it is seen to be ready.
    code = """
import os, sys, time
open(sys.argv[2] + "/starts", "a").write("x")
give_up_at = time.monotonic() + 20
while not os.path.exists(sys.argv[2] + "/go") and time.monotonic() < give_up_at:
    time.sleep(0.005)
sys.exit(3)
"""
    changes: list[int] = []
    with capture_logs() as lines:
        async with supervisor(on_change=lambda: changes.append(1)) as supervised:
            await supervised.start(service(code, tmp_path, ready=answer(True)))
            (tmp_path / "go").touch()
            await until(lambda: len((tmp_path / "starts").read_bytes() if (tmp_path / "starts").exists() else b"") > 3)
    deaths = [line["event"] for line in lines if line["log_level"] == "warning"]
    assert [death.split(";")[0] for death in deaths[:3]] == ["child exited with code 3"] * 3
    assert [death.split(" in ")[1] for death in deaths[:3]] == ["0.02 s", "0.04 s", "0.08 s"]
    assert len(changes) >= 3


async def test_a_killed_child_is_named_by_its_signal_and_replaced(tmp_path: Path) -> None:
    with capture_logs() as lines:
        async with supervisor() as supervised:
            await supervised.start(service(POLITE, tmp_path))
            first = supervised.pids["child"]
            os.kill(first, signal.SIGKILL)
            await until(lambda: supervised.pids.get("child", first) != first)
    assert "child was killed by SIGKILL; starting it again in 0.02 s" in [line["event"] for line in lines]


async def test_what_cannot_be_started_again_is_tried_until_it_can(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.symlink_to(sys.executable)
    tries: list[bool] = []

    async def prepare() -> None:
        tries.append(program.exists())
        if not program.exists():
            raise OSError("no such program")

    with capture_logs() as lines:
        async with supervisor() as supervised:
            await supervised.start(service(POLITE, tmp_path, prepare=prepare))
            first = supervised.pids["child"]
            program.unlink()
            os.kill(first, signal.SIGKILL)
            await until(lambda: tries.count(False) >= 2)
            program.symlink_to(sys.executable)
            await until(lambda: supervised.pids.get("child", first) != first)
    assert any("cannot be started again: no such program" in line["event"] for line in lines)


async def test_children_stop_in_reverse_order_of_their_start(tmp_path: Path) -> None:
    async with supervisor() as supervised:
        for name in ("first", "second", "third"):
            await supervised.start(service(POLITE, tmp_path, name))
        pids = supervised.pids
        assert list(pids) == ["first", "second", "third"]
        await supervised.stop()
    assert (tmp_path / "stopped").read_text().split() == ["third", "second", "first"]
    assert all(is_gone(pid) for pid in pids.values())


async def test_a_child_that_does_not_listen_is_killed_when_its_grace_is_over(tmp_path: Path) -> None:
    async with supervisor() as supervised:
        await supervised.start(service(DEAF, tmp_path, grace_seconds=0.1))
        pid = supervised.pids["child"]
        await supervised.stop()
        assert is_gone(pid)


async def test_hurry_cuts_the_grace_short(tmp_path: Path) -> None:
    async with supervisor() as supervised:
        await supervised.start(service(DEAF, tmp_path, grace_seconds=60))
        begun = time.monotonic()
        stopping = asyncio.create_task(supervised.stop())
        await asyncio.sleep(0)
        supervised.hurry()
        await stopping
    assert time.monotonic() - begun < 5


async def test_a_stop_during_the_backoff_starts_nothing_more(tmp_path: Path) -> None:
    slow = Supervisor(Backoff(first=3600))
    await slow.start(service("", tmp_path, ready=answer(True)))
    await until(lambda: not slow.pids)
    await slow.stop()
    assert slow.pids == {}


async def test_what_a_dead_child_leaves_in_its_group_goes_too(tmp_path: Path) -> None:
    code = """
        import os, sys, time
        if os.fork() == 0:
            open(sys.argv[2] + "/grandchild.new", "w").write(str(os.getpid()))
            os.rename(sys.argv[2] + "/grandchild.new", sys.argv[2] + "/grandchild")
            time.sleep(3600)
        open(sys.argv[2] + "/child", "w").close()
        time.sleep(3600)
    """
    async with supervisor() as supervised:
        await supervised.start(service(textwrap.dedent(code), tmp_path))
        await until((tmp_path / "grandchild").exists)
        grandchild = int((tmp_path / "grandchild").read_text())
        os.kill(supervised.pids["child"], signal.SIGKILL)
        await until(lambda: is_gone(grandchild))


async def test_a_terminals_ctrl_c_does_not_reach_children(tmp_path: Path) -> None:
    async with supervisor() as supervised:
        await supervised.start(service(POLITE, tmp_path))
        pid = supervised.pids["child"]
        assert os.getpgid(pid) == pid != os.getpgid(0)


async def test_a_first_start_that_fails_says_the_last_line(tmp_path: Path) -> None:
    code = "import sys; print('reading'); print('no such table'); print(); sys.exit(7)"
    async with supervisor() as supervised:
        with pytest.raises(CommandError, match=r"child exited with code 7 while starting \(no such table\); see x"):
            await supervised.start(service(code, tmp_path, ready=answer(False), log_hint="see x"))


async def test_a_first_start_that_takes_too_long_says_so(tmp_path: Path) -> None:
    async with supervisor() as supervised:
        with pytest.raises(CommandError, match=r"child runs but is not ready after 0.05 s"):
            await supervised.start(service(POLITE, tmp_path, ready=answer(False)), ready_seconds=0.05)


async def test_a_program_that_is_not_there_says_so(tmp_path: Path) -> None:
    output = LogFile(tmp_path / "log")
    missing = Service(name="child", argv=[str(tmp_path / "none")], ready=answer(False), output=output)
    async with supervisor() as supervised:
        with pytest.raises(CommandError, match=r"child .*while starting \(.*No such file"):
            await supervised.start(missing)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
async def test_kill_9_of_the_supervisor_leaves_nothing_behind(tmp_path: Path) -> None:
    code = f"""
        import asyncio, sys
        from pathlib import Path
        from tests.cli.test_supervisor import DEAF, Supervisor, service

        async def main():
            supervised = Supervisor()
            await supervised.start(service(DEAF, Path({str(tmp_path)!r})))
            print(supervised.pids["child"], flush=True)
            await asyncio.Event().wait()

        asyncio.run(main())
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(await asyncio.to_thread(parent.stdout.readline))
        assert not is_gone(child)
        parent.kill()
    await until(lambda: is_gone(child))


async def test_output_survives_long_lines_and_odd_bytes(tmp_path: Path) -> None:
    code = "import os; os.write(1, b'x' * 200_000 + b'\\n\\xff100%s\\nlast')"
    child = await Child.spawn(service(code, tmp_path))
    assert await child.wait() == 0
    child.service.output.close()
    lines = (tmp_path / "logs" / "child").read_text().splitlines()
    assert sum(line.count("x") for line in lines) == 200_000
    assert lines[-2:] == ["�100%s", "last"]
    assert list(child.tail)[-1] == "last"


def test_log_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.supervisor.output.LOG_FILE_BYTES", 1000)
    log = LogFile(tmp_path / "logs" / "child.log")
    for _ in range(100):
        log.write("y" * 99)
    log.close()
    files = list((tmp_path / "logs").iterdir())
    assert len(files) == 3
    assert all(file.stat().st_size <= 1000 for file in files)


@pytest.mark.parametrize(
    ("code", "words"), [(1, "exited with code 1"), (-11, "was killed by SIGSEGV"), (-99, "was killed by signal 99")]
)
def test_exit_codes_in_words(code: int, words: str) -> None:
    assert describe_exit(code) == words
