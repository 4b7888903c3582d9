"""A whole stack in one process: gateways over HTTP, a worker, and the servers behind them."""

import sysconfig
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import SecretStr
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from config.clock import utc_now
from config.settings import Settings
from config.temporal import DATA_CONVERTER
from storage.accounts import create_account
from storage.base import Sessions, transaction
from storage.keys import create_key
from temporal_workflows.registry import WORKFLOWS
from temporal_workflows.search_attributes import SEARCH_ATTRIBUTES
from worker.main import sandbox
from worker.parts import subject_activities

SECRET = "a secret for tests, of 32 characters or more"
TASK_QUEUE = "pingpulse-tests"


@dataclass(frozen=True)
class Stack:
    """`url` is the gateway's; `key` an API key with full scope of the account `account_id`."""

    url: str
    key: str
    account_id: str
    sessions: Sessions
    temporal: Client
    settings: Settings

    def client(self, **options: Any) -> httpx.AsyncClient:
        """An HTTP client that sends the key."""
        return httpx.AsyncClient(base_url=self.url, headers={"X-API-Key": self.key}, timeout=30, **options)


def program(name: str) -> str:
    """A program that a wheel has put beside this Python."""
    return f"{sysconfig.get_path('scripts')}/{name}"


@asynccontextmanager
async def temporal_server(*dynamic_config: str) -> AsyncIterator[Client]:
    """A dev server of one's own; `dynamic_config` are `key=value` pairs, to lower its limits."""
    environment = await WorkflowEnvironment.start_local(
        dev_server_existing_path=program("temporal"),
        dev_server_log_level="error",
        data_converter=DATA_CONVERTER,
        search_attributes=SEARCH_ATTRIBUTES,
        dev_server_extra_args=[part for pair in dynamic_config for part in ("--dynamic-config-value", pair)],
    )
    try:
        yield environment.client
    finally:
        await environment.shutdown()


def make_worker(client: Client, sessions: Sessions, *, task_queue: str = TASK_QUEUE, **options: Any) -> Worker:
    """A worker as `pingpulse worker` runs it."""
    return Worker(
        client,
        task_queue=task_queue,
        workflows=WORKFLOWS,
        activities=subject_activities(sessions, utc_now, lambda: None),
        workflow_runner=sandbox(),
        **options,
    )


def make_settings(database_url: str, client: Client, **settings: Any) -> Settings:
    values = {
        "database_url": SecretStr(database_url),
        "temporal_address": client.service_client.config.target_host,
        "temporal_task_queue": TASK_QUEUE,
        "secret_key": SecretStr(SECRET),
        "pings_per_minute": 1_000_000,
        "requests_per_minute": 1_000_000,
        "letters_per_minute": 1_000_000,
        "failed_logins_per_minute": 1_000,
        **settings,
    }
    return Settings(_env_file=None, **values)


async def make_account(sessions: Sessions, name: str = "tests") -> tuple[str, str]:
    """The id of a new account and a key with full scope."""
    async with transaction(sessions) as session:
        account = await create_account(session, name, utc_now())
        _, key = await create_key(session, account.id, "tests", "full", utc_now())
        return account.id, key
