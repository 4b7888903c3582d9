"""Which instance a ping belongs to, and whether it opens one."""

from dataclasses import replace
from typing import Any

import pytest

from domain.instances import InstanceStatus
from domain.pings import PingStatus
from domain.reports import LastReport
from domain.routing import (
    Candidate,
    CreateAndOpen,
    External,
    Join,
    KeepEarly,
    Open,
    Refuse,
    Repeat,
    Request,
    Route,
    predicted_status,
    route,
)
from domain.workflows import WorkflowDefinition, WorkflowKind
from tests.domain.builders import FAILED, HEALTHY, PENDING, at, dynamic, ping, static, strict

RUNNING, COMPLETED, FAILED_RUN = InstanceStatus.RUNNING, InstanceStatus.COMPLETED, InstanceStatus.FAILED
DYNAMIC, STATIC = dynamic(), static(None, None, None)
STRICT_DYNAMIC, STRICT_STATIC = strict(DYNAMIC), strict(STATIC)
OPEN = Candidate("d1", RUNNING)
LACKS_FIRST = Candidate("s1", RUNNING, first_stage_seen=False)
IN_GRACE = Candidate("s2", COMPLETED, closes_at=at(60))
FAILED_IN_GRACE = Candidate("s3", FAILED_RUN, closes_at=at(60))
CLOSED = Candidate("d9", COMPLETED, closes_at=at(-1))


def request(path: str, kind: WorkflowKind, *, start: bool = False, instance_id: str | None = None) -> Request:
    return Request("flow", kind, ping(path), start, instance_id)


def named(path: str = "1", *, kind: WorkflowKind = WorkflowKind.DYNAMIC, **rest: Any) -> Request:
    """A ping of the external id x."""
    start = rest.pop("start", False)
    return Request("flow", kind, ping(path, **rest), start, external=External("x"))


def reported(kind: WorkflowKind, status: PingStatus = HEALTHY, *, second: float = 0) -> Request:
    """A report of a whole run that has ended so many seconds after noon."""
    return Request("flow", kind, ping("run", status=status), external=External("x", ended_at=at(second), is_whole=True))


RUN = WorkflowDefinition("flow", "account", WorkflowKind.RUN)
TERMINATED = Candidate("d8", InstanceStatus.TERMINATED, closes_at=at(-1))
STRICT_CLOSED = replace(CLOSED, is_strict=True)
FAILED_AT_NOON = replace(CLOSED, report=LastReport(FAILED, at(0)))
HEALED_AT_NOON = replace(CLOSED, report=LastReport(HEALTHY, at(0)))


@pytest.mark.parametrize(
    ("sent", "definition", "known", "answer"),
    [
        (named(), DYNAMIC, None, Open()),
        (named("2"), DYNAMIC, None, Open()),
        (named("2"), DYNAMIC, OPEN, Join("d1")),
        (named(start=True), DYNAMIC, OPEN, Join("d1")),
        (named("2"), DYNAMIC, CLOSED, Join("d9")),
        (named(start=True), None, None, CreateAndOpen()),
        (named("2", kind=WorkflowKind.STATIC), STATIC, LACKS_FIRST, Join("s1")),
        (named("2", kind=WorkflowKind.STATIC), STATIC, None, Open()),
        (reported(WorkflowKind.RUN), RUN, None, Open()),
        (reported(WorkflowKind.RUN), RUN, FAILED_AT_NOON, Join("d9")),
        (reported(WorkflowKind.RUN), RUN, HEALED_AT_NOON, Repeat()),
        (reported(WorkflowKind.RUN, FAILED), RUN, FAILED_AT_NOON, Repeat()),
        (reported(WorkflowKind.RUN, FAILED, second=1), RUN, FAILED_AT_NOON, Join("d9")),
        (reported(WorkflowKind.RUN, FAILED, second=1), RUN, HEALED_AT_NOON, Join("d9")),
        (reported(WorkflowKind.STATIC), STATIC, None, Open()),
    ],
)
def test_pings_of_an_external_id(
    sent: Request, definition: WorkflowDefinition | None, known: Candidate | None, answer: Route
) -> None:
    """The workflow's current instance is nothing to them."""
    for newest in (None, OPEN, IN_GRACE):
        assert route(sent, definition, newest, known) == answer


@pytest.mark.parametrize(
    ("sent", "definition", "known", "code"),
    [
        (named("2"), None, None, "not_found"),
        (named("2"), DYNAMIC, TERMINATED, "instance_closed"),
        (named("2"), STRICT_DYNAMIC, STRICT_CLOSED, "instance_closed"),
        (reported(WorkflowKind.DYNAMIC), STRICT_DYNAMIC, None, "invalid_request"),
        (reported(WorkflowKind.RUN), None, None, "not_found"),
        (reported(WorkflowKind.DYNAMIC), RUN, None, "invalid_request"),
        (request("1", WorkflowKind.DYNAMIC, start=True), RUN, None, "invalid_request"),
        (request("1", WorkflowKind.STATIC), RUN, None, "invalid_request"),
    ],
)
def test_pings_of_an_external_id_that_are_refused(
    sent: Request, definition: WorkflowDefinition | None, known: Candidate | None, code: str
) -> None:
    assert refusal(route(sent, definition, OPEN, known)) == (code, False)


