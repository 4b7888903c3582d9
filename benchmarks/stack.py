"""A whole stack for a benchmark, of the same parts that `pingpulse up` starts, on free ports and in a temporary
directory: only the gateway is run by benchmarks/server.py instead."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

import httpx
from prometheus_client.parser import text_string_to_metric_families
from psycopg import AsyncConnection
from pydantic import SecretStr
from temporalio.client import Client
from temporalio.service import RPCError

from benchmarks.load import Answers, Load
from benchmarks.services import Services
from benchmarks.waiting import BenchmarkError
from cli.environment import child_environment
from cli.identities import FirstIdentity, create_first_identity
from cli.ports import claim_ports
from cli.postgres import EmbeddedPostgres
from cli.probes import answers_ok, pollers_since, temporal_client
from cli.supervisor.child import Service
from cli.supervisor.output import LogFile
from cli.temporal_server import temporal_service
from config.settings import Settings
from storage.migrate import upgrade

UNLIMITED = 100_000_000


@dataclass(frozen=True)
class Stack:
    """A gateway that runs; `first` is who owns its only account."""

    port: int
    first: FirstIdentity
    services: Services
    database: AsyncConnection[tuple[Any, ...]]

    @property
    def key(self) -> str:
        """An API key with full scope."""
        return self.first.key

    async def load(
        self,
        paths: list[str],
        *,
        connections: int,
        seconds: float | None,
        rate: float | None = None,
        keep_alive: bool = True,
        patience_seconds: float = 60,
        body: str | None = None,
    ) -> Answers:
        """Asks the gateway for `paths` from another process, see Load; `{key}` in them stands for the key."""
        paths = [path.format(key=self.key) for path in paths]
        load = Load(
            self.port,
            paths,
            connections,
            seconds,
            rate=rate,
            keep_alive=keep_alive,
            patience_seconds=patience_seconds,
            body=body,
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.load", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        try:
            output, _ = await process.communicate(json.dumps(asdict(load)).encode())
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode:
            raise BenchmarkError(f"the load generator ended with code {process.returncode}")
        return Answers(**json.loads(output))

    async def ask_each(
        self, paths: list[str], *, connections: int, rate: float | None = None, patience_seconds: float = 60
    ) -> Answers:
        """Each path just once. Raises BenchmarkError unless all are answered with 200."""
        answers = await self.load(
            paths, connections=connections, seconds=None, rate=rate, patience_seconds=patience_seconds
        )
        if missing := len(paths) - len(answers.latencies):
            raise BenchmarkError(
                f"{missing} of {len(paths)} requests such as {paths[0]} were not answered with 200 within "
                f"{patience_seconds:g} s"
            )
        return answers

    def client(self) -> httpx.AsyncClient:
        """For requests one by one; sends the key."""
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}", headers={"X-API-Key": self.key}, timeout=30, trust_env=False
        )

    async def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What Postgres answers."""
        return await (await self.database.execute(query.encode(), values)).fetchall()

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

    async def calls(self) -> dict[str, int]:
        """How often the gateway has asked Temporal, by the name of the call."""
        counts: dict[str, int] = json.loads(await self._get("/calls"))
        return counts

    async def drained(self, timeout_seconds: float = 60) -> float:
        """Waits until Temporal has every ping; returns how long it took, infinity if that long was not enough."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while (await self.metrics())["pingpulse_outbox_pings"]:
            if loop.time() - begun > timeout_seconds:
                return float("inf")
            await asyncio.sleep(0.05)
        return loop.time() - begun

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
        services = Services()
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
            letters_per_minute=UNLIMITED,
            outgoing_allow="127.0.0.0/8",
            log_level="warning",
        )
        try:
            await postgres.initialise()
            await services.start(postgres.service())
            await postgres.create_database()
            await services.start(temporal_service(settings, directory / "temporal.db", directory / "temporal.log"))
            upgrade(postgres.url)
            first = await create_first_identity(postgres.url)
            assert first is not None
            for service in await _own_services(settings, directory, profile):
                await services.start(service)
            async with await AsyncConnection.connect(postgres.url, autocommit=True) as database:
                yield Stack(ports[0], first, services, database)
        finally:
            await services.stop_all()
            postgres.clean_up()


class _Polling:
    """Whether a worker polls that was started since `begin`."""

    def __init__(self, temporal: Client, task_queue: str) -> None:
        self._temporal = temporal
        self._task_queue = task_queue
        self._since = datetime.now(UTC)

    async def begin(self) -> None:
        self._since = datetime.now(UTC)

    async def is_ready(self, _pid: int) -> bool:
        try:
            return await pollers_since(self._temporal, self._task_queue, self._since) > 0
        except RPCError:
            # Our own connection to a Temporal that was started again may not know of that yet.
            return False


async def _own_services(settings: Settings, directory: Path, profile: Path | None) -> tuple[Service, Service]:
    polling = _Polling(await temporal_client(settings), settings.temporal_task_queue)
    log = LogFile(directory / "pingpulse.log")
    environment = child_environment(settings)
    worker = Service(
        name="worker",
        argv=[sys.executable, "-m", "cli", "worker"],
        env=environment,
        prepare=polling.begin,
        ready=polling.is_ready,
        output=log,
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
