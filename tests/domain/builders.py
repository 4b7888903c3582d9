"""Short ways to say what happened to an instance, and random ones."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from domain.instances import InstanceState, merge
from domain.pings import PingFact, PingStatus
from domain.workflows import StageDefinition, ValidationMode, WorkflowDefinition, WorkflowKind

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
HEALTHY, FAILED, PENDING = PingStatus.HEALTHY, PingStatus.FAILED, PingStatus.PENDING

properties = settings(max_examples=60, deadline=None, derandomize=True, database=None)
"""The same examples in every run: what fails here fails everywhere."""


def at(seconds: float) -> datetime:
    """So many seconds after noon, when every instance opens."""
    return NOON + timedelta(seconds=seconds)


def ping(path: str, seconds: float = 0, status: PingStatus = HEALTHY, *, id_: int = 0, **values: Any) -> PingFact:
    """Its id is made of the time, unless it is given: later pings have greater ones."""
    fields = {"gateway": 1, "agent": "ada", **values}
    return PingFact(id=id_ or round(seconds * 1000) + 1, path=path, status=status, at=at(seconds), **fields)


def dynamic(**rules: Any) -> WorkflowDefinition:
    return WorkflowDefinition("flow", "account", WorkflowKind.DYNAMIC, **{"idle_timeout_seconds": None, **rules})


def static(*timeouts: float | None, **rules: Any) -> WorkflowDefinition:
    """One stage for each timeout, named a, b, c and so on."""
    stages = tuple(
        StageDefinition(order, chr(ord("a") + order - 1), timeout) for order, timeout in enumerate(timeouts, 1)
    )
    rules = {"idle_timeout_seconds": None, "stages": stages, **rules}
    return WorkflowDefinition("flow", "account", WorkflowKind.STATIC, **rules)


def strict(definition: WorkflowDefinition) -> WorkflowDefinition:
    return WorkflowDefinition(**{**vars(definition), "validation_mode": ValidationMode.STRICT})


def instance(definition: WorkflowDefinition, *pings: PingFact) -> InstanceState:
    return merge(InstanceState("d12345678", definition, NOON), pings)


paths = st.sampled_from(["1", "2", "3", "1.1", "1.2", "2.1", "2.1.1", "3.1", "done", "dag_complete"])
definitions = st.sampled_from(
    [
        dynamic(),
        dynamic(stage_timeout_seconds=20.0, instance_timeout_seconds=70.0),
        dynamic(idle_timeout_seconds=15.0, grace_period_seconds=10.0),
        static(None, None, None),
        static(None, 10.0, 30.0, stage_timeout_seconds=25.0, grace_period_seconds=20.0),
    ]
)


@st.composite
def histories(draw: st.DrawFn, most: int = 12) -> list[PingFact]:
    """Pings with ids of their own, in the order of their ids, several of them at the same time."""
    count = draw(st.integers(0, most))
    return [
        ping(
            draw(paths),
            draw(st.integers(0, 40)),
            draw(st.sampled_from(PingStatus)),
            id_=id_,
            gateway=draw(st.integers(1, 2)),
            agent=draw(st.sampled_from([None, "ada", "bob"])),
            name=draw(st.sampled_from([None, "Ingest", "Train"])),
            error=draw(st.sampled_from([None, "out of memory"])),
            final=draw(st.booleans()),
        )
        for id_ in range(1, count + 1)
    ]


def shuffled(pings: Sequence[PingFact]) -> st.SearchStrategy[list[PingFact]]:
    return st.permutations(pings)
