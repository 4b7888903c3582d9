"""Runs to look at, and what their pages show."""

from typing import Any

from tests.api.calls import Calls, new_id
from tests.support.dashboard import Screen


async def agents_at_work(calls: Calls) -> tuple[str, str]:
    """A run of three agents: four steps, one of which has failed and one is going on."""
    workflow_id = new_id()

    async def ping(stage: str, body: object, **params: Any) -> str:
        answer = await calls.post(f"/dhk/{workflow_id}", body, stagePath=stage, **params)
        return str(answer["instance_id"])

    plan = {"cost_usd": 0.1, "handoff_reason": "plan ready", "duration_ms": 20}
    instance_id = await ping("1", plan, agent="planner", start="yes", stagename="Plan")
    await ping("2.1", {"cost_usd": 0.2, "lines": 12}, agent="coder", stagename="Write it")
    tests = {"cost_usd": 0.05, "status": "failed", "error": "2 of 48 tests failed"}
    await ping("2.2", tests, agent="tester", stagename="Test it")
    await ping("3", {"status": "pending"}, agent="coder")
    return workflow_id, instance_id


def stages_shown(screen: Screen) -> list[list[str]]:
    """The rows of the tree: stage, state, agent, duration, cost, and the lane."""
    return screen.rows(".gantt table")


def lane_of(screen: Screen, path: str) -> str:
    """What the lane of a stage says to who cannot see it."""
    for row in screen.main.select(".gantt tbody tr"):
        code = row.select_one("th code")
        if code is not None and code.get_text() == path:
            lane = row.select_one("svg.lane")
            assert lane is not None
            return str(lane["aria-label"])
    raise AssertionError(f"no stage {path} in: {screen.text}")
