"""Which instance a ping belongs to, and whether it opens one."""

import pytest

from domain.instances import InstanceStatus
from domain.pings import PingStatus
from domain.routing import (
    Candidate,
    CreateAndOpen,
    Join,
    KeepEarly,
    Open,
    Refuse,
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
