"""Channels: adding each kind, testing, changing, and what they were told; secrets are written and never shown."""

import re

import pytest

from api.dashboard.channel_forms import KINDS
from domain.channels import ChannelKind
from storage.base import Sessions
from tests.api.calls import Calls
from tests.support.dashboard import Screen, Site, save_from_two_tabs, site_of
from tests.support.receivers import Answer, http_receiver
from tests.support.waiting import until

SLACK = "https://hooks.slack.com/services/T0000/B0000/topsecretvalue"
ADDRESSES = {
    "email": ("address", "ada@example.com"),
    "slack": ("url", SLACK),
    "discord": ("url", "https://discord.com/api/webhooks/1/topsecretvalue"),
    "pagerduty": ("address", "R0UT1NGK3Y0123456789abcdef"),
    "webhook": ("url", "https://example.com/hooks/topsecretvalue"),
    "apprise": ("url", "ntfys://ntfy.example.com/topsecretvalue"),
}


async def add(site: Site, kind: str = "slack", **values: str | list[str] | None) -> Screen:
    field, address = ADDRESSES[kind]
    page = await site.open(f"/channels/new?kind={kind}")
    return await site.submit(page, "/channels/new", **{"name": f"My {kind}", field: address, **values})


def channel_of(screen: Screen) -> str:
    found = re.search(r"/channels/(chn_\w+)", screen.response.text)
    assert found is not None
    return found[1]


async def test_without_any_it_says_what_would_be_here(fresh: Site) -> None:
    assert "Nobody is told yet" in (await fresh.open("/channels")).text


async def test_every_kind_can_be_chosen(site: Site) -> None:
    assert set(KINDS) == set(ChannelKind)
    screen = await site.open("/channels/new")
    assert {f"/channels/new?kind={kind}" for kind in ChannelKind} <= set(screen.links.values())
    assert "Europe/Berlin" in [
        str(zone["value"]) for zone in (await site.open("/channels/new?kind=email")).soup.select("#zones option")
    ]


@pytest.mark.parametrize("kind", ["email", "slack", "discord", "pagerduty", "apprise"])
async def test_each_kind_is_added_and_its_secret_is_not_shown(site: Site, kind: str) -> None:
    screen = await add(site, kind, default="yes", severity="error", tags="nightly, prod", messages_per_minute="3")
    assert screen.title == f"My {kind}"
    assert "The channel was added" in screen.said
    channel_id = channel_of(screen)
    for path in ("/channels", f"/channels/{channel_id}", f"/channels/{channel_id}/edit"):
        page = await site.open(path)
        assert "topsecretvalue" not in page.response.text
        assert "R0UT1NGK3Y0" not in page.response.text
    assert "From error on" in screen.text
    assert "3 messages a minute" in screen.text
    await site.submit(screen, f"/channels/{channel_id}/delete")


async def test_a_webhooks_signing_secret_is_shown_once(site: Site) -> None:
    screen = await add(site, "webhook")
    secret = re.search(r"whsec_[\w+/=]+", screen.text)
    assert secret is not None
    channel = await site.open(f"/channels/{channel_of(screen)}")
    assert secret[0] not in channel.response.text
    rotated = await site.submit(channel, f"/channels/{channel_of(channel)}/rotate-secret")
    assert "whsec_" in rotated.text
    assert secret[0] not in rotated.text
    assert "Former secret" in (await site.open(f"/channels/{channel_of(channel)}")).text


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"url": ""}, "url", "is needed for a channel of kind slack"),
        ({"url": "not a url"}, "url", "must not contain spaces"),
        ({"name": ""}, "name", "at least 1 character"),
        ({"messages_per_minute": "0"}, "messages_per_minute", "greater than or equal to 1"),
        ({"messages_per_minute": "many"}, "messages_per_minute", "valid integer"),
        ({"quiet": "yes", "quiet_hours__start": "25:00"}, "quiet_hours.start", "match pattern"),
        ({"quiet": "yes", "quiet_hours__timezone": "Nowhere/City"}, "quiet_hours", "is no time zone"),
        ({"quiet": "yes", "quiet_hours__end": "22:00"}, "quiet_hours", "start and end are the same"),
        ({"tags": "x" * 51}, "tags.0", "at most 50"),
    ],
)
async def test_what_is_refused_is_said_at_its_field(site: Site, values: dict[str, str], field: str, words: str) -> None:
    screen = await add(site, **values)
    assert screen.status == 400
    assert words in screen.said
    assert f"#f-{field.replace('.', '-')}" in screen.response.text
    if "name" not in values:
        assert 'value="My slack"' in screen.response.text


async def test_what_was_refused_keeps_what_was_typed(site: Site) -> None:
    screen = await add(site, url="x y", default="yes", quiet="yes", quiet_hours__start="21:30")
    form = screen.form("/channels/new")
    assert form.select_one('[name="default"][checked]')
    assert form.select_one('[name="quiet"][checked]')
    assert form.select_one('[name="quiet_hours.start"]')["value"] == "21:30"  # type: ignore[index]


async def test_quiet_hours_are_set_and_taken_away(site: Site) -> None:
    quiet = {"quiet": "yes", "quiet_hours__start": "23:00", "quiet_hours__end": "06:30"}
    screen = await add(site, quiet_hours__timezone="Europe/Berlin", **quiet)
    assert "23:00 to 06:30, Europe/Berlin" in screen.text
    path = f"/channels/{channel_of(screen)}/edit"
    changed = await site.submit(await site.open(path), path, quiet=None)
    assert "The channel was changed" in changed.said
    assert "23:00" not in changed.text


