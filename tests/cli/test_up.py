"""`pingpulse up` from end to end, as a user runs it: a process of its own, in a directory of its own."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import pytest_asyncio
import requests

from cli.data_dir import DataDir, Runtime
from tests.support.waiting import is_gone, until

KEY = r"ppk_[a-z0-9]{10}_[A-Za-z0-9]{32,64}"
ON_FREE_PORTS = ["--port", "0", "--temporal-port", "0", "--temporal-ui-port", "0"]


def pingpulse(home: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Run a command in `home`, with nothing of PingPulse's in the environment but `variables`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PINGPULSE_")}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "cli", *arguments],
        cwd=home,
        env=environment | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(home: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    process = pingpulse(home, *arguments, **variables)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


class Stack:
    """A running `pingpulse up` on the data directory `home/data`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data_dir = DataDir(home / "data")
        self._output = home / "output"
        with self._output.open("w") as output:
            environment = {name: value for name, value in os.environ.items() if not name.startswith("PINGPULSE_")}
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "cli", "up", "--data-dir", "data", *ON_FREE_PORTS],
                cwd=home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def runtime(self) -> Runtime:
        runtime = self.data_dir.runtime()
        assert runtime is not None
        return runtime

    @property
    def curl(self) -> str:
        return next(line.strip() for line in self.output.splitlines() if line.strip().startswith("curl "))

    async def ready(self) -> None:
        await until(lambda: self.process.poll() is not None or "curl " in self.output, timeout=30)
        assert self.process.poll() is None, self.output

    def family(self) -> list[int]:
        """Every process it started, and theirs."""
        return [child.pid for child in psutil.Process(self.process.pid).children(recursive=True)]

    def ping(self, key: str, pipeline: str = "my_pipeline", **query: str) -> requests.Response:
        url = f"{self.runtime.gateway_url}/dhk/{pipeline}"
        return requests.get(url, params={"stagePath": "1", "start": "yes", "key": key, **query}, timeout=10)

    async def ends(self, seconds: float) -> float:
        """How long it took to end."""
        begun = time.monotonic()
        await until(lambda: self.process.poll() is not None, timeout=seconds)
        return time.monotonic() - begun


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Started once for the tests below, which use it in their order; the last ones stop it."""
    home = tmp_path_factory.mktemp("home")
    # A user's own packages of the same names, in the directory where the command runs, must not be taken for ours.
    for name in ("api", "config", "cli"):
        (home / name).mkdir()
        (home / name / "__init__.py").write_text("raise RuntimeError('not ours')")
    stack = Stack(home)
    try:
        await stack.ready()
        yield stack
    finally:
        if stack.process.poll() is None:
            stack.process.kill()
            stack.process.wait()


async def test_it_prints_what_a_newcomer_needs_and_the_curl_line_works_as_pasted(stack: Stack) -> None:
    gateway = re.search(r"Gateway +(http://localhost:\d+)", stack.output)
    assert gateway is not None
    assert f"API docs     {gateway[1]}/docs" in stack.output
    assert re.search(r"Temporal UI  http://localhost:\d+", stack.output)
    assert f"E-mail       {gateway[1]}/dev/mail" in stack.output
    assert re.search(r"Login +admin@example.com\n +Password +\w{20,}\n", stack.output)
    assert re.fullmatch(rf'curl "{gateway[1]}/dhk/my_pipeline\?stagePath=1&start=yes&key={KEY}"', stack.curl)
    assert requests.get(f"{gateway[1]}/docs", timeout=10).status_code == 200
    address = shlex.split(stack.curl)[1]
    assert requests.get(address, timeout=10).status_code == 200
    mail = requests.get(f"{gateway[1]}/dev/mail?key={address.rpartition('=')[2]}", timeout=10)
    assert "No mail yet" in mail.text
    if shutil.which("curl"):
        code = ["--silent", "--output", os.devnull, "--write-out", "%{http_code}"]
        assert subprocess.check_output([*shlex.split(stack.curl), *code], text=True) == "200"


async def test_the_printed_login_works(stack: Stack) -> None:
    login = re.search(r"Login +(\S+)\n +Password +(\S+)", stack.output)
    assert login is not None
    body = {"email": login[1], "password": login[2]}
    answer = requests.post(f"{stack.runtime.gateway_url}/api/login", json=body, timeout=10)
    assert answer.ok, answer.text
    assert "access_token" in answer.cookies


async def test_the_printed_link_logs_in_once_and_more_are_made(stack: Stack) -> None:
    printed = re.search(r"http://localhost:\d+/start/\S+", stack.output)
    assert printed is not None
    code, made, said = run(stack.home, "login-link", "--data-dir", "data")
    assert (code, said) == (0, "Logs in admin@example.com, once, within an hour.\n")
    for link in (printed[0], made.strip()):
        assert "Welcome to PingPulse" in requests.get(link, timeout=10).text
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = requests.post(link, headers=form, timeout=10, allow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/welcome")
        assert "access_token" in answer.cookies
        assert requests.get(link, timeout=10).status_code == 401
    assert printed[0].rpartition("/")[2] not in stack.output.replace(printed[0], "")


async def test_keys_are_made_listed_and_revoked_while_it_runs(stack: Stack) -> None:
    code, key, _ = run(stack.home, "keys", "create", "--data-dir", "data", "--name", "second")
    assert code == 0
    assert re.fullmatch(KEY, key.removesuffix("\n"))
    assert stack.ping(key.strip()).status_code == 200
    key_id = key.split("_")[1]
    code, listed, _ = run(stack.home, "keys", "list", "--data-dir", "data")
    assert code == 0
    assert re.search(rf"^{key_id}  full .* second$", listed, re.MULTILINE)
    assert run(stack.home, "keys", "revoke", key_id, "--data-dir", "data")[0] == 0
    await until(lambda: stack.ping(key.strip()).status_code == 401)
    code, _, error = run(stack.home, "keys", "revoke", "nosuchkey0", "--data-dir", "data")
    assert (code, error) == (1, "pingpulse: There is no API key with this id.\n")


async def test_users_are_made_while_it_runs(stack: Stack) -> None:
    arguments = ["users", "create", "--data-dir", "data", "--email", "ada@example.com"]
    code, password, _ = run(stack.home, *arguments)
    assert (code, len(password.split())) == (0, 1)
    assert stack.runtime.database_url is not None
    with psycopg.connect(stack.runtime.database_url) as database:
        kept = database.execute("SELECT password_hash FROM users WHERE email = 'ada@example.com'").fetchone()
    assert kept is not None
    assert kept[0].startswith("$argon2id$v=19$m=65536,t=3,p=4$"), "what RFC 9106 recommends"
    code, _, error = run(stack.home, *arguments)
    assert (code, error) == (1, "pingpulse: This e-mail address is taken.\n")


async def test_the_doctor_finds_it_healthy(stack: Stack) -> None:
    code, findings, error = run(stack.home, "doctor", "--data-dir", "data")
    assert (code, error) == (0, ""), findings
    titles = [line.split()[1] for line in findings.splitlines()]
    assert titles[:6] == ["Python", "Settings", "Postgres", "Migrations", "Temporal", "Worker"]
    assert titles[6:11] == ["Outbox", "Alerts", "Approvals", "Mail", "Disk"]
    assert "✗" not in findings


async def test_a_second_one_on_the_same_directory_is_refused(stack: Stack) -> None:
    code, out, error = run(stack.home, "up", "--data-dir", "data", *ON_FREE_PORTS)
    assert (code, out) == (1, "")
    assert error == (
        f"pingpulse: The data directory {stack.data_dir.path} is in use by another `pingpulse up` (process "
        f"{stack.process.pid}): stop it, or choose another with --data-dir (or PINGPULSE_DATA_DIR).\n"
    )


async def test_one_on_the_same_port_is_refused(stack: Stack, tmp_path: Path) -> None:
    port = stack.runtime.gateway_url.rpartition(":")[2]
    code, _, error = run(tmp_path, "up", *ON_FREE_PORTS, "--port", port)
    assert code == 1
    assert error.startswith(f"pingpulse: Port {port} on 127.0.0.1 is taken")
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", ["gateway", "worker", "Temporal", "Postgres"])
async def test_a_part_that_is_killed_comes_back(stack: Stack, name: str) -> None:
    killed = stack.runtime.children[name]
    os.kill(killed, signal.SIGKILL)
    await until(lambda: stack.runtime.children.get(name, killed) != killed)
    assert f"{name} was killed by SIGKILL; starting it again in 0.5 s" in stack.output
    await until(lambda: _answers(stack), timeout=20)


def _answers(stack: Stack) -> bool:
    try:
        return requests.get(f"{stack.runtime.gateway_url}/health", timeout=5).status_code == 200
    except requests.RequestException:
        return False


async def test_sigterm_leaves_no_process_and_the_next_start_has_all_that_was_there(stack: Stack) -> None:
    family = stack.family()
    assert len(family) > 4
    first_key = shlex.split(stack.curl)[1].partition("key=")[2]
    stack.process.terminate()
    assert await stack.ends(seconds=12) < 10
    assert stack.process.returncode == 0
    await until(lambda: all(is_gone(pid) for pid in family), timeout=1)
    assert stack.data_dir.runtime() is None
    code, _, error = run(stack.home, "keys", "list", "--data-dir", "data")
    assert (code, error.count("\n")) == (1, 1)
    assert "Nothing runs in the data directory" in error

    again = Stack(stack.home)
    stack.process = again.process  # for the fixture to clean up
    await again.ready()
    assert "Password" not in again.output
    assert "pingpulse keys create --data-dir data --name my-key" in again.output
    assert again.ping(first_key).status_code == 200
    tree = requests.get(f"{again.runtime.gateway_url}/dhk/my_pipeline/tree", params={"key": first_key}, timeout=10)
    assert tree.status_code == 200


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
async def test_kill_9_leaves_no_process_either(stack: Stack) -> None:
    family = stack.family()
    assert len(family) > 4
    stack.process.kill()
    stack.process.wait()
    await until(lambda: all(is_gone(pid) for pid in family))


async def test_ctrl_c_while_it_starts_leaves_no_process(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    await until(lambda: len(stack.family()) > 1)
    family = stack.family()
    stack.process.send_signal(signal.SIGINT)
    assert await stack.ends(seconds=12) < 10
    await until(lambda: all(is_gone(pid) for pid in family), timeout=1)


UNREACHABLE: list[Any] = [
    pytest.param(
        {"PINGPULSE_DATABASE_URL": "postgresql://ada:hunter2@127.0.0.1:1/pings"},
        "pingpulse: Postgres at postgresql://ada:***@127.0.0.1:1/pings cannot be reached",
        id="database",
    ),
    pytest.param(
        {"PINGPULSE_TEMPORAL_ADDRESS": "127.0.0.1:1"},
        "pingpulse: Temporal at 127.0.0.1:1 cannot be reached",
        id="temporal",
    ),
]


@pytest.mark.parametrize(("variables", "line"), UNREACHABLE)
async def test_an_external_server_out_of_reach_ends_the_start_and_what_it_started(
    tmp_path: Path, variables: dict[str, str], line: str
) -> None:
    code, out, error = run(tmp_path, "up", *ON_FREE_PORTS, **variables)
    assert (code, out) == (1, "")
    assert error.splitlines()[-1].startswith(line)
    assert "hunter2" not in error
    assert "Traceback" not in error
    assert not [
        process for process in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(process.info["cmdline"])
    ]


async def test_a_failure_half_way_stops_what_was_started(tmp_path: Path) -> None:
    """The gateway's port is taken by another after it was found free: an up that is already half started fails."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
        process = pingpulse(tmp_path, "up", *ON_FREE_PORTS, "--port", port)
        try:
            await until(lambda: (tmp_path / ".pingpulse" / "postgres").exists() or process.poll() is not None)
            listener.listen()
        finally:
            _, error = process.communicate(timeout=30)
    assert process.returncode == 1
    last = error.splitlines()[-1]
    assert last == "pingpulse: gateway exited with code 3 while starting; its lines above say why."
    assert not [
        process for process in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(process.info["cmdline"])
    ]
