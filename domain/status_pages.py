"""Public status pages: what outsiders are told, in words of their own. They hear of no ids, errors or payloads."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from domain.errors import InvalidRequest
from domain.instances import InstanceStatus
from domain.processes import RunStatus
from domain.pulses import PulseStatus

MAX_COMPONENTS: Final = 50
MAX_TITLE: Final = 100
MAX_SHOWN_NAME: Final = 100
MAX_NOTE: Final = 2000
MAX_PAGE_SLUG: Final = 64
PAGE_SLUG_PATTERN: Final = r"^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$"
"""Without dots: what follows one is the form in which the page is asked for."""

DAYS: Final = 90

_PAGE_SLUG: Final = re.compile(PAGE_SLUG_PATTERN)


class ComponentKind(StrEnum):
    PULSE = "pulse"
    PROCESS_HOOK = "process_hook"
    WORKFLOW = "workflow"


class Health(StrEnum):
    """How something stands, as outsiders are told."""

    UP = "up"
    TROUBLE = "trouble"
    """Late, overdue, or paused by a limit: not as it should be, and not down."""
    DOWN = "down"
    MAINTENANCE = "maintenance"
    PAUSED = "paused"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Component:
    """One line of a page; `name` is how outsiders know it."""

    kind: ComponentKind
    id: str
    name: str


_OF_PULSES: Final = {
    PulseStatus.UP: Health.UP,
    PulseStatus.LATE: Health.TROUBLE,
    PulseStatus.DOWN: Health.DOWN,
    PulseStatus.PAUSED: Health.PAUSED,
}
_OF_RUNS: Final = {
    RunStatus.FINISHED: Health.UP,
    RunStatus.RUNNING: Health.UP,
    RunStatus.OVERDUE: Health.TROUBLE,
    RunStatus.FAILED: Health.DOWN,
}
_OF_INSTANCES: Final = {
    InstanceStatus.COMPLETED: Health.UP,
    InstanceStatus.FAILED: Health.DOWN,
    InstanceStatus.TERMINATED: Health.TROUBLE,
}


def health_of_pulse(status: PulseStatus, *, in_maintenance: bool) -> Health:
    if in_maintenance and status is not PulseStatus.UP:
        return Health.MAINTENANCE
    return _OF_PULSES.get(status, Health.UNKNOWN)


def health_of_run(status: str | None) -> Health:
    """Of a process hook, by its latest run."""
    return _OF_RUNS.get(RunStatus(status), Health.UNKNOWN) if status is not None else Health.UNKNOWN


def health_of_instance(status: str | None) -> Health:
    """Of a workflow, by the instance that finished last."""
    return _OF_INSTANCES.get(InstanceStatus(status), Health.UNKNOWN) if status is not None else Health.UNKNOWN


def overall(healths: Iterable[Health]) -> Health:
    """The worst that counts: what is paused or was never heard of says nothing of the rest."""
    found = set(healths)
    for health in (Health.DOWN, Health.TROUBLE, Health.MAINTENANCE, Health.UP, Health.PAUSED):
        if health in found:
            return health
    return Health.UNKNOWN


def in_words(healths: Sequence[Health]) -> str:
    """One sentence on all of them."""
    down, trouble = healths.count(Health.DOWN), healths.count(Health.TROUBLE)
    if down and down == len(healths):
        return "Everything is down" if down > 1 else "Down"
    if down:
        return f"{down} of {len(healths)} {'is' if down == 1 else 'are'} down"
    if trouble and len(healths) == 1:
        return "Trouble"
    if trouble:
        return f"{trouble} of {len(healths)} {'has' if trouble == 1 else 'have'} trouble"
    return {
        Health.UP: "Everything works",
        Health.MAINTENANCE: "Under maintenance",
        Health.PAUSED: "Paused",
        Health.UNKNOWN: "Nothing is known yet",
    }[overall(healths)]


def is_page_slug(text: str) -> bool:
    return len(text) <= MAX_PAGE_SLUG and _PAGE_SLUG.fullmatch(text) is not None


def check_components(components: Sequence[Component]) -> None:
    """Raises InvalidRequest naming the field."""
    seen: set[tuple[ComponentKind, str]] = set()
    for number, component in enumerate(components):
        if (component.kind, component.id) in seen:
            raise InvalidRequest.of_field(f"components.{number}.id", "is on the page already")
        seen.add((component.kind, component.id))
