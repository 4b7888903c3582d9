"""The lines that were crossed, as they are listed."""

from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import update

from api.pages import encode_cursor
from config.clock import utc_now
from storage.accounts import Account
from storage.base import Sessions, transaction
from storage.cost_alerts import CostAlert
from tests.api.budget_calls import budgeted, cost_alerts, spend
from tests.api.calls import Calls
from tests.api.test_errors import fields, problem


async def test_cost_alerts_are_as_in_the_reference(mine: Calls) -> None:
    workflow_id = await budgeted(mine, budget_limit_usd=100, budget_action="terminate")
    instance_id = (await spend(mine, workflow_id, "1", "105.50", start="yes"))["instance_id"]
    (alert,) = await cost_alerts(mine, workflow_id)
    assert isinstance(alert.pop("id"), int)
    assert datetime.fromisoformat(alert.pop("created_at")) <= utc_now()
    assert alert == {
        "alert_type": "budget_exceeded",
        "instance_id": instance_id,
        "current_cost_usd": Decimal("105.5"),
        "threshold_usd": 100,
        "action_taken": "terminate",
        "message": "Instance cost $105.50 exceeds budget limit $100.00",
    }
    assert await cost_alerts(mine, await mine.define()) == []


async def test_cost_alerts_of_the_last_days_page_by_page(mine: Calls, sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        await session.execute(
            update(Account).where(Account.id == mine.account_id).values(time_zone="Pacific/Kiritimati")
        )
    workflow_id = await budgeted(mine, budget_limit_usd=1)
    instances = [(await spend(mine, workflow_id, "1", 2, start="yes"))["instance_id"] for _ in range(5)]
    path = f"/api/workflows/{workflow_id}/cost-alerts"
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await mine.get(path, limit=2, cursor=cursor)
        seen += [alert["instance_id"] for alert in page["alerts"]]
        cursor = page["next_cursor"]
    assert seen == instances[::-1]
    today_since = utc_now() + timedelta(hours=14)
    today_since = today_since.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(hours=14)
    async with transaction(sessions) as session:
        # One at the first moment of their yesterday, one just before it.
        for instance_id, at in zip(instances, (timedelta(days=1), timedelta(days=1, microseconds=1)), strict=False):
            alert = update(CostAlert).where(CostAlert.instance_id == instance_id)
            await session.execute(alert.values(created_at=today_since - at))
    assert [len(await cost_alerts(mine, workflow_id, days=days)) for days in (1, 2, 3)] == [3, 4, 5]
    wrong: list[dict[str, str]] = [{"days": "0"}, {"days": "3661"}, {"limit": "0"}, {"limit": "101"}, {"cursor": "x"}]
    # Of another list, and one that no list has given.
    wrong += [{"cursor": encode_cursor(utc_now(), id_)} for id_ in (workflow_id, "9" * 30)]
    for params in wrong:
        assert fields(problem(await mine.http.get(path, params=params), 400, "invalid_request")) == list(params)
