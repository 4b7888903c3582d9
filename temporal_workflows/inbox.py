"""What has been delivered to a workflow and is not taken in yet."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from domain.pings import PingFact
    from domain.verdicts import Verdict

MAX_GATEWAYS: Final = 32
MAX_HANDED_ON: Final = 2_000
"""Pings of the inbox that a run hands on to the next one, in a payload of 2 MiB with its state."""


@dataclass(frozen=True)
class Delivery:
    """Pings of one gateway, in its order. `wants_verdicts` lists those whose callers wait for an answer."""

    pings: tuple[PingFact, ...]
    wants_verdicts: tuple[int, ...] = ()


@dataclass(eq=False)
class Arrival:
    """A delivery, and the verdicts that its sender gets."""

    delivery: Delivery
    verdicts: list[Verdict] = field(default_factory=list)
    is_taken_in: bool = False

    def __post_init__(self) -> None:
        self.asked = frozenset(self.delivery.wants_verdicts)


@dataclass(frozen=True)
class Unseen:
    """Pings not taken in before: those to take as they are, those to judge, and how far each gateway has come then.

    `is_rest` unless more are to be judged.
    """

    told: list[PingFact]
    asked: list[PingFact]
    delivered: dict[int, int]
    is_rest: bool = True


class Inbox:
    """Arrivals in their order. They stay until all of their pings are recorded, because updates wait for that."""

    def __init__(self, deliveries: Collection[Delivery] = ()) -> None:
        self._arrivals = [Arrival(delivery) for delivery in deliveries]

    def __bool__(self) -> bool:
        return bool(self._arrivals)

    def add(self, delivery: Delivery) -> Arrival:
        arrival = Arrival(delivery)
        self._arrivals.append(arrival)
        return arrival

    def put_first(self, delivery: Delivery) -> None:
        """For pings that were delivered before all that is here."""
        self._arrivals.insert(0, Arrival(delivery))

    @property
    def arrivals(self) -> tuple[Arrival, ...]:
        return tuple(self._arrivals)

    @property
    def size(self) -> int:
        """In pings."""
        return sum(len(arrival.delivery.pings) for arrival in self._arrivals)

    def remove(self, arrivals: Collection[Arrival]) -> None:
        """Takes out the first ones, and lets whoever waits for them go on."""
        for arrival in arrivals:
            arrival.is_taken_in = True
        del self._arrivals[: len(arrivals)]

    def known(self, delivered: Mapping[int, int]) -> dict[int, int]:
        """By gateway, the last ping that was `delivered` or has arrived."""
        known = dict(delivered)
        for arrival in self._arrivals:
            for ping in arrival.delivery.pings:
                known[ping.gateway] = max(ping.id, known.get(ping.gateway, 0))
        return known


def unseen(
    arrivals: Collection[Arrival],
    delivered: Mapping[int, int],
    *,
    withdrawn: Collection[int] = (),
    most_asked: int | None = None,
) -> Unseen:
    """The next pings to take in, in order, up to `most_asked` of those to judge.

    A gateway delivers a subject's pings in order, so one number a gateway tells what was seen.
    """
    found = Unseen([], [], dict(delivered))
    for arrival in arrivals:
        for ping in arrival.delivery.pings:
            if ping.id <= found.delivered.get(ping.gateway, 0):
                continue
            is_asked = ping.id in arrival.asked
            if is_asked and len(found.asked) == most_asked:
                return replace(found, is_rest=False)
            found.delivered[ping.gateway] = ping.id
            if ping.id not in withdrawn:
                (found.asked if is_asked else found.told).append(ping)
    return found


def remembered(delivered: Mapping[int, int]) -> dict[int, int]:
    """As much of `delivered` as a workflow that never ends keeps: every restart of a gateway adds another number.

    A gateway that died is delivered by another one within seconds, long before that many others have begun.
    """
    return dict(sorted(delivered.items(), key=lambda item: item[1])[-MAX_GATEWAYS:])


def hand_out(verdicts: Collection[Verdict], arrivals: Collection[Arrival]) -> None:
    """Gives each sender the verdicts it has asked for."""
    by_ping = {verdict.ping_id: verdict for verdict in verdicts}
    for arrival in arrivals:
        arrival.verdicts += [by_ping[id_] for id_ in sorted(arrival.asked & by_ping.keys())]
