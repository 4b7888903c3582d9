"""What visits report: of pulses, of process hooks, of workflows and of their stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pingpulse._links import EndLink, InstanceLink, Link, Pending, StartLink
from pingpulse._pings import Kind, process_ping, pulse_ping, stage_ping
from pingpulse._scopes import Reporter, Scope, Visit, innermost, status_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pingpulse._pings import StageDetails

RUN_STAGE = "run"
"""The stage by which a dynamic run as a whole is completed, or fails outside of its stages."""


class PulseRun(Visit):
    """A run of what a pulse watches: start, then success or failure. `run_id` tells it from others at the same time."""

    def __init__(self, reporter: Reporter, target: str, details: dict[str, Any]) -> None:
        super().__init__(reporter, details)
        self.target = target
        self.run_id: str = details.pop("run_id", None) or uuid4().hex
        schedule = ("create", "period_seconds", "grace_seconds")
        self._schedule: dict[str, Any] = {name: details.pop(name) for name in schedule if name in details}

    def opening(self, lenient: bool) -> Pending[Any]:
        agent = self._details.get("agent")
        return Pending(pulse_ping(self.target, "start", lenient, run_id=self.run_id, agent=agent, **self._schedule))

    def closing(self, error: BaseException | None, lenient: bool) -> Pending[Any]:
        went_well, what = status_of(error)
        said = {"duration_seconds": self.seconds, **self._details, **self._schedule, "run_id": self.run_id}
        if not went_well:
            said["error"] = what
            return Pending(pulse_ping(self.target, "fail", lenient, **said))
        if "status" not in (said.get("payload") or {}):
            # Else the pulse's keywords would be looked for in what is sent.
            said.setdefault("status", "success")
        return Pending(pulse_ping(self.target, "ping", lenient, **said))


class ProcessRun(Visit):
    """A run of a process hook: start, then finish or fail. `run_id` is known once the start was answered."""

    def __init__(self, reporter: Reporter, hook: str, details: dict[str, Any]) -> None:
        super().__init__(reporter, details)
        self.hook = hook
        self._link = StartLink()

    @property
    def run_id(self) -> str | None:
        return self._link.id

    def opening(self, lenient: bool) -> Pending[Any]:
        return Pending(process_ping(self.hook, "start", lenient, agent=self._details.get("agent")), self._link)

    def closing(self, error: BaseException | None, lenient: bool) -> Pending[Any]:
        went_well, what = status_of(error)
        said = {"duration_seconds": self.seconds, **self._details}
        if not went_well:
            said["error"] = what
        return Pending(process_ping(self.hook, "finish" if went_well else "fail", lenient, **said), EndLink(self._link))


class StageVisit(Visit):
    """A stage that is being worked on: announced when it begins, healthy or failed when it ends."""

    def __init__(self, run: WorkflowRun | None, path: str | int, details: dict[str, Any]) -> None:
        super().__init__(run.reporter if run is not None else None, details)
        self.path = str(path)
        self._run = run

    def opening(self, lenient: bool) -> Pending[Any] | None:
        if self._run is None or not self._run.announces:
            return None
        said: dict[str, Any] = {name: self._details[name] for name in ("agent", "name") if name in self._details}
        return self._run.ping(self.path, {**said, "status": "started"}, lenient)

    def closing(self, error: BaseException | None, lenient: bool) -> Pending[Any] | None:
        if self._run is None:
            return None
        went_well, what = status_of(error)
        said = {"duration_seconds": self.seconds, **self._details}
        if not went_well:
            self._run.failed_by(error)
            said |= {"status": "failed", "error": what}
        return self._run.ping(self.path, said, lenient)


class WorkflowRun(Visit):
    """A run of a workflow. It is opened by its first stage, and `instance_id` is known once that was answered."""

    def __init__(
        self,
        reporter: Reporter,
        workflow_id: str,
        kind: Kind,
        *,
        agent: str | None,
        instance_id: str | None,
        announces: bool,
    ) -> None:
        super().__init__(reporter, {"agent": agent})
        self.workflow_id = workflow_id
        self.announces = announces
        self._kind = kind
        self._link: Link = InstanceLink(kind, instance_id)
        self._is_completed = False
        self._failure: BaseException | None = None

    @property
    def instance_id(self) -> str | None:
        return self._link.id

    def stage(self, path: str | int, **details: Unpack[StageDetails]) -> Scope[StageVisit]:
        """A stage of this run, for `with`, `async with`, or as a decorator."""
        return Scope(lambda: StageVisit(self, path, dict(details)))

    def ping(self, path: str, details: dict[str, Any], lenient: bool) -> Pending[Any]:
        """A ping of this run."""
        said = {"agent": self._details["agent"], **details}
        if said.get("final") and said.get("status") != "started":
            self._is_completed = True
        return Pending(stage_ping(self.workflow_id, path, self._kind, lenient, **said), self._link)

    def failed_by(self, error: BaseException | None) -> None:
        """A stage has failed and was reported: the same error need not be reported again."""
        self._failure = error

    def opening(self, lenient: bool) -> Pending[Any] | None:
        return None

    def closing(self, error: BaseException | None, lenient: bool) -> Pending[Any] | None:
        went_well, what = status_of(error)
        failure, self._failure = self._failure, None
        said = {"duration_seconds": self.seconds, **self._details}
        if not went_well:
            if error is failure:
                return None
            return self.ping(RUN_STAGE, said | {"status": "failed", "error": what}, lenient)
        if self._kind == "static" or self._is_completed:
            return None
        return self.ping(RUN_STAGE, said | {"final": True}, lenient)


class Workflow:
    """A workflow that is to be run. Made by `client.workflow(...)`."""

    def __init__(self, workflow_id: str, kind: Kind, reporter: Reporter, agent: str | None) -> None:
        if kind not in ("static", "dynamic"):
            raise ValueError(f"a workflow is static or dynamic, not {kind!r}")
        self.workflow_id = workflow_id
        self._kind = kind
        self._reporter = reporter
        self._agent = agent

    def start(self, instance_id: str | None = None, *, announce: bool = True) -> Scope[WorkflowRun]:
        """A new run or, with `instance_id`, one that exists, such as a rerun. Stages are announced when they begin,
        unless `announce` is false."""
        return Scope(
            lambda: WorkflowRun(
                self._reporter,
                self.workflow_id,
                self._kind,
                agent=self._agent,
                instance_id=instance_id,
                announces=announce,
            )
        )


def stage(path: str | int, **details: Unpack[StageDetails]) -> Scope[StageVisit]:
    """A stage of whichever run the caller is in, for `with`, `async with`, or as a decorator of functions that are
    defined before there is a run. Outside of any run, nothing is reported."""
    return Scope(lambda: StageVisit(innermost(WorkflowRun), path, dict(details)))


def current_stage() -> StageVisit | None:
    """The stage that the caller is in, so that a decorated function can `add` to it; None outside of any."""
    return innermost(StageVisit)
