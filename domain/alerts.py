"""What is worth telling: alerts, the trouble they belong to, and the kinds there are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final


class Severity(StrEnum):
    """In ascending order; the words of PagerDuty's Events API v2."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


@dataclass(frozen=True)
class AlertKind:
    """A kind of alert: how grave it is, and how a message counts several of them: "37 pulses are down".

    `one` and `many` go behind a name and behind a number. `resolves`: it is the good end of its trouble.
    """

    name: str
    severity: Severity
    one: str
    many: str
    resolves: bool = False


@dataclass(frozen=True)
class Alert:
    """Something worth telling, about one subject.

    `source` is what channels attach to: `workflow/<id>`, `pulse/<id>` or `process/<hook>`; `name` is how people call
    it. `trouble` is shared by all alerts on the same trouble and by its good end, so that receivers can tell that
    they belong together. `dedupe_key` is different for each occurrence: the same key is told once.
    `depends_on` are the pulses that keep this one silent while they are down.
    """

    kind: AlertKind
    account_id: str
    source: str
    subject: str
    name: str
    title: str
    trouble: str
    dedupe_key: str
    at: datetime
    reason: str | None = None
    tags: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)


KINDS: Final[dict[str, AlertKind]] = {}
"""Every kind by its name; each noun registers its own with `alert_kind`."""


def alert_kind(name: str, severity: Severity, one: str, many: str, *, resolves: bool = False) -> AlertKind:
    """Registers a kind. Its name is stored, so it must not change."""
    assert name not in KINDS, name
    kind = KINDS[name] = AlertKind(name, severity, one, many, resolves)
    return kind


CHANNEL_TEST: Final = alert_kind("channel_test", Severity.INFO, "works", "channels work")
