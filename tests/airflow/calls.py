"""What `pingpulse-airflow` 0.1.1 calls, in all its sorts, and what has to come of it.

tests/api/test_airflow.py makes these calls; real_airflow.py holds that they are those that the provider makes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

USER_AGENT = "pingpulse-airflow/0.1.0"
"""As it says; that is the version of its package but one."""

DAG = {"dag_id": "etl", "run_id": "scheduled__2026-01-02T00:00:00+00:00", "execution_date": "2026-01-02 00:00:00+00:00"}
TASK = DAG | {"task_id": "load", "try_number": 1}
DECORATED = {"task_name": "load", "duration": 12.345}
OF_A_CALLABLE = DECORATED | {"airflow": {"dag_id": "etl", "task_id": "load", "run_id": DAG["run_id"]}}
FAILED = {"status": "failed", "error": "no connection"}


@dataclass(frozen=True)
class Call:
    """A call with its key in the query. `becomes`: the status of the stage or the pulse afterwards."""

    what: str
    endpoint: str
    body: Mapping[str, Any]
    becomes: str = "healthy"
    stage: str = ""
    flags: Mapping[str, str] = field(default_factory=dict)

    @property
    def params(self) -> dict[str, str]:
        return ({"stagePath": self.stage} if self.stage else {}) | dict(self.flags)

    def path(self, target: str) -> str:
        return f"/hb/{target}/ping" if self.endpoint == "hb" else f"/{self.endpoint}/{target}"


def sort_of(endpoint: str, params: Mapping[str, str], body: Mapping[str, Any]) -> tuple[Any, ...]:
    """Calls of one sort differ in what they tell, and not in how."""
    stage = params.get("stagePath", "")
    flags = sorted(f"{name}={value}" for name, value in params.items() if name not in ("key", "stagePath"))
    return (
        endpoint,
        stage if stage.startswith("dag_") else "a stage" if stage else "",
        *flags,
        "task_name" in body,
        "error" in body,
        body.get("status"),
        tuple(sorted(body.get("airflow", ()))),
    )


def _calls() -> Iterator[Call]:
    start, final = {"start": "yes"}, {"final": "yes"}
    operator, good = {"rows": 1000, "duration": "None", "airflow": TASK}, {"status": "success"}
    decorated = DECORATED | good | {"result": {"records": 1000, "status": "failed", "nested": [{"é": None}]}}
    callback = good | {"airflow": TASK, "duration": 1.5, "team": "data"}
    for what, flags, stage in (("first", start, "1"), ("next", {}, "2.1"), ("last", final, "3")):
        yield Call(f"{what} operator", "dhk", operator, stage=stage, flags=flags)
        yield Call(f"{what} decorator", "dhk", decorated, stage=stage, flags=flags)
        yield Call(f"{what} success callback", "dhk", callback, stage=stage, flags=flags)
    for what, flags, stage in (("first", start, "1"), ("next", {}, "2.1")):
        yield Call(f"{what} decorator, failed", "dhk", DECORATED | FAILED, "failed", stage, flags)
        yield Call(f"{what} failure callback", "dhk", FAILED | {"airflow": TASK}, "failed", stage, flags)
    yield Call("operator without context", "dhk", {}, stage="2.1")
    yield Call("decorated callable", "dhk", OF_A_CALLABLE | good, stage="3", flags=final)
    yield Call("decorated callable, failed", "dhk", OF_A_CALLABLE | FAILED, "failed", "3")
    yield Call("retry callback", "dhk", FAILED | {"status": "up_for_retry", "airflow": TASK}, "pending", "2")
    for endpoint in ("dhk", "shk"):
        complete, failed = {"status": "dag_success", "airflow": DAG}, {"status": "dag_failed", "airflow": DAG}
        yield Call(f"DAG success to {endpoint}", endpoint, complete, stage="dag_complete", flags=final)
        yield Call(f"DAG failure to {endpoint}", endpoint, failed, "failed", "dag_failed")
    yield Call("static decorator", "shk", DECORATED | good, stage="1")
    for what, flags, stage in (("next", {}, "1"), ("last", final, "2")):
        yield Call(f"{what} static operator", "shk", operator, stage=stage, flags=flags)
        yield Call(f"{what} static success callback", "shk", good | {"airflow": TASK}, stage=stage, flags=flags)
    yield Call("static failure callback", "shk", FAILED | {"airflow": TASK}, "failed", "2")
    yield Call("heartbeat", "hb", {}, "up")
    yield Call("heartbeat with payload", "hb", {"rows": 1000, "duration": 1.5}, "up")
    yield Call("heartbeat, failed", "hb", FAILED, "down")


CALLS = tuple(_calls())
