"""What fits into Temporal: a payload is at most 2 MiB, and the state of an instance travels in one.

The room for a text depends on nothing but the paths of an instance, so it does not depend on the order of
delivery either, and it only shrinks: shortening twice is the same as shortening once.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from domain.instances import InstanceState, StageFacts, Stamped
from domain.workflows import StageDefinition

MAX_STATE_BYTES: Final = 1_950_000
"""Of 2 MiB; the rest is for what comes around the stages."""

STAGE_BYTES: Final = 430
"""The most that a stage takes as JSON besides its path and its texts: stamps, status and punctuation."""

DEFINED_STAGE_BYTES: Final = 65
TEXTS_A_STAGE: Final = 3
ELLIPSIS_BYTES: Final = 3
AMPLE: Final = 3_100
"""Room for every text that a ping can carry, even if every character of it takes six bytes."""


def text_room(state: InstanceState) -> int:
    """The bytes, as JSON, that each text of the state may take. Ample up to a hundred stages."""
    defined = len(state.definition.stages)
    if len(state.stages) + defined <= 100:
        return AMPLE
    fixed = STAGE_BYTES * len(state.stages) + DEFINED_STAGE_BYTES * defined + sum(map(_size, state.stages))
    texts = TEXTS_A_STAGE * len(state.stages) + defined
    return max(0, min(AMPLE, (MAX_STATE_BYTES - fixed) // texts))


def shorten(text: str | None, room: int) -> str | None:
    """`text` if it fits into `room` bytes as JSON, else as much of its beginning as does, and an ellipsis."""
    if text is None or _size(text) <= room:
        return text
    text = text.removesuffix("…")
    # What fits is found by halving: how many bytes a character takes is known only once it is written.
    fits, too_long = 0, min(len(text), room) + 1
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        fits, too_long = (middle, too_long) if _size(text[:middle]) + ELLIPSIS_BYTES <= room else (fits, middle)
    return text[:fits] + "…"


def fitted(state: InstanceState) -> InstanceState:
    """The state as it may travel. Evaluates to the same as `state`."""
    room = text_room(state)
    if room == AMPLE:
        return state
    return replace(
        state,
        stages={path: _fitted_stage(facts, room) for path, facts in state.stages.items()},
        definition=replace(state.definition, stages=tuple(_fitted_definitions(state.definition.stages, room))),
    )


def _fitted_stage(facts: StageFacts, room: int) -> StageFacts:
    return replace(
        facts, error=shorten(facts.error, room), name=_fitted(facts.name, room), agent=_fitted(facts.agent, room)
    )


def _fitted(stamped: Stamped | None, room: int) -> Stamped | None:
    return stamped and replace(stamped, value=shorten(stamped.value, room) or "")


def _fitted_definitions(stages: Iterable[StageDefinition], room: int) -> Iterable[StageDefinition]:
    return (replace(stage, name=shorten(stage.name, room)) for stage in stages)


def _size(text: str) -> int:
    """Bytes as JSON, quotes included."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return len(text) + 2
    return len(json.dumps(text, ensure_ascii=False).encode(errors="surrogatepass"))
