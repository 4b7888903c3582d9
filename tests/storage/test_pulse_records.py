"""What a pulse's workflow reads and records, against what the journal holds."""

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import update

from activities.pulses import PulseActivities, PulseQuestion, PulseRecording, SilenceClaim
from config.clock import utc_now
from domain.pings import Event, PingFact, PingStatus, Report
from domain.pulse_rules import advance, redefine
from domain.pulses import PulseDefinition, PulseState, first_state
from domain.routing import NewPulse, PulseRequest
from domain.subjects import pulse_subject
from storage import outbox
from storage.alerts import list_alerts
from storage.base import Sessions, transaction
from storage.gateways import Life, register_gateway
from storage.journal import append
from storage.pulse_reads import is_followed
from storage.pulses import Pulse, create_pulse, get_standing, list_behind, list_expected
from storage.rows import Journaled, NewPing
from storage.transitions import list_transitions
from tests.storage.conftest import GATEWAY, SECOND

OTHER_GATEWAY = GATEWAY + 1


class Target:
    """A pulse of an account, and what its workflow does."""

    def __init__(self, sessions: Sessions, account_id: str) -> None:
        self.sessions = sessions
        self.account_id = account_id
        self.slug = f"target-{uuid4().hex[:8]}"
        self.told = 0
        self.activities = PulseActivities(sessions, utc_now, self._note)

    def _note(self) -> None:
        self.told += 1

    async def ping(
        self, event: Event = Event.SUCCESS, *, gateway: int = GATEWAY, at: datetime | None = None
    ) -> PingFact:
        status = PingStatus.FAILED if event is Event.FAIL else PingStatus.HEALTHY
        request = PulseRequest(self.slug, PingFact(0, 0, event.value, status, at or utc_now()), create=NewPulse(60, 30))
        async with transaction(self.sessions) as session:
            (kept,) = await append(session, gateway, [NewPing(self.account_id, request, Report())], utc_now())
        assert isinstance(kept, Journaled)
        assert kept.subject is not None
        self.subject = kept.subject
        self.id = kept.subject.split("/")[1]
        return kept.facts[-1]

    async def deliver(self, *facts: PingFact) -> None:
        async with transaction(self.sessions) as session:
            await outbox.delete_delivered(session, [fact.id for fact in facts])

    async def definition(self) -> PulseDefinition:
        rules = await self.activities.read_pulse_rules(PulseQuestion(self.id))
        assert rules is not None
        return rules.definition

    async def recording(
        self, *facts: PingFact, version: int = 1, silence: SilenceClaim | None = None
    ) -> PulseRecording:
        definition = await self.definition()
        advanced = advance(definition, PulseState(), facts, silence.until if silence else None)
        delivered = {fact.gateway: fact.id for fact in facts}
        return PulseRecording(
            self.id,
            version,
            definition.revision,
            advanced.state,
            delivered,
            None,
            advanced.transitions,
            advanced.alerts,
            silence,
        )


@pytest.fixture
async def target(sessions: Sessions, account: str) -> Target:
    return Target(sessions, account)


@pytest.fixture(scope="module", autouse=True)
async def gateways_live(sessions: Sessions) -> None:
    """For longer than any test: nothing here is an outage."""
    async with transaction(sessions) as session:
        gateway_id = await register_gateway(session, host="test", process_id=1, now=utc_now() - timedelta(hours=1))
        session.add(
            Life(gateway_id=gateway_id, began_at=utc_now() - timedelta(hours=1), seen_at=utc_now() + 60 * SECOND)
        )


async def test_a_recording_is_written_with_its_transitions_and_alerts_once(target: Target) -> None:
    fact = await target.ping(Event.FAIL)
    recording = await target.recording(fact)
    assert (await target.activities.record_pulse(recording)).is_written
    again = await target.activities.record_pulse(recording)
    assert again.is_stale
    assert not again.is_written
    async with target.sessions() as session:
        standing = await get_standing(session, target.id)
        assert standing is not None
        assert (standing.status, standing.version, standing.failures) == ("down", 1, 1)
        assert [item.after for item in await list_transitions(session, target.subject)] == ["down"]
        alerts = await list_alerts(session, target.account_id, limit=10, subject=target.subject)
        assert [alert.kind for alert in alerts] == ["pulse_down"]
    assert target.told == 1


async def test_what_was_delivered_and_not_recorded_is_loaded_and_what_is_on_its_way_is_not(target: Target) -> None:
    recorded = await target.ping()
    await target.deliver(recorded)
    await target.activities.record_pulse(await target.recording(recorded))
    delivered = [await target.ping(), await target.ping(gateway=OTHER_GATEWAY)]
    await target.deliver(*delivered)
    come, waiting = await target.ping(), await target.ping(gateway=OTHER_GATEWAY)
    loaded = await target.activities.load_pulse(PulseQuestion(target.id, known={GATEWAY: come.id}))
    assert loaded is not None
    assert [fact.id for fact in loaded.unrecorded] == [*(fact.id for fact in delivered), come.id]
    assert waiting.id not in {fact.id for fact in loaded.unrecorded}
    assert (loaded.version, loaded.delivered) == (1, {GATEWAY: recorded.id})


