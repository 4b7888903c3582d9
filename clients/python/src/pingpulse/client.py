"""The client that waits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pingpulse import _asking, _reads
from pingpulse._buffer import Buffer
from pingpulse._pings import Kind, process_ping, pulse_ping, stage_ping, with_message
from pingpulse._reporting import BufferReporter, Later, StrictReporter
from pingpulse._runs import ProcessRun, PulseRun, Workflow
from pingpulse._scopes import Reporter, Scope
from pingpulse._settings import WhenFull, make_settings
from pingpulse._transport import Transport
from pingpulse._wire import Call
from pingpulse.errors import Conflict, PingPulseError
from pingpulse.models import (
    Approval,
    ApprovalRequest,
    History,
    Instance,
    InstanceCost,
    ProcessAnswer,
    PulseAnswer,
    StageAnswer,
    StageState,
    Timeline,
    WorkflowCost,
    WorkflowInfo,
    WorkflowPage,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pingpulse._asking import Question
    from pingpulse._pings import Details, ProcessDetails, PulseDetails, StageDetails

T = TypeVar("T")


class PingPulse:
    """Pings, runs, approvals and questions. Safe for threads.

    What is called here waits for the answer and raises PingPulseError. What is entered, `run`, `process` and the
    stages of a `workflow`, and what is called on `later`, waits for nothing and raises nothing, unless the client is
    `strict`: then what is entered waits and raises too.

    Without an address or a key, and not strict, jobs run as ever and a warning is logged; only what waits for an
    answer raises ConfigurationError.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        strict: bool = False,
        timeout: float = 10.0,
        retry_seconds: float = 30.0,
        buffer_size: int = 1000,
        buffer_bytes: int = 10_000_000,
        when_full: WhenFull = "drop_oldest",
        keep_seconds: float = 3600.0,
        exit_seconds: float = 5.0,
        http_options: Mapping[str, Any] | None = None,
    ) -> None:
        """`url` and `key` come from PINGPULSE_URL and PINGPULSE_API_KEY if left out. All times are in seconds.

        `timeout` is that of one attempt. A further attempt of what waits begins within `retry_seconds`. The buffer of
        what does not wait holds `buffer_size` pings and `buffer_bytes` of bodies; a ping in it is tried for
        `keep_seconds`; when the program ends, it has `exit_seconds`. `http_options` go to httpx: `verify`, `proxy`, …
        """
        self._settings = make_settings(
            url,
            key,
            strict=strict,
            timeout=timeout,
            retry_seconds=retry_seconds,
            buffer_size=buffer_size,
            buffer_bytes=buffer_bytes,
            when_full=when_full,
            keep_seconds=keep_seconds,
            exit_seconds=exit_seconds,
            http_options=http_options or {},
        )
        self._transport = Transport(self._settings)
        self._buffer = Buffer(self._settings)
        buffered = BufferReporter(self._buffer)
        self._reporter: Reporter = StrictReporter(self._transport) if strict else buffered
        self.later = Later(buffered)
        self.approvals = Approvals(self._transport)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings.url!r})"

    # Stages of workflows

    def stage(
        self, workflow_id: str, path: str | int, *, kind: Kind = "dynamic", **details: Unpack[StageDetails]
    ) -> StageAnswer:
        """Pings a stage, such as `2.1`. `start=True` opens a run of a dynamic workflow, `final=True` completes it."""
        return self._perform(stage_ping(workflow_id, path, kind, **details))

    def workflow(self, workflow_id: str, *, kind: Kind = "dynamic", agent: str | None = None) -> Workflow:
        """A workflow to `start`: `with client.workflow("etl").start() as run: …`"""
        return Workflow(workflow_id, kind, self._reporter, agent)

    # Pulses

    def ping(self, target: str, **details: Unpack[PulseDetails]) -> PulseAnswer:
        """A pulse is alive or, with a bad `status`, is not."""
        return self._perform(pulse_ping(target, "ping", **details))

    def ping_start(self, target: str, **details: Unpack[PulseDetails]) -> PulseAnswer:
        """A run of a pulse begins."""
        return self._perform(pulse_ping(target, "start", **details))

    def ping_fail(self, target: str, **details: Unpack[PulseDetails]) -> PulseAnswer:
        """A pulse has failed; `error` says why."""
        return self._perform(pulse_ping(target, "fail", **details))

    def ping_log(self, target: str, message: str | None = None, **details: Unpack[PulseDetails]) -> PulseAnswer:
        """Kept with the pulse, and nothing else."""
        return self._perform(pulse_ping(target, "log", **with_message(details, message)))

    def run(self, target: str, **details: Unpack[PulseDetails]) -> Scope[PulseRun]:
        """A run of a pulse: `with client.run("nightly"): …` reports its start, its end, and how long it took."""
        return Scope(lambda: PulseRun(self._reporter, target, dict(details)))

    # Process hooks

    def process_start(self, hook: str, **details: Unpack[Details]) -> ProcessAnswer:
        """A run of a process hook begins; the answer has its `run_id`."""
        return self._perform(process_ping(hook, "start", **details))

    def process_finish(self, hook: str, **details: Unpack[ProcessDetails]) -> ProcessAnswer:
        """It has ended."""
        return self._perform(process_ping(hook, "finish", **details))

    def process_fail(self, hook: str, **details: Unpack[ProcessDetails]) -> ProcessAnswer:
        """It has failed; `error` says why."""
        return self._perform(process_ping(hook, "fail", **details))

    def process(self, hook: str, **details: Unpack[Details]) -> Scope[ProcessRun]:
        """A run of a process hook: `with client.process("nightly-etl"): …`"""
        return Scope(lambda: ProcessRun(self._reporter, hook, dict(details)))

    # Approvals

    def ask(self, context: str, *, wait_seconds: float | None = None, **question: Unpack[Question]) -> Approval:
        """Asks people, and waits until they have decided. The answer is true if they approved.

        Raises ApprovalPending after `wait_seconds`; else the request's own `timeout_seconds` ends it.
        """
        return self.approvals.ask(context, wait_seconds=wait_seconds, **question)

    # Reading; these take a key of the scope `full`, except for `tree`

    def tree(
        self, workflow_id: str, *, kind: Kind = "dynamic", instance_id: str | None = None
    ) -> dict[str, StageState]:
        """The stages, by path, of a workflow's current run, or of the one that is named."""
        return self._perform(_reads.tree(workflow_id, kind, instance_id))

    def workflows(self, *, limit: int | None = None, cursor: str | None = None) -> WorkflowPage:
        return self._perform(_reads.workflows(limit, cursor))

    def workflow_info(self, workflow_id: str) -> WorkflowInfo:
        """A workflow's definition."""
        return self._perform(_reads.workflow_info(workflow_id))

    def instances(
        self, workflow_id: str, *, status: str | Sequence[str] = (), limit: int | None = None, cursor: str | None = None
    ) -> History:
        """A workflow's runs, the newest first."""
        return self._perform(_reads.instances(workflow_id, status, limit, cursor))

    def instance(self, instance_id: str) -> Instance:
        """One run, with every change of status."""
        return self._perform(_reads.instance(instance_id))

    def timeline(self, instance_id: str, *, from_step: int = 0, limit: int | None = None) -> Timeline:
        """A run, ping by ping."""
        return self._perform(_reads.timeline(instance_id, from_step, limit))

    def instance_cost(self, instance_id: str, *, from_ping: int = 0, limit: int | None = None) -> InstanceCost:
        return self._perform(_reads.instance_cost(instance_id, from_ping, limit))

    def workflow_cost(self, workflow_id: str, *, days: int | None = None) -> WorkflowCost:
        return self._perform(_reads.workflow_cost(workflow_id, days))

    # The end

    @property
    def dropped(self) -> int:
        """How many pings nobody waited for were left out, because there was no room, or nowhere to send them."""
        return self._buffer.dropped

    def flush(self, seconds: float = 10.0) -> bool:
        """Waits until all pings in the buffer were sent; false if that takes longer."""
        return self._buffer.flush(seconds)

    def close(self, seconds: float | None = None) -> None:
        """Flushes, for `exit_seconds` unless it says otherwise, and closes the connections."""
        self._buffer.close(self._settings.exit_seconds if seconds is None else seconds)
        self._transport.close()

    def __enter__(self) -> PingPulse:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        self.close()
        return False

    def _perform(self, call: Call[T]) -> T:
        return self._transport.perform(call)