def refusal(answer: Route) -> tuple[str, bool]:
    assert isinstance(answer, Refuse), answer
    return answer.error.code, answer.journaled


@pytest.mark.parametrize(
    ("definition", "newest", "path", "start", "answer"),
    [
        (None, None, "1", True, CreateAndOpen()),
        (DYNAMIC, None, "1", True, Open()),
        (DYNAMIC, OPEN, "1", True, Open()),
        (DYNAMIC, OPEN, "1", False, Join("d1")),
        (DYNAMIC, IN_GRACE, "7", False, Join("s2")),
        (DYNAMIC, None, "1", False, KeepEarly()),
        (STRICT_DYNAMIC, None, "1", True, Open()),
        (STRICT_DYNAMIC, OPEN, "5", False, Join("d1")),
    ],
)
def test_dynamic_pings(
    definition: WorkflowDefinition | None, newest: Candidate | None, path: str, start: bool, answer: Route
) -> None:
    assert route(request(path, WorkflowKind.DYNAMIC, start=start), definition, newest, None) == answer


@pytest.mark.parametrize(
    ("definition", "newest", "path", "answer"),
    [
        (STATIC, None, "1", Open()),
        (STATIC, None, "2", Open()),
        (STATIC, OPEN, "1", Open()),
        (STATIC, LACKS_FIRST, "1", Join("s1")),
        (STATIC, LACKS_FIRST, "3", Join("s1")),
        (STATIC, OPEN, "2", Join("d1")),
        (STATIC, IN_GRACE, "2", Join("s2")),
        (STATIC, IN_GRACE, "1", Open()),
        (STATIC, FAILED_IN_GRACE, "2", Join("s3")),
        (STRICT_STATIC, None, "1", Open()),
        (STRICT_STATIC, OPEN, "2", Join("d1")),
        (STRICT_STATIC, IN_GRACE, "2", Join("s2")),
    ],
)
def test_static_pings(definition: WorkflowDefinition, newest: Candidate | None, path: str, answer: Route) -> None:
    assert route(request(path, WorkflowKind.STATIC), definition, newest, None) == answer


@pytest.mark.parametrize(
    ("definition", "asked", "code", "journaled"),
    [
        (None, request("1", WorkflowKind.DYNAMIC), "not_found", False),
        (None, request("1", WorkflowKind.STATIC), "not_found", False),
        (None, request("1", WorkflowKind.DYNAMIC, start=True, instance_id="d5"), "not_found", False),
        (DYNAMIC, request("1", WorkflowKind.STATIC), "invalid_request", False),
        (STATIC, request("1", WorkflowKind.DYNAMIC, start=True), "invalid_request", False),
        (DYNAMIC, request("1", WorkflowKind.DYNAMIC, instance_id="d5"), "not_found", False),
        (STRICT_DYNAMIC, request("1", WorkflowKind.DYNAMIC), "no_open_instance", True),
        (STRICT_STATIC, request("2", WorkflowKind.STATIC), "no_open_instance", True),
        (STRICT_DYNAMIC, request("2", WorkflowKind.DYNAMIC, start=True), "stage_missed", True),
    ],
)
def test_pings_that_belong_nowhere(
    definition: WorkflowDefinition | None, asked: Request, code: str, journaled: bool
) -> None:
    assert refusal(route(asked, definition, None, None)) == (code, journaled)


def test_a_strict_opener_names_its_agent() -> None:
    nameless = Request("flow", WorkflowKind.DYNAMIC, ping("1", agent=None), start=True)
    assert refusal(route(nameless, STRICT_DYNAMIC, None, None)) == ("agent_required", True)
    assert route(nameless, DYNAMIC, None, None) == Open()


def test_a_named_instance_is_joined_until_it_closes() -> None:
    asked = request("2", WorkflowKind.DYNAMIC, instance_id="s2")
    assert route(asked, DYNAMIC, OPEN, IN_GRACE) == Join("s2")
    assert refusal(route(asked, DYNAMIC, OPEN, CLOSED)) == ("instance_closed", False)


@pytest.mark.parametrize(
    ("current", "status", "final", "predicted"),
    [
        (RUNNING, HEALTHY, False, RUNNING),
        (InstanceStatus.PENDING, HEALTHY, False, RUNNING),
        (RUNNING, HEALTHY, True, COMPLETED),
        (RUNNING, PENDING, True, RUNNING),
        (RUNNING, FAILED, False, FAILED_RUN),
        (RUNNING, FAILED, True, FAILED_RUN),
        (COMPLETED, HEALTHY, False, COMPLETED),
        (FAILED_RUN, HEALTHY, True, FAILED_RUN),
    ],
)
def test_the_status_as_far_as_one_ping_tells(
    current: InstanceStatus, status: PingStatus, final: bool, predicted: InstanceStatus
) -> None:
    assert predicted_status(current, ping("1", 0, status, final=final)) is predicted