async def test_a_change_without_an_address_keeps_it(site: Site, calls: Calls) -> None:
    screen = await add(site, tags="a")
    channel_id = channel_of(screen)
    before = await calls.get(f"/api/channels/{channel_id}")
    path = f"/channels/{channel_id}/edit"
    await site.submit(await site.open(path), path, name="Renamed", tags="")
    after = await calls.get(f"/api/channels/{channel_id}")
    assert (after["name"], after["tags"], after["address"]) == ("Renamed", [], before["address"])
    refused = await site.submit(await site.open(path), path, name="")
    assert (refused.status, "name" in refused.said.lower()) == (400, True)
    moved = await site.submit(await site.open(path), path, url="https://hooks.slack.com/services/other9876")
    assert "9876" in moved.text


async def test_a_test_is_sent_and_the_log_shows_the_answer(site: Site) -> None:
    async with http_receiver() as receiver:
        receiver.answers[:] = [Answer(404, body=b"no such hook <script>")]
        screen = await add(site, "webhook", url=receiver.url())
        path = f"/channels/{channel_of(screen)}"
        sent = await site.submit(await site.open(path), f"{path}/test")
        assert "A test is on its way" in sent.said

        async def logged() -> Screen | None:
            page = await site.open(path)
            return page if "answered 404" in page.text else None

        page: Screen = await until(logged)
    assert "attempt 1" in page.text
    assert "<script>" not in page.main.decode_contents()
    assert page.soup.body is not None
    assert page.soup.body["data-live"] == "account"


async def test_the_log_pages(site: Site, calls: Calls) -> None:
    body = {"kind": "webhook", "name": "Busy", "url": "http://127.0.0.1:9/x"}
    channel = await calls.post("/api/channels", body, 201)
    for _ in range(22):
        await calls.post(f"/api/channels/{channel['id']}/test", {}, 202)
    first = await site.open(f"/channels/{channel['id']}")
    assert len(first.main.select("li.delivery")) == 20
    assert len((await site.open(first.links["Older"])).main.select("li.delivery")) == 2


async def test_what_it_is_attached_to(site: Site, calls: Calls) -> None:
    channel_id = channel_of(await add(site))
    pulse = {"name": "Robot <7>", "period_seconds": 60, "channels": [channel_id]}
    pulse_id = (await calls.post("/api/pulses", pulse, 201))["id"]
    assert (await site.open(f"/channels/{channel_id}")).links["Robot <7>"] == f"/pulses/{pulse_id}"


async def test_a_deleted_one_is_gone(site: Site) -> None:
    screen = await add(site)
    channel_id = channel_of(screen)
    gone = await site.submit(screen, f"/channels/{channel_id}/delete")
    assert "The channel was deleted" in gone.said
    assert (await site.open(f"/channels/{channel_id}")).status == 404


async def test_names_are_escaped(site: Site) -> None:
    screen = await add(site, name="<script>alert(1)</script>\u202e")
    assert screen.status == 200
    assert "<script>alert" not in screen.response.text
    assert "\u202e" not in screen.response.text
    assert (await add(site, name="x" * 10_000)).status == 400


async def test_strangers_and_viewers(site: Site, viewer: Site, quick_gateway: str, sessions: Sessions) -> None:
    channel_id = channel_of(await add(site))
    paths = [f"/channels/{channel_id}/{what}" for what in ("test", "delete", "edit", "rotate-secret")]
    async with site_of(quick_gateway, sessions) as stranger:
        csrf = ("csrf_token", stranger.http.cookies["csrf_token"])
        assert (await stranger.open(f"/channels/{channel_id}")).status == 403
        assert (await stranger.open(f"/channels/{channel_id}/edit")).status == 403
        assert {(await stranger.post(path, [csrf])).status for path in paths} == {403}
    csrf = ("csrf_token", viewer.http.cookies["csrf_token"])
    assert {(await viewer.post(path, [csrf])).status for path in (*paths, "/channels/new")} == {403}
    for path in ("/channels", f"/channels/{channel_id}", f"/channels/{channel_id}/edit", "/channels/new?kind=email"):
        page = await viewer.open(path)
        assert page.status == 200
        assert not [form for form in page.main.select("form") if form.get("method") == "post"]
    forged = await site.post(f"/channels/{channel_id}/delete", [("csrf_token", "wrong")])
    assert forged.status == 403


async def test_what_was_changed_in_another_tab_is_not_overwritten_unknowingly(site: Site, calls: Calls) -> None:
    path = f"/channels/{channel_of(await add(site, name='Before'))}"
    _, saved = await save_from_two_tabs(site, f"{path}/edit", ("name", "Renamed"), ("tags", "mine"))
    assert "The channel was changed" in saved.said
    after = await calls.get(f"/api{path}")
    assert (after["name"], after["tags"]) == ("Before", ["mine"])


async def test_a_new_secret_address_counts_as_changed_too(site: Site) -> None:
    path = f"/channels/{channel_of(await add(site))}/edit"
    stale = await site.open(path)
    await site.submit(await site.open(path), path, url=SLACK.replace("T0000", "T0001"))
    assert (await site.submit(stale, path, url=SLACK.replace("T0000", "T0002"))).status == 409
