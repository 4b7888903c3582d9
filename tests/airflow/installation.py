"""An Airflow with a home of its own: its commands, and a scheduler that runs DAGs."""

import asyncio
import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import psutil

from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / ".venv-airflow" / "bin"
COMMAND_SECONDS = 120
NOWHERE = "http://127.0.0.1:9"

_SETTINGS = {
    "AIRFLOW__CORE__EXECUTOR": "SequentialExecutor",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
    "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
    "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "SCARF_ANALYTICS": "False",
    "DO_NOT_TRACK": "1",
    "PYTHONWARNINGS": "ignore",
    # Whoever asks for anything but this machine is refused.
    "HTTP_PROXY": NOWHERE,
    "HTTPS_PROXY": NOWHERE,
    "NO_PROXY": "127.0.0.1,localhost",
}


class Airflow:
    """Lives in the directory `home`; DAGs are the files in `home/dags`. `variables` are for all of its processes."""

    def __init__(self, home: Path, **variables: str) -> None:
        self.home = home
        self.dags = home / "dags"
        self.dags.mkdir()
        inherited = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
        proxies = {name.lower(): value for name, value in _SETTINGS.items() if name.endswith("_PROXY")}
        self._environment = inherited | _SETTINGS | proxies | variables
        self._environment |= {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "HOME": str(home),
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        }

    async def run(self, *command: str) -> str:
        """What a command prints; fails if it does, or does not end."""
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.home,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), COMMAND_SECONDS)
        finally:
            if process.returncode is None:
                await _end(psutil.Process(process.pid))
        assert process.returncode == 0, output.decode()
        return output.decode()

    @asynccontextmanager
    async def scheduler(self) -> AsyncIterator[None]:
        """Runs all DAGs that are not paused, task by task, and the callbacks of DAGs."""
        with (self.home / "scheduler").open("w") as output:
            process = subprocess.Popen(
                ["airflow", "scheduler", "--skip-serve-logs"],
                cwd=self.home,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                executable=PROGRAMS / "airflow",
            )
        try:
            yield
            assert process.poll() is None, (self.home / "scheduler").read_text()[-5000:]
        finally:
            if process.poll() is None:
                await _end(psutil.Process(process.pid))
            process.wait(10)

    async def run_states(self, *dag_ids: str, timeout: float) -> dict[str, str]:
        """How the DAGs' runs ended, once all have."""

        def ended() -> dict[str, str] | None:
            states = dict(self._query("SELECT dag_id, state FROM dag_run"))
            return states if all(states.get(dag_id) in ("success", "failed") for dag_id in dag_ids) else None

        async def all_ended() -> dict[str, str] | None:
            return await asyncio.to_thread(ended)

        states: dict[str, str] = await until(all_ended, timeout=timeout, every=0.5)
        return {dag_id: states[dag_id] for dag_id in dag_ids}

    def tries(self, dag_id: str) -> dict[str, tuple[str, int]]:
        """The state of each task, and its tries."""
        rows = self._query("SELECT task_id, state, try_number FROM task_instance WHERE dag_id = ?", dag_id)
        return {task_id: (state, number) for task_id, state, number in rows}

    def logs(self) -> str:
        """Everything that was logged, of tasks and callbacks."""
        files = [*(self.home / "logs").rglob("*.log"), self.home / "scheduler"]
        return "\n".join(path.read_text(errors="replace") for path in files if path.exists())

    def import_errors(self) -> list[tuple[str, str]]:
        return self._query("SELECT filename, stacktrace FROM import_error")

    def _query(self, statement: str, *parameters: str) -> list[tuple]:  # type: ignore[type-arg]
        with closing(sqlite3.connect(f"file:{self.home / 'airflow.db'}?mode=ro", uri=True, timeout=10)) as database:
            return database.execute(statement, parameters).fetchall()


async def _end(process: psutil.Process) -> None:
    """Ends a process and all that it started, which may be in groups and sessions of their own."""
    family = [*process.children(recursive=True), process]
    for one in reversed(family):
        _tell(one, "terminate")
    _, left = await asyncio.to_thread(psutil.wait_procs, family, 10)
    for one in left:
        _tell(one, "kill")
    await asyncio.to_thread(psutil.wait_procs, left, 5)


def _tell(process: psutil.Process, what: str) -> None:
    try:
        getattr(process, what)()
    except psutil.NoSuchProcess:
        return
