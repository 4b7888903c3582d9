"""How states look: each has a word, a shape and a tone, so that colour is never the only sign."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class State:
    """`tone` is a class of the style sheet, `icon` the name of a symbol in `icons.html`."""

    label: str
    tone: str
    icon: str


_TONES: Final[dict[str, tuple[str, str]]] = {
    "good": ("check", "up completed healthy finished approved sent accepted active success told"),
    "bad": ("cross", "down failed missed timeout overdue denied rejected terminated revoked error critical"),
    "warn": ("warning", "late trouble paused held unpriced crossed warning"),
    "busy": ("play", "running delivering started"),
    "ask": ("question", "unknown waiting"),
    "idle": ("dash", "new pending cancelled silent dropped expired maintenance off none info"),
}
_OWN_ICONS: Final = {"paused": "pause", "pending": "clock", "new": "clock", "timeout": "clock", "overdue": "clock"}
_STATES: Final = {
    name: State(name.replace("_", " ").capitalize(), tone, _OWN_ICONS.get(name, icon))
    for tone, (icon, names) in _TONES.items()
    for name in names.split()
}


def state_of(name: str) -> State:
    """Of any status, verdict or severity that is shown. One that is not known looks neutral."""
    return _STATES.get(name) or State(name.replace("_", " ").capitalize(), "idle", "dash")