async def test_silence_is_not_certain_while_another_gateway_holds_a_ping_that_came_in_time(target: Target) -> None:
    started = utc_now() - 200 * SECOND
    first = await target.ping(at=started)
    await target.deliver(first)
    held = await target.ping(gateway=OTHER_GATEWAY, at=started + 50 * SECOND)
    claim = SilenceClaim(started, started + 100 * SECOND, {GATEWAY: first.id})
    recording = await target.recording(first, silence=claim)
    assert (await target.activities.record_pulse(recording)).is_uncertain
    in_hand = replace(recording, silence=replace(claim, known={GATEWAY: first.id, OTHER_GATEWAY: held.id}))
    assert (await target.activities.record_pulse(in_hand)).is_written


async def test_a_ping_that_came_after_the_deadline_does_not_hold_it_up(target: Target) -> None:
    started = utc_now() - 200 * SECOND
    first = await target.ping(at=started)
    await target.deliver(first)
    await target.ping(gateway=OTHER_GATEWAY, at=started + 150 * SECOND)
    claim = SilenceClaim(started, started + 100 * SECOND, {GATEWAY: first.id})
    assert (await target.activities.record_pulse(await target.recording(first, silence=claim))).is_written


async def test_an_outage_that_the_workflow_did_not_know_of_is_told_and_nothing_is_written(target: Target) -> None:
    """Before the first gateway lived, none could take a ping."""
    started = utc_now() - timedelta(hours=2)
    first = await target.ping(at=started)
    claim = SilenceClaim(started, started + 100 * SECOND, {GATEWAY: first.id})
    recording = await target.recording(first, silence=claim)
    answer = await target.activities.record_pulse(recording)
    assert not answer.is_written
    assert answer.outages is not None
    (outage,) = answer.outages
    assert outage.start == started
    known = replace(recording, silence=replace(claim, outages=answer.outages))
    assert (await target.activities.record_pulse(known)).is_written


async def test_new_rules_are_handed_out_with_the_next_recording(target: Target) -> None:
    fact = await target.ping()
    recording = replace(await target.recording(fact), revision=0)
    answer = await target.activities.record_pulse(recording)
    assert answer.is_written
    assert answer.has_new_rules
    async with target.sessions() as session:
        assert target.id in await list_behind(session, utc_now() + SECOND)


async def test_a_pulse_that_there_is_not_is_gone(target: Target) -> None:
    fact = await target.ping()
    recording = replace(await target.recording(fact), pulse_id="pls_unknown")
    assert (await target.activities.record_pulse(recording)).is_gone
    assert await target.activities.load_pulse(PulseQuestion("pls_unknown")) is None


async def test_a_state_comes_back_as_it_was(target: Target) -> None:
    facts = [await target.ping(Event.START), await target.ping(Event.FAIL)]
    recording = await target.recording(*facts)
    await target.activities.record_pulse(recording)
    loaded = await target.activities.load_pulse(PulseQuestion(target.id))
    assert loaded is not None
    assert loaded.state == recording.state
    assert pulse_subject(loaded.definition.id) == target.subject


async def test_rules_wait_for_the_pings_that_came_before_they_changed(target: Target) -> None:
    before = await target.ping()
    async with transaction(target.sessions) as session:
        await session.execute(update(Pulse).where(Pulse.id == target.id).values(updated_at=utc_now()))
    after = await target.ping(gateway=OTHER_GATEWAY)

    async def are_missing(**known: int) -> bool:
        gateways = {int(name.removeprefix("of_")): last for name, last in known.items()}
        rules = await target.activities.read_pulse_rules(PulseQuestion(target.id, gateways))
        assert rules is not None
        return rules.pings_are_missing

    assert await are_missing()
    assert await are_missing(**{f"of_{OTHER_GATEWAY}": after.id})
    assert not await are_missing(**{f"of_{GATEWAY}": before.id})


async def test_a_pulse_that_is_awaited_is_behind_until_its_workflow_has_begun(target: Target) -> None:
    target.id = f"pls_{target.slug}"
    now = utc_now()
    definition = PulseDefinition(target.id, target.account_id, "Awaited", target.slug, period_seconds=60)
    definition = replace(definition, awaited_since=now)
    async with transaction(target.sessions) as session:
        assert await create_pulse(session, definition, now)
        assert await is_followed(session, target.id)
        assert target.id in await list_expected(session)
        assert target.id in await list_behind(session, now + SECOND)
    loaded = await target.activities.load_pulse(PulseQuestion(target.id))
    assert loaded is not None
    assert (loaded.definition, loaded.state) == (definition, first_state(definition))
    assert (loaded.version, loaded.revision) == (0, 0)
    begun = redefine(definition, loaded.state, now)
    recording = PulseRecording(target.id, 1, 1, begun.state, {}, None)
    assert (await target.activities.record_pulse(recording)).is_written
    async with target.sessions() as session:
        assert target.id not in await list_behind(session, now + SECOND)


async def test_a_pulse_that_is_not_awaited_has_no_workflow_before_its_first_ping(target: Target) -> None:
    target.id = f"pls_{target.slug}"
    definition = PulseDefinition(target.id, target.account_id, "Unknown", target.slug, period_seconds=60)
    async with transaction(target.sessions) as session:
        assert await create_pulse(session, definition, utc_now())
        assert not await is_followed(session, target.id)
        assert await get_standing(session, target.id) is None
    await target.ping()
    async with target.sessions() as session:
        assert await is_followed(session, target.id)
