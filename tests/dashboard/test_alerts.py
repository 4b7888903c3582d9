"""Alerts and their delivery log, as people see them."""

import pytest
from sqlalchemy import select

from config.clock import utc_now
from domain.alerts import Alert, AlertKind
from domain.instance_alerts import INSTANCE_FAILED, INSTANCE_RECOVERED, STAGE_FAILED
from storage.alerts import AlertRow, raise_alerts
from storage.base import Sessions, transaction
from tests.api.calls import Calls, new_id
from tests.support.dashboard import Screen, Site, site_of
from tests.support.waiting import until


async def silent(sessions: Sessions, account_id: str, *kinds: AlertKind, title: str = "Etl failed") -> list[str]:
    """Ids of alerts of one trouble that nobody is told of, because there is no channel."""
    source, now = f"workflow/{new_id()}", utc_now()
    async with transaction(sessions) as session:
        for number, kind in enumerate(kinds):
            key = f"{source}/{number}"
            alert = Alert(kind, account_id, source, f"instance/{source[9:]}/d1", "etl", title, source, key, now, "why")
            await raise_alerts(session, [alert], now)
    async with sessions() as session:
        query = select(AlertRow.id).where(AlertRow.source == source).order_by(AlertRow.dedupe_key)
        return list(await session.scalars(query))


async def shows(site: Site, path: str, words: str) -> Screen:
    async def has_them() -> Screen | None:
        screen = await site.open(path)
        return screen if words in screen.text else None

    screen: Screen = await until(has_them)
    return screen


async def test_without_any_it_says_what_would_be_here(fresh: Site) -> None:
    screen = await fresh.open("/alerts")
    assert "No alerts yet" in screen.text
    assert screen.links["Add a channel, to be told"] == "/channels/new"


async def test_the_list_has_each_with_why_nobody_was_told(fresh: Site, sessions: Sessions) -> None:
    failed, _ = await silent(sessions, fresh.account_id, INSTANCE_FAILED, INSTANCE_RECOVERED)
    screen = await shows(fresh, "/alerts", "no channel is attached")
    assert {row[0] for row in screen.rows()} == {"Critical", "Good end"}
    assert screen.main.select_one(f'a[href="/alerts/{failed}"]')


@pytest.mark.parametrize(
    ("query", "count"),
    [("severity=error", 1), ("severity=critical", 1), ("state=held", 0), ("severity=nonsense", 2), ("source=x", 0)],
)
async def test_the_list_can_be_filtered(fresh: Site, sessions: Sessions, query: str, count: int) -> None:
    await silent(sessions, fresh.account_id, STAGE_FAILED, INSTANCE_FAILED)
    screen = await fresh.open(f"/alerts?{query}")
    assert len(screen.main.select("tbody tr")) == count
    assert count or "No alert fits" in screen.text


async def test_it_pages_and_keeps_the_filter(fresh: Site, sessions: Sessions) -> None:
    for _ in range(6):
        await silent(sessions, fresh.account_id, *[STAGE_FAILED] * 9)
    first = await fresh.open("/alerts?severity=error")
    assert len(first.rows()) == 50
    second = await fresh.open(first.links["Older"])
    assert "severity=error" in first.links["Older"]
    assert len(second.rows()) == 4
    assert second.links["Back to the newest"] == "/alerts?severity=error"


async def test_one_alert_with_its_trouble(fresh: Site, sessions: Sessions) -> None:
    failed, recovered = await silent(sessions, fresh.account_id, INSTANCE_FAILED, INSTANCE_RECOVERED)
    screen = await shows(fresh, f"/alerts/{failed}", "Nobody:")
    assert "why" in screen.text
    assert screen.main.select_one(f'a[href="/alerts/{recovered}"]')
    assert "/instances/d1" in screen.links.values()


async def test_it_is_told_again_and_the_log_shows_what_came_of_it(
    fresh: Site, fresh_calls: Calls, sessions: Sessions
) -> None:
    (alert_id,) = await silent(sessions, fresh.account_id, INSTANCE_FAILED)
    path = f"/alerts/{alert_id}"
    await shows(fresh, path, "Nobody:")
    body = {"kind": "webhook", "name": "On call", "url": "http://127.0.0.1:9/hook"}
    channel = await fresh_calls.post("/api/channels", body, 201)
    refused = await fresh.submit(await fresh.open(path), f"{path}/redeliver")
    assert refused.status == 409
    assert "Name channels to tell" in refused.said
    told = await fresh.submit(refused, f"{path}/redeliver", channels=[channel["id"]])
    assert "It is being told again" in told.said
    logged = await shows(fresh, path, "attempt 1")
    assert "No connection" in logged.text
    assert logged.links["On call"] == f"/channels/{channel['id']}"


async def test_a_channel_of_nobody_is_refused_with_its_field(fresh: Site, sessions: Sessions) -> None:
    (alert_id,) = await silent(sessions, fresh.account_id, INSTANCE_FAILED)
    csrf = ("csrf_token", fresh.http.cookies["csrf_token"])
    screen = await fresh.post(f"/alerts/{alert_id}/redeliver", [csrf, ("channels", "chn_nobody")])
    assert screen.status == 400
    assert "there is no channel chn_nobody" in screen.said


async def test_titles_are_escaped(fresh: Site, sessions: Sessions) -> None:
    (alert_id,) = await silent(sessions, fresh.account_id, INSTANCE_FAILED, title="<script>x</script>" + "y" * 10_000)
    for path in ("/alerts", f"/alerts/{alert_id}"):
        screen = await fresh.open(path)
        assert screen.status == 200
        assert "<script>x" not in screen.response.text


async def test_strangers_and_viewers(site: Site, viewer: Site, quick_gateway: str, sessions: Sessions) -> None:
    (alert_id,) = await silent(sessions, site.account_id, INSTANCE_FAILED)
    async with site_of(quick_gateway, sessions) as stranger:
        assert (await stranger.open(f"/alerts/{alert_id}")).status == 403
        csrf = ("csrf_token", stranger.http.cookies["csrf_token"])
        assert (await stranger.post(f"/alerts/{alert_id}/redeliver", [csrf])).status == 403
    screen = await viewer.open(f"/alerts/{alert_id}")
    assert screen.status == 200
    assert not screen.main.select("form")
    csrf = ("csrf_token", viewer.http.cookies["csrf_token"])
    assert (await viewer.post(f"/alerts/{alert_id}/redeliver", [csrf])).status == 403
    assert (await site.open("/alerts/alr_nothing")).status == 404
