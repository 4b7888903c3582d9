"""What a PulseWorkflow may ask of Postgres. Each method is one idempotent transaction."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity

from domain.alerts import Alert
from domain.instances import Outage
from domain.pings import PingFact
from domain.pulses import PulseDefinition, PulseState, first_state
from domain.subjects import pulse_subject
from domain.transitions import Transition
from storage import gateways, outbox, pings, pulse_records, pulses
from storage.base import Sessions, single_statements, snapshot, transaction


@dataclass(frozen=True)
class PulseQuestion:
    """Which pulse to load. `known` holds, by gateway, the last ping that has come to the workflow."""

    pulse_id: str
    known: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PulseSnapshot:
    """A pulse as Postgres knows it. `delivered` holds, by gateway, the last ping that is part of the state.

    `unrecorded` are pings that Temporal has been told of and that are not part of it. `revision` is that of the rules
    which the state is held to: another one than the definition's until those have taken effect.
    """

    definition: PulseDefinition
    state: PulseState = field(default_factory=PulseState)
    delivered: dict[int, int] = field(default_factory=dict)
    version: int = 0
    revision: int = 0
    unrecorded: tuple[PingFact, ...] = ()


@dataclass(frozen=True)
class PulseRules:
    """The rules of a pulse, since `changed_at`. `pings_are_missing`: some that were received before, and to which the
    rules before apply, have not come to the workflow."""

    definition: PulseDefinition
    changed_at: datetime
    pings_are_missing: bool = False


@dataclass(frozen=True)
class SilenceClaim:
    """That a pulse was silent until a moment, as far as its workflow knows: of `known` pings, and of the `outages`
    since a moment."""

    since: datetime
    until: datetime
    known: dict[int, int]
    outages: tuple[Outage, ...] = ()


@dataclass(frozen=True)
class PulseRecording:
    """What a workflow has decided; `version` is one more than the last. A deadline was called if it claims silence."""

    pulse_id: str
    version: int
    revision: int
    state: PulseState
    delivered: dict[int, int]
    due_at: datetime | None
    transitions: tuple[Transition, ...] = ()
    alerts: tuple[Alert, ...] = ()
    silence: SilenceClaim | None = None


@dataclass(frozen=True)
class PulseRecorded:
    """Nothing was written unless `is_written`.

    It was not if somebody has recorded that version before (`is_stale`), if pings are on their way or no gateway
    lives that could take any (`is_uncertain`), or if there were other `outages` than claimed. The pulse
    `has_new_rules` if those it was recorded by are not its rules any more, and `is_gone` if it was deleted.
    """

    is_written: bool = False
    is_stale: bool = False
    is_uncertain: bool = False
    outages: tuple[Outage, ...] | None = None
    has_new_rules: bool = False
    is_gone: bool = False


class PulseActivities:
    """`told` is called after a commit that has raised alerts."""

    def __init__(
        self, sessions: Sessions, clock: Callable[[], datetime], told: Callable[[], None] = lambda: None
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._told = told

    @activity.defn
    async def load_pulse(self, question: PulseQuestion) -> PulseSnapshot | None:
        """Where a pulse's workflow begins, or goes on after a lost task; None if there is no such pulse any more."""
        async with snapshot(self._sessions) as session:
            pulse = await pulses.get_pulse(session, question.pulse_id)
            if pulse is None:
                return None
            definition = pulses.definition_of(pulse)
            standing = await pulses.get_standing(session, pulse.id)
            state = pulses.state_of(standing) if standing is not None else first_state(definition)
            delivered = pulses.delivered_of(standing)
            subject = pulse_subject(pulse.id)
            undelivered = await outbox.lowest_undelivered(session, subject)
            unrecorded = [
                fact
                for fact in await pings.list_facts_after(session, subject, delivered)
                if fact.gateway not in undelivered
                or fact.id < undelivered[fact.gateway]
                or fact.id <= question.known.get(fact.gateway, 0)
            ]
        if standing is None:
            return PulseSnapshot(definition, state, revision=definition.revision, unrecorded=tuple(unrecorded))
        return PulseSnapshot(definition, state, delivered, standing.version, standing.revision, tuple(unrecorded))

    @activity.defn
    async def read_pulse_rules(self, question: PulseQuestion) -> PulseRules | None:
        """The rules as they are now; None if the pulse was deleted."""
        async with snapshot(self._sessions) as session:
            pulse = await pulses.get_pulse(session, question.pulse_id)
            if pulse is None:
                return None
            subject, changed_at = pulse_subject(pulse.id), pulse.updated_at
            are_missing = await pings.is_on_its_way(session, subject, changed_at, question.known)
            return PulseRules(pulses.definition_of(pulse), changed_at, are_missing)

    @activity.defn
    async def record_pulse(self, recording: PulseRecording) -> PulseRecorded:
        """Writes state, transitions and alerts, all or nothing."""
        claim, now = recording.silence, self._clock()
        # A claim that knows of outages is looked at below anyway.
        written = None
        if claim is None or not claim.outages:
            async with single_statements(self._sessions) as session:
                written = await _write(session, recording, claim, now)
        if claim is not None and (written is None or written.is_doubtful):
            async with transaction(self._sessions) as session:
                doubt = await _doubt(session, pulse_subject(recording.pulse_id), claim, now)
                if doubt is not None:
                    return doubt
                written = await _write(session, recording, None, now)
        assert written is not None
        if written.revision is None:
            return PulseRecorded(is_gone=True)
        if not written.is_written:
            return PulseRecorded(is_stale=True)
        if recording.alerts:
            self._told()
        return PulseRecorded(is_written=True, has_new_rules=written.revision != recording.revision)


async def _write(
    session: AsyncSession, recording: PulseRecording, claim: SilenceClaim | None, now: datetime
) -> pulse_records.Written:
    return await pulse_records.record(
        session,
        recording.pulse_id,
        version=recording.version,
        revision=recording.revision,
        state=recording.state,
        delivered=recording.delivered,
        due_at=recording.due_at,
        transitions=recording.transitions,
        alerts=recording.alerts,
        claim=pulse_records.Claim(claim.since, claim.until, claim.known) if claim is not None else None,
        now=now,
    )


async def _doubt(session: AsyncSession, subject: str, claim: SilenceClaim, now: datetime) -> PulseRecorded | None:
    """Why silence is not certain, or not silence; None if the claim holds."""
    if await pings.is_on_its_way(session, subject, claim.until, claim.known):
        return PulseRecorded(is_uncertain=True)
    outages = await gateways.list_outages(session, claim.since, now)
    if outages and outages[-1].end >= now:
        return PulseRecorded(is_uncertain=True)
    return PulseRecorded(outages=outages) if outages != claim.outages else None
