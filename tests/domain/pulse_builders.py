"""Short ways to say what happened to a pulse. Seconds count from noon, as for instances."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from domain.pings import Event, PingFact, PingStatus
from domain.pulse_rules import Advanced, advance
from domain.pulses import PulseDefinition, PulseState
from domain.transitions import Transition
from tests.domain.builders import NOON, at


def pulse(**rules: Any) -> PulseDefinition:
    """Due every 100 s, with a grace of 10 s."""
    if "cron" not in rules:
        rules = {"period_seconds": 100.0, **rules}
    return PulseDefinition("p1", "account", **{"name": "nightly", "slug": "nightly", "grace_seconds": 10.0, **rules})


def said(event: Event | str, seconds: float, rid: str | None = None, **values: Any) -> PingFact:
    return heard(event, at(seconds), run_id=rid, **values)


def heard(event: Event | str, moment: datetime, **values: Any) -> PingFact:
    """Its id is made of the time, unless it is given."""
    fields = {"id": round((moment - NOON).total_seconds() * 1000) + 10**9, "gateway": 1, **values}
    return PingFact(path=str(event), status=PingStatus.HEALTHY, at=moment, **fields)


def ok(seconds: float, rid: str | None = None, **values: Any) -> PingFact:
    return said(Event.SUCCESS, seconds, rid, **values)


def after(definition: PulseDefinition, *pings: PingFact, until: float | None = None) -> Advanced:
    return advance(definition, PulseState(), pings, None if until is None else at(until))


def story(transitions: Sequence[Transition]) -> list[tuple[float, str]]:
    """When it became what."""
    return [((item.at - NOON).total_seconds(), item.after) for item in transitions]