class Approvals:
    """Questions to people. `client.approvals`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def request(self, context: str, **question: Unpack[Question]) -> ApprovalRequest:
        """Asks, and does not wait for the decision."""
        return self._transport.perform(_asking.request(context, question))

    def get(self, approval_id: str) -> Approval:
        """How it stands."""
        return self._transport.perform(_asking.get(approval_id))

    def cancel(self, approval_id: str, notes: str | None = None) -> Approval:
        """Nobody has to decide any more. Raises Conflict if somebody has already."""
        try:
            return self._transport.perform(_asking.cancel(approval_id, notes))
        except Conflict as error:
            # Of an attempt whose answer was lost.
            if error.extra.get("approval_status") != "cancelled":
                raise
            return self.get(approval_id)

    def wait(self, approval_id: str, wait_seconds: float | None = None) -> Approval:
        """Waits until it is decided. Raises ApprovalPending after `wait_seconds`. PingPulse may be away in between,
        for a quarter of an hour."""
        waiting = _asking.Waiting(approval_id, wait_seconds, time.monotonic())
        while True:
            try:
                approval = self._transport.perform(waiting.ask(time.monotonic()), _asking.ONE_ATTEMPT)
            except PingPulseError as error:
                time.sleep(waiting.after_error(error, time.monotonic()))
                continue
            pause = waiting.after(approval, time.monotonic())
            if pause is None:
                return approval
            time.sleep(pause)

    def ask(self, context: str, *, wait_seconds: float | None = None, **question: Unpack[Question]) -> Approval:
        """Asks and waits, as `client.ask`."""
        return self.wait(self.request(context, **question).approval_id, wait_seconds)
