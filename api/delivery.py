"""The calls to Temporal: starting, telling and asking the workflow of an instance."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Final

from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.service import RPCError, RPCStatusCode

from domain.evaluation import InstanceView
from domain.pings import PingFact
from domain.strict import Verdict
from domain.subjects import split_instance_subject
from temporal_workflows.inbox import Delivery
from temporal_workflows.instance import InstanceInput, InstanceWorkflow
from temporal_workflows.search_attributes import KIND, WORKFLOW

SIGNAL_TIMEOUT: Final = timedelta(seconds=5)


class Temporal:
    """Both calls start the workflow if it is not running: a new instance, or one whose workflow has closed or was
    lost. It then loads itself from Postgres, so the start carries nothing but names."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue

    async def signal(self, subject: str, pings: Sequence[PingFact]) -> None:
        """Returns once Temporal has the pings. Raises RPCError; repeating the call is harmless."""
        start = _start(subject)
        await self._client.start_workflow(
            InstanceWorkflow.run,
            start,
            id=subject,
            task_queue=self._task_queue,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            start_signal="pings_received",
            start_signal_args=[Delivery(tuple(pings))],
            search_attributes=_search_attributes(start),
            static_summary=f"{start.workflow_id}, run {start.instance_id}",
            rpc_timeout=SIGNAL_TIMEOUT,
        )

    async def ask(self, subject: str, pings: Sequence[PingFact], wants_verdicts: Sequence[int]) -> list[Verdict]:
        """Delivers pings and waits for the verdicts on some of them; those given before are left out."""
        start = _start(subject)
        operation = WithStartWorkflowOperation(
            InstanceWorkflow.run,
            start,
            id=subject,
            task_queue=self._task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            search_attributes=_search_attributes(start),
            static_summary=f"{start.workflow_id}, run {start.instance_id}",
        )
        try:
            return await self._client.execute_update_with_start_workflow(
                InstanceWorkflow.submit_pings,
                Delivery(tuple(pings), tuple(wants_verdicts)),
                start_workflow_operation=operation,
            )
        except Exception:
            # The operation has a promise of its own that fails too, and that nobody else looks at.
            with suppress(Exception):
                await operation.workflow_handle()
            raise

    async def query(self, subject: str, timeout_seconds: float) -> InstanceView | None:
        """The instance as its workflow shows it; None before it is loaded. Raises RPCError."""
        handle = self._client.get_workflow_handle_for(InstanceWorkflow.run, subject)
        with _connection_errors():
            async with asyncio.timeout(timeout_seconds):
                return await handle.query(InstanceWorkflow.tree, rpc_timeout=timedelta(seconds=timeout_seconds))

    async def end(self, subject: str) -> None:
        """Tells a workflow that its instance was ended in Postgres. Raises RPCError."""
        handle = self._client.get_workflow_handle_for(InstanceWorkflow.run, subject)
        with _connection_errors():
            await handle.signal(InstanceWorkflow.instance_terminated, rpc_timeout=SIGNAL_TIMEOUT)

    async def is_reachable(self) -> bool:
        try:
            return await self._client.service_client.check_health(timeout=timedelta(seconds=1))
        except Exception:  # whatever it is, it does not answer
            return False


@contextmanager
def _connection_errors() -> Iterator[None]:
    """A lazy client that cannot connect raises RuntimeError, and the first connection has a timeout of its own."""
    try:
        yield
    except (RuntimeError, TimeoutError) as error:
        raise RPCError(f"Temporal cannot be reached: {error}", RPCStatusCode.UNAVAILABLE, b"") from error


def _start(subject: str) -> InstanceInput:
    workflow_id, instance_id = split_instance_subject(subject)
    return InstanceInput(workflow_id, instance_id)


def _search_attributes(start: InstanceInput) -> TypedSearchAttributes:
    return TypedSearchAttributes(
        [SearchAttributePair(KIND, "instance"), SearchAttributePair(WORKFLOW, start.workflow_id)]
    )
