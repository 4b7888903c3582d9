"""Questions to the outside, each answered within seconds: is it there, is it ready, does it fit."""

import asyncio
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from cli.errors import CommandError
from config.settings import Settings
from config.temporal import connect, ensure_search_attributes, temporal_address
from storage.base import create_engine

_RPC_TIMEOUT = timedelta(seconds=5)
_TEMPORAL_REMEDY = (
    "correct PINGPULSE_TEMPORAL_ADDRESS (and …_API_KEY, …_TLS); unset it to use the Temporal that `pingpulse up` "
    "brings along"
)


async def check_database(url: str) -> None:
    """Raises CommandError when no session can be had. The message never carries the password."""
    try:
        shown = make_url(url).set(query={}).render_as_string(hide_password=True)
        engine = create_engine(url)
    except (ArgumentError, ValueError, ImportError) as error:
        raise CommandError(
            "PINGPULSE_DATABASE_URL is not an address of Postgres: write postgresql://user:password@host/database."
        ) from error
    try:
        async with asyncio.timeout(15), engine.connect():
            return
    except (SQLAlchemyError, OSError) as error:
        lines = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
        raise CommandError(
            f"Postgres at {shown} cannot be reached ({lines[0].strip()}): start it or correct PINGPULSE_DATABASE_URL; "
            "unset it to use the Postgres that `pingpulse up` brings along."
        ) from error
    finally:
        await engine.dispose()


async def temporal_client(settings: Settings) -> Client:
    """A connected client whose namespace exists. Raises CommandError."""
    address = temporal_address(settings)
    try:
        async with asyncio.timeout(10):
            client = await connect(settings)
            await _describe_namespace(client)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise CommandError(
                f"Temporal at {address} has no namespace {settings.temporal_namespace}: create it with `temporal "
                f"operator namespace create -n {settings.temporal_namespace}`, or set PINGPULSE_TEMPORAL_NAMESPACE."
            ) from error
        raise CommandError(f"Temporal at {address} refuses ({error.message}): {_TEMPORAL_REMEDY}.") from error
    except (RuntimeError, ValueError, OSError) as error:
        raise CommandError(f"Temporal at {address} cannot be reached: start it or {_TEMPORAL_REMEDY}.") from error
    return client


async def namespace_exists(settings: Settings) -> bool:
    """For a server that is starting: no error but a no."""
    try:
        async with asyncio.timeout(3):
            await _describe_namespace(await connect(settings))
    except (RPCError, RuntimeError, OSError):
        return False
    return True


async def _describe_namespace(client: Client) -> None:
    request = DescribeNamespaceRequest(namespace=client.namespace)
    await client.workflow_service.describe_namespace(request, timeout=_RPC_TIMEOUT)


async def register_search_attributes(client: Client) -> list[str]:
    """The names registered now. Raises CommandError where they cannot be, as in Temporal Cloud."""
    try:
        return await ensure_search_attributes(client)
    except RPCError as error:
        raise CommandError(
            f"Temporal does not let its search attributes be registered ({error.message}): register them in its "
            "console, as docs/operations.md lists them."
        ) from error


async def pollers_since(client: Client, task_queue: str, since: datetime) -> int:
    """How many workers asked this task queue for workflow tasks since then. Raises RPCError."""
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=task_queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    answer = await client.workflow_service.describe_task_queue(request, timeout=_RPC_TIMEOUT)
    return sum(poller.last_access_time.ToDatetime(tzinfo=UTC) >= since for poller in answer.pollers)


async def answers_ok(url: str) -> bool:
    """Whether GET on a plain HTTP address answers 200 within two seconds."""
    parts = urlsplit(url)
    request = f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                writer.write(request.encode("ascii"))
                status_line = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return status_line.split(b" ")[1:2] == [b"200"]
