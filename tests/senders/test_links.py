"""Whatever kind the channel is: where people can do something, its messages lead them there."""

import re
from dataclasses import replace
from typing import Any

import pytest

from activities.senders.apprise import apprise_job
from activities.senders.base import Envelope
from activities.senders.discord import MAX_DESCRIPTION, discord_message
from activities.senders.email import email_message
from activities.senders.pagerduty import pagerduty_events
from activities.senders.slack import slack_message
from activities.senders.webhook import webhook_body
from domain.messages import MAX_LINES, ToldAlert, compose
from tests.senders.builders import NASTY, alert, envelope
from tests.senders.shapes import DISCORD, PAGERDUTY, SLACK, check, embed_characters

BASE = "https://pings.example.com"
KEY = "0123456789abcdef0123456789abcdef"


def asked(number: int = 1, **changes: Any) -> ToldAlert:
    """That somebody must decide."""
    usual = {"kind": "approval_requested", "name": f"report {number}", "data": {"path": f"/approvals/apr_{number}"}}
    return alert(number, **usual | changes)


def told(*alerts: ToldAlert) -> Envelope:
    """With the words that such a message really has."""
    return replace(envelope("ada@example.com", *alerts), text=compose(alerts))


def said_by(kind: str, message: Envelope) -> str:
    if kind == "slack":
        content = slack_message(message)
        check(content, SLACK)
        return "\n".join(block["text"]["text"] for block in content["attachments"][0]["blocks"] if "text" in block)
    if kind == "discord":
        content = discord_message(message)
        check(content, DISCORD)
        assert embed_characters(content) <= 6000
        return str(content["embeds"][0].get("description", ""))
    if kind == "apprise":
        return str(apprise_job(message)["body"])
    if kind == "pagerduty":
        events = pagerduty_events(message, KEY)
        for event in events:
            check(event, PAGERDUTY)
        return "\n".join(f"{link['text']} {link['href']}" for event in events for link in event["links"])
    body = email_message(message, "pingpulse@example.com").get_body((kind,))
    assert body is not None
    return str(body.get_content())


KINDS = ["slack", "discord", "apprise", "pagerduty", "plain", "html"]


@pytest.mark.parametrize("kind", KINDS)
def test_one_alert_and_several_bring_their_links(kind: str) -> None:
    assert f"{BASE}/approvals/apr_1" in said_by(kind, told(asked(1)))
    several = said_by(kind, told(asked(1), alert(2), asked(3)))
    assert re.findall(r"/approvals/(apr_\d+)\b", several) == ["apr_1", "apr_3"]
    assert "Open report 1" in several


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_ended_or_leads_nowhere_has_no_link(kind: str) -> None:
    one = asked(1)
    ended = asked(2, kind="approval_decided", trouble=one.trouble, resolves=True)
    for message in (
        told(one, ended),
        told(alert(1)),
        told(alert(1, data={"path": 7})),
        told(alert(data={"path": "x"})),
    ):
        assert "/approvals/" not in said_by(kind, message)
        assert "Open " not in said_by(kind, message)


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_cannot_turn_the_link_elsewhere(kind: str) -> None:
    name = f"a](https://eve.example) <https://eve.example|b> {NASTY}"
    said = said_by(kind, told(asked(1, name=name)))
    assert f"{BASE}/approvals/apr_1" in said
    # The others show words as they are.
    if kind in ("slack", "discord", "html"):
        assert not re.search(r"(?<!\\)<https://eve", said)
        assert not re.search(r"(?<!\\)\]\(https://eve", said) or kind != "discord"


@pytest.mark.parametrize("kind", KINDS)
def test_links_find_room_beside_many_words(kind: str) -> None:
    storm = [asked(number, reason="Please have a look at it soon. " * 20) for number in range(1, 201)]
    said = said_by(kind, told(*storm))
    links = re.findall(r"/approvals/(apr_\d+)\b", said)
    assert links[:20] == [f"apr_{number}" for number in range(1, 21)]
    assert len(set(links)) == len(links)
    if kind == "pagerduty":
        assert len(links) == 200
    elif kind == "discord":
        assert f"… and {MAX_LINES - len(links)} more" in said
    else:
        assert len(links) == MAX_LINES


def test_discord_gives_links_what_they_need_and_words_the_rest() -> None:
    message = told(asked(1, title="_" * 5000), *(asked(number, title="_" * 5000) for number in range(2, 60)))
    description = said_by("discord", message)
    assert len(description) <= MAX_DESCRIPTION
    assert f"]({BASE}/approvals/apr_1)" in description


def test_a_webhook_gets_the_url_with_each_alert() -> None:
    alerts = webhook_body(told(asked(1), alert(2)))["data"]["alerts"]
    assert [one["url"] for one in alerts] == [f"{BASE}/approvals/apr_1", None]
