"""Servers for the tests of workflows: time is skipped on one, and on the other Postgres and Temporal are real."""

from collections.abc import AsyncIterator

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from cli.postgres import EmbeddedPostgres
from config.temporal import DATA_CONVERTER
from storage.base import Sessions, create_engine, create_sessions
from temporal_workflows.registry import WORKFLOWS
from temporal_workflows.search_attributes import SEARCH_ATTRIBUTES
from tests.conftest import copy_database
from tests.support.stack import make_worker, program
from tests.workflows.post import QUEUE as POST_QUEUE
from tests.workflows.post import Post, make_post
from tests.workflows.world import QUEUE, World
from worker.main import sandbox


@pytest.fixture(scope="module")
async def skipping() -> AsyncIterator[WorkflowEnvironment]:
    """A server that skips time. Each module has its own: what one leaves open, no other has to wait for."""
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=program("temporal-test-server"), data_converter=DATA_CONVERTER
    ) as environment:
        keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
        await environment.client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace=environment.client.namespace,
                search_attributes={key.name: keyword for key in SEARCH_ATTRIBUTES},
            )
        )
        yield environment


@pytest.fixture(scope="module")
async def world(skipping: WorkflowEnvironment) -> AsyncIterator[World]:
    """Instances on a worker whose activities keep everything in memory."""
    world = World(skipping)
    async with Worker(
        skipping.client,
        task_queue=QUEUE,
        workflows=WORKFLOWS,
        activities=world.activities,
        workflow_runner=sandbox(),
    ):
        yield world


@pytest.fixture(scope="session")
async def journals(postgres: EmbeddedPostgres) -> AsyncIterator[Sessions]:
    """A database of our own, in which gateways live as long as we say."""
    engine = create_engine(await copy_database(postgres, "workflows"), application_name="tests")
    yield create_sessions(engine)
    await engine.dispose()


@pytest.fixture(scope="session")
async def post(journals: Sessions, temporal: Client) -> AsyncIterator[Post]:
    """Two gateways without a process, and a worker."""
    async with make_worker(temporal, journals, task_queue=POST_QUEUE):
        yield await make_post(journals, temporal)
