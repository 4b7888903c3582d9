"""The plot of costs and its numbers: the sums are those of the API, and what is not known is told as such."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from api.dashboard import costs
from api.dashboard.numbers import count, money
from config.clock import utc_now
from storage.base import Sessions, transaction
from tests.api.calls import Calls, new_id
from tests.dashboard.test_stacks import FIRST
from tests.support.dashboard import Screen, Site

HOSTILE = "<script>alert(1)</script>\u202e" + "y" * 200
GROUPS = ("day", "model", "workflow", "agent", "stage")


async def spend(calls: Calls, workflow_id: str, stage: str, **body: Any) -> str:
    return str((await calls.post(f"/dhk/{workflow_id}", body, stagePath=stage, start="yes"))["instance_id"])


async def spread(sessions: Sessions, site: Site, days: int) -> None:
    """Moves what was spent so many days into the past."""
    async with transaction(sessions) as session:
        for table, mine in (
            ("cost_rollups", "account_id = :account"),
            ("instance_costs", "workflow_id IN (SELECT id FROM workflows WHERE account_id = :account)"),
        ):
            query = f"UPDATE {table} SET day = day - :days WHERE {mine}"
            await session.execute(text(query), {"account": site.account_id, "days": days})


async def some_costs(calls: Calls) -> str:
    """Two models with costs, one without a price. The workflow."""
    workflow_id = new_id()
    usage = {"input_tokens": 1000, "output_tokens": 200, "cached_tokens": 250}
    await spend(calls, workflow_id, "1", cost_usd=1.25, model_id="model-a", usage=usage, agent="ada")
    await spend(calls, workflow_id, "2", cost_usd=0.75, model_id="model-b", agent="bob")
    await spend(calls, workflow_id, "2", cost_usd=0.004, model_id="model-b", agent="bob")
    await spend(calls, workflow_id, "3", model_id="nobody-knows-it", usage=usage, agent="ada")
    await calls.post(f"/hbk/{new_id('pulse')}", {"cost_usd": 0.5}, create=1)
    return workflow_id


def total_row(screen: Screen) -> list[str]:
    row = screen.main.select_one("table.groups tfoot tr")
    assert row is not None
    return [" ".join(cell.get_text(" ").split()) for cell in row.find_all(["th", "td"])]


def figures(screen: Screen) -> dict[str, str]:
    return {
        " ".join(one.dt.get_text().split()): " ".join(one.dd.get_text(" ").split())
        for one in screen.main.select("dl.figures .figure")
        if one.dt is not None and one.dd is not None
    }


async def test_an_account_without_costs_is_told_how_they_come(fresh: Site) -> None:
    screen = await fresh.open("/costs")
    assert screen.status == 200
    assert "Nothing was spent in these days" in screen.text


async def test_sums_are_those_of_the_api_by_whatever_they_are_grouped(fresh: Site, fresh_calls: Calls) -> None:
    await some_costs(fresh_calls)
    for group in GROUPS:
        report = await fresh_calls.get("/api/costs", group_by=group)
        total = report["total"]
        assert total["cost_usd"] == pytest.approx(2.504)
        screen = await fresh.open(f"/costs?group_by={group}")
        name, cost, _, pings, unpriced, tokens_in, tokens_out, cached = total_row(screen)
        assert (name, cost, pings) == ("Total", money(str(total["cost_usd"])), count(total["pings"]))
        assert (unpriced, tokens_in) == (count(total["unpriced_pings"]), count(total["input_tokens"]))
        assert (tokens_out, cached) == (count(total["output_tokens"]), count(total["cached_tokens"]))
        shown = [(row[1], row[3], row[4]) for row in screen.rows("table.groups")]
        assert shown == [
            (
                money(str(one["cost_usd"])) if one["cost_usd"] is not None else "not known",
                count(one["pings"]),
                count(one["unpriced_pings"]),
            )
            for one in report["groups"]
        ]
        exact = [str(span["title"]) for span in screen.main.select("table.groups tfoot span[title]")]
        assert exact == ["$2.504"]
    assert figures(screen)["Total"] == "$2.50 and what 1 unpriced ping cost"
    assert figures(screen)["Unpriced"] == "20 % of 5 pings"
    assert figures(screen)["Tokens in"] == "2,000 25 % from a cache"


async def test_what_nobody_knows_is_never_shown_as_nothing(fresh: Site, fresh_calls: Calls) -> None:
    await spend(fresh_calls, new_id(), "1", model_id="nobody-knows-it", usage={"input_tokens": 9})
    screen = await fresh.open("/costs?group_by=model")
    assert figures(screen)["Total"] == "not known"
    assert [row[:2] for row in screen.rows("table.groups")] == [["A nobody-knows-it", "not known"]]
    assert screen.links["Set prices"] == "/settings/prices"
    assert screen.main.select("svg circle.not-known title")
    assert "$0" not in " ".join(cell for row in screen.rows("table.groups") for cell in row)


async def test_the_plot_has_a_bar_for_each_and_others_together(fresh: Site, fresh_calls: Calls) -> None:
    workflow_id = new_id()
    for number in range(10):
        await spend(fresh_calls, workflow_id, "1", cost_usd=10 - number, agent=f"agent-{number}")
    screen = await fresh.open("/costs?group_by=agent&days=7")
    names = [" ".join(one.get_text(" ").split()) for one in screen.main.select(".legend li")]
    assert names == [*(f"{letter} agent-{number}" for number, letter in enumerate("ABCDEFGH")), "+ All others"]
    titles = [title.get_text() for title in screen.main.select("svg.bars rect title")]
    assert [title.split("· ")[1] for title in titles[:2]] == ["A agent-0: $10.00", "B agent-1: $9.00"]
    assert titles[-1].endswith("+ All others: $3.00")
    picture = screen.main.select_one("svg.bars")
    assert picture is not None
    assert "$55.00 in all" in picture["aria-label"]
    assert "$55.00" in screen.rows("#by-day table")[0]


async def test_more_groups_than_lines_are_summed_up(
    fresh: Site, fresh_calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "ROWS", 3)
    workflow_id = new_id()
    for number in range(5):
        await spend(fresh_calls, workflow_id, "1", cost_usd=number + 1, agent=f"agent-{number}")
    screen = await fresh.open("/costs?group_by=agent")
    rows = screen.rows("table.groups")
    assert [row[0] for row in rows] == ["A agent-4", "B agent-3", "C agent-2", "+ All others"]
    assert rows[-1][1] == "$3.00"
    assert total_row(screen)[1] == "$15.00"


async def test_periods(fresh: Site, fresh_calls: Calls, sessions: Sessions) -> None:
    await some_costs(fresh_calls)
    await spread(sessions, fresh, 40)
    assert "Nothing was spent" in (await fresh.open("/costs")).text
    screen = await fresh.open("/costs?days=90&group_by=model")
    assert total_row(screen)[1] == "$2.50"
    last = (utc_now() - timedelta(days=20)).date()
    first = last - timedelta(days=30)
    screen = await fresh.open(f"/costs?from={first}&to={last}&group_by=model")
    assert total_row(screen)[1] == "$2.50"
    assert screen.links["Download CSV"] == f"/api/costs?group_by=model&from={first}&to={last}&format=csv"
    csv = await fresh.http.get(screen.links["Download CSV"])
    assert csv.headers["content-type"].startswith("text/csv")
    long = await fresh.open(f"/costs?from={last - timedelta(days=900)}&to={last}")
    assert total_row(long)[1] == "$2.50"


@pytest.mark.parametrize(
    "query", ["from=yesterday", "from=2026-03-02&to=2026-03-01", "from=1000-01-01", f"from=2000-01-01&to={FIRST}"]
)
async def test_a_wrong_period_is_told_and_the_usual_one_shown(fresh: Site, query: str) -> None:
    screen = await fresh.open(f"/costs?{query}")
    assert screen.status == 400
    assert screen.said
    assert (await fresh.open("/costs?group_by=nothing&days=never")).status == 200


async def test_the_dearest_runs_and_what_a_run_costs(fresh: Site, fresh_calls: Calls) -> None:
    workflow_id = new_id()
    cheap = await spend(fresh_calls, workflow_id, "1", cost_usd=1)
    dear = await spend(fresh_calls, workflow_id, "1", cost_usd=4)
    screen = await fresh.open("/costs")
    cost = await fresh_calls.get(f"/api/workflows/{workflow_id}/cost", days=30)
    assert figures(screen)["Per run"] == f"{money(str(cost['average_cost_per_instance_usd']))} 2 runs"
    listed = [link.get_text() for link in screen.main.select("a.mono")]
    assert listed == [dear, cheap]


async def test_hostile_names_stay_words(fresh: Site, fresh_calls: Calls) -> None:
    workflow_id = new_id()
    await spend(fresh_calls, workflow_id, "1", cost_usd=1, model_id=HOSTILE, agent=HOSTILE)
    await spend(fresh_calls, workflow_id, "1", model_id=HOSTILE + "z", usage={"input_tokens": 1}, agent=HOSTILE + "2")
    for group in GROUPS:
        screen = await fresh.open(f"/costs?group_by={group}")
        assert screen.status == 200
        assert "<script>alert" not in screen.response.text
        assert "\u202e" not in screen.response.text


async def test_another_account_and_viewers(site: Site, viewer: Site, calls: Calls, fresh: Site) -> None:
    await spend(calls, new_id(), "1", cost_usd=3.21)
    assert "$3.21" in (await viewer.open("/costs")).text
    assert "$3.21" not in (await fresh.open("/costs")).text
