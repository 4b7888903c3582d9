"""Slack and Discord: their shapes, their limits, and what names and errors must not do to them."""

from dataclasses import replace
from typing import Any

import pytest

from activities.outgoing import Outgoing
from activities.senders.base import Receipt, TryLater, Undeliverable
from activities.senders.discord import discord_message, discord_sender
from activities.senders.slack import slack_message, slack_sender
from activities.senders.wording import packed
from domain.alerts import Severity
from tests.senders.builders import NASTY, alert, envelope
from tests.senders.conftest import outcome
from tests.senders.shapes import DISCORD, SLACK, check, embed_characters
from tests.support.receivers import Answer, HttpReceiver

STORM = [alert(number, reason="The line is dead. " * 20) for number in range(1, 1001)]
CASES = {
    "one": envelope("x"),
    "storm": envelope("x", *STORM, headline="1000 pulses are down"),
    "endless": envelope("x", alert(title="&" * 50_000, reason="_" * 50_000)),
    "nasty": envelope("x", alert(title=NASTY), alert(2, reason=NASTY), headline=NASTY, channel_name=NASTY),
    "recovered": envelope("x", alert(resolves=True, severity=Severity.INFO)),
    "headline alone": replace(envelope("x"), text=replace(envelope("x").text, lines=("backup 1 is down",))),
}


def texts(content: Any) -> str:
    if isinstance(content, dict):
        return "\n".join(texts(value) for value in content.values())
    if isinstance(content, list):
        return "\n".join(texts(value) for value in content)
    return str(content)


@pytest.mark.parametrize("case", CASES)
def test_slack_gets_what_it_documents(case: str) -> None:
    check(slack_message(CASES[case]), SLACK)


@pytest.mark.parametrize("case", CASES)
def test_discord_gets_what_it_documents(case: str) -> None:
    message = discord_message(CASES[case])
    check(message, DISCORD)
    assert embed_characters(message) <= 6000


def test_names_and_errors_mention_nobody_in_slack() -> None:
    said = texts(slack_message(CASES["nasty"]))
    assert "&lt;!channel&gt;" in said
    assert "<!channel>" not in said
    assert "&amp; load_daily_sales" in said


def test_names_and_errors_mention_nobody_in_discord_and_are_no_markup() -> None:
    message = discord_message(CASES["nasty"])
    assert message["allowed_mentions"] == {"parse": []}
    assert r"load\_daily\_sales \*\*now\*\*" in message["content"]


@pytest.mark.parametrize("make", [slack_message, discord_message])
def test_what_does_not_fit_is_counted(make: Any) -> None:
    said = texts(make(CASES["storm"]))
    shown = sum(f"backup {number} is down: " in said for number in range(1, 1001))
    assert 0 < shown < 1000
    assert f"… and {1000 - shown} more" in said


def test_a_headline_is_not_repeated() -> None:
    assert "description" not in discord_message(CASES["headline alone"])["embeds"][0]
    [attachment] = slack_message(CASES["headline alone"])["attachments"]
    assert [block["type"] for block in attachment["blocks"]] == ["context"]


def test_lines_are_packed_whole_while_they_fit() -> None:
    assert packed(["aa", "bb", "cc"], 30, 2) == ["aa\nbb\ncc"]
    assert packed(["a" * 9, "b" * 9, "c" * 9], 29, 2) == ["a" * 9, "b" * 9 + "\n… and 1 more"]
    assert packed([], 100, 2) == []


async def test_slack_is_told_and_heard(outgoing: Outgoing, receiver: HttpReceiver) -> None:
    send = slack_sender(outgoing)
    address = receiver.url("/services/T0/B0/secret")
    assert await send(envelope(address)) == Receipt(200, "ok")
    assert receiver.received[0].headers["content-type"] == "application/json"
    check(receiver.received[0].json, SLACK)
    receiver.answers = [Answer(404, body=b"no_service"), Answer(429, {"Retry-After": "30"}), Answer(500)]
    gone, limited, failed = [await outcome(send(envelope(address))) for _ in range(3)]
    assert isinstance(gone, Undeliverable)
    assert gone.detail == "127.0.0.1 answered 404: no_service"
    assert isinstance(limited, TryLater)
    assert limited.retry_after == 30
    assert isinstance(failed, TryLater)
    assert failed.status_code == 500


async def test_discord_is_told_and_waited_for(outgoing: Outgoing, receiver: HttpReceiver) -> None:
    await discord_sender(outgoing)(envelope(receiver.url("/api/webhooks/1/t0ken?thread_id=7")))
    [request] = receiver.received
    assert request.target == "/api/webhooks/1/t0ken?thread_id=7&wait=true"
    check(request.json, DISCORD)
