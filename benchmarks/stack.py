"""A whole stack for a benchmark, of the same parts that `pingpulse up` starts, on free ports and in a temporary
directory: only the gateway is run by benchmarks/server.py instead."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

import psutil
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from benchmarks.load import Answers, Load
from cli.environment import child_environment
from cli.identities import create_first_identity
from cli.ports import claim_ports
from cli.postgres import EmbeddedPostgres
from cli.probes import answers_ok, pollers_since, temporal_client
from cli.supervisor.child import Service
from cli.supervisor.output import LogFile
from cli.supervisor.supervisor import Supervisor
from cli.temporal_server import temporal_service
from config.settings import Settings
from storage.migrate import upgrade

UNLIMITED = 100_000_000
QUIET_SECONDS, QUIET_LOAD = 0.3, 0.15


@dataclass(frozen=True)
class Stack:
    """A gateway that runs; `key` is an API key with full scope."""

    port: int
    key: str
    supervisor: Supervisor

    async def load(
        self, paths: list[str], *, connections: int, seconds: float | None, rate: float | None = None
    ) -> Answers:
        """Asks the gateway for `paths` from another process, see Load; `{key}` in them stands for the key."""
        load = Load(self.port, [path.format(key=self.key) for path in paths], connections, seconds, rate=rate)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.load", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate(json.dumps(asdict(load)).encode())
        return Answers(**json.loads(output))

    async def metrics(self) -> dict[str, float]:
        """Every sample without labels, and of those with labels the sum."""
        text = (await self._get("/metrics")).decode()
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if "le" not in sample.labels:
                    sums[sample.name] = sums.get(sample.name, 0) + sample.value
        return sums

    async def lags(self) -> list[float]:
        """Delivery lags in seconds, ascending, since the last call."""
        values: list[float] = json.loads(await self._get("/lags"))
        return sorted(values)

    async def drained(self, timeout_seconds: float = 60) -> float:
        """Waits until Temporal has every ping; returns how long it took, infinity if that long was not enough."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while (await self.metrics())["pingpulse_outbox_pings"]:
            if loop.time() - begun > timeout_seconds:
                return float("inf")
            await asyncio.sleep(0.05)
        return loop.time() - begun

    async def quiet(self, timeout_seconds: float = 20) -> None:
        """Waits until the processes of the stack have nothing to do any more, the worker above all."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + timeout_seconds
        before = self._cpu_seconds()
        while loop.time() < give_up_at:
            await asyncio.sleep(QUIET_SECONDS)
            now = self._cpu_seconds()
            if now - before < QUIET_SECONDS * QUIET_LOAD:
                return
            before = now

    def _cpu_seconds(self) -> float:
        total = 0.0
        for pid in self.supervisor.pids.values():
            parent = psutil.Process(pid)
            for process in (parent, *parent.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    times = process.cpu_times()
                    total += times.user + times.system
        return total

    async def _get(self, path: str) -> bytes:
        def get() -> Any:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
                return answer.read()

        return bytes(await asyncio.to_thread(get))


@asynccontextmanager
async def running_stack(profile: Path | None = None) -> AsyncIterator[Stack]:
    """`profile`: where the gateway writes what cProfile found, in the end."""
    with TemporaryDirectory(prefix="pingpulse-bench-") as name:
        directory = Path(name)
        supervisor = Supervisor()
        postgres = EmbeddedPostgres(directory / "postgres", directory / "postgres.log")
        ports = claim_ports(
            *(("127.0.0.1", 0, flag, flag) for flag in ("--port", "--temporal-port", "--temporal-ui-port"))
        )
        settings = Settings(
            _env_file=None,
            port=ports[0],
            temporal_port=ports[1],
            temporal_ui_port=ports[2],
            temporal_address=f"127.0.0.1:{ports[1]}",
            database_url=SecretStr(postgres.url),
            secret_key=SecretStr("x" * 32),
            pings_per_minute=UNLIMITED,
            requests_per_minute=UNLIMITED,
            log_level="warning",
        )
        try:
            await postgres.initialise()
            await supervisor.start(postgres.service())
            await postgres.create_database()
            await supervisor.start(temporal_service(settings, directory / "temporal.db", directory / "temporal.log"))
            upgrade(postgres.url)
            first = await create_first_identity(postgres.url)
            assert first is not None
            for service in await _own_services(settings, directory, profile):
                await supervisor.start(service)
            yield Stack(ports[0], first.key, supervisor)
        finally:
            await supervisor.stop()
            postgres.clean_up()


async def _own_services(settings: Settings, directory: Path, profile: Path | None) -> tuple[Service, Service]:
    temporal = await temporal_client(settings)
    since = datetime.now(UTC)
    log = LogFile(directory / "pingpulse.log")

    async def worker_polls(_pid: int) -> bool:
        return await pollers_since(temporal, settings.temporal_task_queue, since) > 0

    environment = child_environment(settings)
    worker = Service(
        name="worker", argv=[sys.executable, "-m", "cli", "worker"], env=environment, ready=worker_polls, output=log
    )
    gateway = Service(
        name="gateway",
        argv=[sys.executable, "-m", "benchmarks.server", *(("--profile", str(profile)) if profile else ())],
        env=environment,
        ready=lambda _pid: answers_ok(f"http://127.0.0.1:{settings.port}/health"),
        output=log,
        grace_seconds=10,
    )
    return worker, gateway
