"""How letters about approvals are delivered: by the workflow of all messages, through real servers."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from ipaddress import ip_network

import pytest
from standardwebhooks import Webhook
from temporalio import activity
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from temporalio.worker import Worker

from activities.approval_links import ApprovalLinks
from activities.letters.registry import make_letters
from activities.mail import SmtpMailer, SmtpServer
from activities.messages import MessageActivities
from activities.outgoing import Outgoing
from cli.postgres import EmbeddedPostgres
from config.clock import utc_now
from domain.ids import random_id
from domain.letters import LetterTopic
from storage.approval_access import new_code
from storage.approvals import Approval, get_approval
from storage.base import Sessions, create_engine, create_sessions, transaction
from storage.deciding import cancel, vote
from storage.letters import LetterLog, list_letters
from storage.messages import telling_stands, write_letter
from temporal_workflows.message import MessageInput, MessageWorkflow
from tests.conftest import copy_database
from tests.support.approvals import AGENT, approve, ask, by_link
from tests.support.receivers import Answer, HttpReceiver, SmtpReceiver, http_receiver, smtp_receiver
from tests.support.telling import VAULT, Desk, make_desk
from worker.main import sandbox

LINKS = ApprovalLinks("a secret for tests, of 32 characters or more", "https://pingpulse.example")
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
ADA, BOB = "ada@example.com", "bob@example.com"


def clock() -> datetime:
    """The time of the server."""
    return activity.info().started_time


@pytest.fixture(scope="module")
async def lettered(postgres: EmbeddedPostgres) -> AsyncIterator[Sessions]:
    engine = create_engine(await copy_database(postgres, "lettered"), application_name="lettered")
    yield create_sessions(engine)
    await engine.dispose()


@pytest.fixture
async def desk(lettered: Sessions, skipping: WorkflowEnvironment) -> Desk:
    return await make_desk(lettered, await skipping.get_current_time())


@pytest.fixture
async def post_office() -> AsyncIterator[SmtpReceiver]:
    async with smtp_receiver() as receiver:
        yield receiver


@pytest.fixture
async def program() -> AsyncIterator[HttpReceiver]:
    async with http_receiver() as receiver:
        yield receiver


@asynccontextmanager
async def sending(
    desk: Desk, post_office: SmtpReceiver, now: Callable[[], datetime] = clock
) -> AsyncIterator[MessageActivities]:
    outgoing = Outgoing((ip_network("127.0.0.0/8"),), utc_now)
    mailer = SmtpMailer(SmtpServer("localhost", post_office.port, security="none", timeout_seconds=5))
    letters = make_letters(outgoing, mailer, "PingPulse <pingpulse@example.com>", VAULT, LINKS, now)
    try:
        yield MessageActivities(desk.sessions, now, VAULT, {}, letters, LINKS.base_url)
    finally:
        await outgoing.aclose()


async def deliver(
    skipping: WorkflowEnvironment, desk: Desk, post_office: SmtpReceiver, approval: Approval
) -> list[LetterLog]:
    """Sends all letters that are pending, and returns what became of each."""
    queue = random_id("queue", 8)
    async with (
        sending(desk, post_office) as activities,
        Worker(
            skipping.client,
            task_queue=queue,
            workflows=[MessageWorkflow],
            activities=[activities.send_message, activities.give_up],
            workflow_runner=sandbox(),
        ),
    ):
        pending = [log.message for log in await letters(desk, approval) if log.message.state == "pending"]
        # One after another: what one of them waits for would be skipped for all.
        states = [
            await skipping.client.execute_workflow(
                MessageWorkflow.run,
                MessageInput(message.id, message.account_id),
                id=f"message/{message.id}",
                task_queue=queue,
            )
            for message in pending
        ]
    logs = await letters(desk, approval)
    ended = {log.message.id: log.message.state for log in logs}
    assert [ended[message.id] for message in pending] == states
    return logs


async def letters(desk: Desk, approval: Approval) -> list[LetterLog]:
    async with desk.sessions() as session:
        return await list_letters(session, approval.id)


async def test_an_approver_is_asked_and_can_decide_by_the_mail(
    skipping: WorkflowEnvironment, desk: Desk, post_office: SmtpReceiver
) -> None:
    approval = await ask(desk.sessions, desk.account_id, now=desk.noon, timeout=None, approvers=[ADA, BOB])
    logs = await deliver(skipping, desk, post_office, approval)
    assert [(log.message.state, [attempt.outcome for attempt in log.attempts]) for log in logs] == [
        ("sent", ["sent"]),
        ("sent", ["sent"]),
    ]
    assert sorted(mail["To"] for mail in post_office.mails) == [ADA, BOB]
    for mail in post_office.mails:
        plain = mail.get_body(("plain",))
        assert plain is not None
        token = plain.get_content().partition("?token=")[2].partition("&")[0]
        assert LINKS.approver(approval.id, token) == mail["To"]


async def test_a_mail_server_that_is_away_is_tried_again_with_the_same_mail(
    skipping: WorkflowEnvironment, desk: Desk, post_office: SmtpReceiver
) -> None:
    post_office.rcpt = "450 mailbox busy"
    approval = await ask(desk.sessions, desk.account_id, now=desk.noon, timeout=None)

    async def recover() -> None:
        while not any(log.attempts for log in await letters(desk, approval)):
            await asyncio.sleep(0.02)
        post_office.rcpt = ""

    (log,), _ = await asyncio.gather(deliver(skipping, desk, post_office, approval), recover())
    assert [attempt.outcome for attempt in log.attempts][0 :: len(log.attempts) - 1] == ["retry", "sent"]
    assert [mail["Message-ID"] for mail in post_office.mails] == [f"<{log.message.id}@example.com>"]


async def test_what_was_decided_meanwhile_is_not_asked(
    skipping: WorkflowEnvironment, desk: Desk, post_office: SmtpReceiver
) -> None:
    approval = await ask(desk.sessions, desk.account_id, now=desk.noon, timeout=None, approvers=[ADA, BOB])
    async with transaction(desk.sessions) as session:
        await vote(session, approval.id, by_link(ADA), approve(), desk.at(1))
    logs = await deliver(skipping, desk, post_office, approval)
    assert post_office.mails == []
    assert [log.message.state for log in logs] == ["dropped", "dropped"]
    assert [(one.outcome, one.detail) for log in logs for one in log.attempts] == [
        ("dropped", f"not needed any more: it was approved by {ADA}")
    ] * 2
    async with desk.sessions() as session:
        stands = await telling_stands(session, await skipping.get_current_time() + timedelta(seconds=1))
    assert (stands.pending, stands.failed) == (0, 0)


async def test_only_the_newest_code_is_mailed(desk: Desk, post_office: SmtpReceiver) -> None:
    approval = await ask(desk.sessions, desk.account_id, now=desk.noon, timeout=None, confirm="code")
    for seconds in (1, 2):
        async with transaction(desk.sessions) as session:
            locked = await get_approval(session, approval.id, lock=True)
            assert locked is not None
            code = await new_code(session, approval.id, ADA, VAULT, desk.at(seconds))
            write_letter(session, locked, LetterTopic.CODE, desk.at(seconds), ADA)
    async with sending(desk, post_office, lambda: desk.at(3)) as activities:
        sent = [
            await ActivityEnvironment().run(activities.send_message, log.message.id)
            for log in await letters(desk, approval)
        ]
    assert sent == ["sent", "dropped", "sent"]
    _, first, _ = await letters(desk, approval)
    assert [one.detail for one in first.attempts] == ["not needed any more: a newer code was sent"]
    _, mail = post_office.mails
    plain = mail.get_body(("plain",))
    assert plain is not None
    assert VAULT.decrypt(code.code) in plain.get_content()


async def test_the_program_is_told_how_it_ended_until_it_listens(
    skipping: WorkflowEnvironment, desk: Desk, post_office: SmtpReceiver, program: HttpReceiver
) -> None:
    program.answers = [Answer(503), Answer(429, {"Retry-After": "600"}), Answer(204)]
    approval = await ask(
        desk.sessions,
        desk.account_id,
        now=desk.noon,
        timeout=None,
        callback_url=VAULT.encrypt(program.url()),
        callback_secret=VAULT.encrypt(SECRET),
    )
    async with transaction(desk.sessions) as session:
        await cancel(session, approval.id, AGENT, "no longer wanted", desk.at(1))
    (callback,) = [
        log for log in await deliver(skipping, desk, post_office, approval) if log.message.topic == "callback"
    ]
    assert [(one.outcome, one.status_code) for one in callback.attempts] == [
        ("retry", 503),
        ("retry", 429),
        ("sent", 204),
    ]
    assert {request.headers["webhook-id"] for request in program.received} == {callback.message.id}
    assert (callback.attempts[2].at - callback.attempts[1].at).total_seconds() >= 600
    last = program.received[-1]
    # Signed at the server's time, which has skipped ahead of ours.
    signed = Webhook(SECRET).sign(
        callback.message.id,
        datetime.fromtimestamp(int(last.headers["webhook-timestamp"]), utc_now().tzinfo),
        last.body.decode(),
    )
    assert last.headers["webhook-signature"] == signed
    assert (last.json["type"], last.json["data"]["notes"]) == ("approval.cancelled", "no longer wanted")
