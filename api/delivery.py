"""The calls to Temporal: starting, telling and asking the workflow of a subject."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

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
from domain.subjects import APPROVAL, INSTANCE, PROCESS, PULSE, approval_subject, parts_of, pulse_subject
from domain.verdicts import Verdict
from temporal_workflows.approval import ApprovalEvent, ApprovalInput, ApprovalWorkflow
from temporal_workflows.inbox import Delivery
from temporal_workflows.instance import InstanceInput, InstanceWorkflow
from temporal_workflows.process_run import ProcessRunInput, ProcessRunWorkflow
from temporal_workflows.pulse import PulseInput, PulseWorkflow
from temporal_workflows.search_attributes import KIND, WORKFLOW

SIGNAL_TIMEOUT: Final = timedelta(seconds=5)


class Temporal:
    """Both calls start the workflow if it is not running: a new subject, or one whose workflow has closed or was
    lost. It then loads itself from Postgres, so the start carries nothing but names."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue

    async def signal(self, subject: str, pings: Sequence[PingFact]) -> None:
        """Returns once Temporal has the pings. Raises RPCError; repeating the call is harmless."""
        await self._signal(subject, "pings_received", [Delivery(tuple(pings))])

    async def tell_of_new_rules(self, pulse_id: str) -> None:
        """Has a pulse's workflow read its rules again. Raises RPCError; repeating the call is harmless."""
        await self._signal(pulse_subject(pulse_id), "definition_changed", [])

    async def tell_of_change(self, subject: str) -> None:
        """Has an instance's workflow load it again, as others have changed it. Raises RPCError; repeating the call is
        harmless."""
        await self._signal(subject, "instance_changed", [])

    async def tell_of_approval(self, approval_id: str, event: ApprovalEvent) -> None:
        """Has an approval's workflow take notice of what happened. Raises RPCError; repeating the call is harmless."""
        await self._signal(approval_subject(approval_id), "approval_changed", [event])

    async def _signal(self, subject: str, name: str, arguments: Sequence[object]) -> None:
        start = _start_of(subject)
        await self._client.start_workflow(
            start.workflow,
            start.input,
            id=subject,
            task_queue=self._task_queue,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            start_signal=name,
            start_signal_args=arguments,
            search_attributes=start.search_attributes,
            static_summary=start.summary,
            rpc_timeout=SIGNAL_TIMEOUT,
        )

    async def ask(self, subject: str, pings: Sequence[PingFact], wants_verdicts: Sequence[int]) -> list[Verdict]:
        """Delivers pings and waits for the verdicts on some of them; those given before are left out."""
        start = _start_of(subject)
        operation: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
            start.workflow,
            start.input,
            id=subject,
            task_queue=self._task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            search_attributes=start.search_attributes,
            static_summary=start.summary,
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


@dataclass(frozen=True)
class _Start:
    """How the workflow of a subject is started."""

    workflow: Callable[..., Awaitable[Any]]
    input: object
    summary: str
    search_attributes: TypedSearchAttributes


def _instance(workflow_id: str, instance_id: str) -> _Start:
    return _Start(
        InstanceWorkflow.run,
        InstanceInput(workflow_id, instance_id),
        f"{workflow_id}, run {instance_id}",
        _attributes(INSTANCE, workflow_id),
    )


def _pulse(pulse_id: str) -> _Start:
    return _Start(PulseWorkflow.run, PulseInput(pulse_id), f"pulse {pulse_id}", _attributes(PULSE))


def _run(hook_id: str, run_id: str) -> _Start:
    return _Start(
        ProcessRunWorkflow.run,
        ProcessRunInput(hook_id, run_id),
        f"{hook_id}, run {run_id}",
        _attributes(PROCESS, hook_id),
    )


def _approval(approval_id: str) -> _Start:
    return _Start(ApprovalWorkflow.run, ApprovalInput(approval_id), f"approval {approval_id}", _attributes(APPROVAL))


_STARTS: Final[dict[str, Callable[..., _Start]]] = {
    APPROVAL: _approval,
    INSTANCE: _instance,
    PROCESS: _run,
    PULSE: _pulse,
}


def _start_of(subject: str) -> _Start:
    kind, *ids = parts_of(subject)
    return _STARTS[kind](*ids)


def _attributes(kind: str, defined_by: str | None = None) -> TypedSearchAttributes:
    """`defined_by` is the user's workflow, or the process hook."""
    pairs = [SearchAttributePair(KIND, kind)]
    if defined_by is not None:
        pairs.append(SearchAttributePair(WORKFLOW, defined_by))
    return TypedSearchAttributes(pairs)
