"""Two runs side by side: what each amounts to, and step by step what differs."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Context, Decimal, localcontext
from enum import StrEnum
from typing import Any, Final, TypeVar

from domain.alignment import MAX_ITEMS, align
from domain.errors import InvalidRequest
from domain.json_diff import DEFAULT_IGNORE, Difference, Ignore, differences
from domain.timeline import Step

MAX_DIFFERENCES: Final = 100
"""Of one pair of payloads."""
MAX_VALUE: Final = 2_000
MAX_TEXT: Final = 4_000_000
"""Characters of JSON: of one value that is shown, and of all differences of a comparison."""

SLOWER: Final = 1.5
NOTICEABLE_MS: Final = 500
"""Durations differ if one is more than so many times the other and by more than so many milliseconds."""

_TOLD_APART: Final = frozenset({"status", "exit_code", "duration", "duration_ms", "cost_usd", "usage"})
"""Members of payloads that are compared as status, time and cost."""

_EXACT: Final = Context(prec=100)
"""Enough for sums of money of any length that `domain.pings` takes; Python's default would round them."""

Number = TypeVar("Number", int, Decimal)


class Kind(StrEnum):
    """In what a pair of steps differs; of several kinds, the first one here is the main one."""

    MISSING = "missing"
    """There is no such step in the second run."""
    ADDED = "added"
    """There is no such step in the first one."""
    STATUS = "status"
    PAYLOAD = "payload"
    AGENT = "agent"
    COST = "cost"
    """Dollars or tokens."""
    TIMING = "timing"
    SAME = "same"


@dataclass(frozen=True)
class Aggregates:
    """What the steps of a run add up to, without those that were rejected; of what no step says, None.

    `statuses` counts the steps that were rejected too, as `rejected`. `unpriced` are steps that used a model and have
    no cost: `cost_usd` lacks them. `duration_ms` adds up what callers say that their steps took, `elapsed_ms` is the
    time between the first and the last step.
    """

    steps: int
    statuses: Mapping[str, int]
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: Decimal | None
    unpriced: int
    duration_ms: int | None
    elapsed_ms: int
    agents: Mapping[str, int]
    models: Mapping[str, int]
    tool_calls: Mapping[str, int]

    @property
    def tokens(self) -> int | None:
        return _sum((self.input_tokens, self.output_tokens))


@dataclass(frozen=True)
class Differences:
    """What the second run has more than the first; None where one of the two does not say.

    `time_diff_ms` is by the callers' own account where both have it, else between the first and the last step.
    """

    steps_diff: int
    token_diff: int | None
    input_token_diff: int | None
    output_token_diff: int | None
    cost_diff_usd: Decimal | None
    time_diff_ms: int
    elapsed_diff_ms: int
    tool_calls_diff: int


@dataclass(frozen=True)
class Pair:
    """Two steps that belong together, or one without its like. `kinds` are all in which they differ, the main one
    first. `payload` is how payloads differ; `is_cut` if that is not all of it, or not in full."""

    path: str
    kinds: tuple[Kind, ...]
    a: Step | None
    b: Step | None
    payload: tuple[Difference, ...] = ()
    is_cut: bool = False

    @property
    def kind(self) -> Kind:
        return self.kinds[0]


@dataclass(frozen=True)
class Comparison:
    """`divergence_step` is the first of `pairs` that are not the same. Up to there it is the step's number in both."""

    a: Aggregates
    b: Aggregates
    differences: Differences
    pairs: tuple[Pair, ...]
    divergence_step: int | None


def compare(a: Sequence[Step], b: Sequence[Step], ignore: Collection[str] = DEFAULT_IGNORE) -> Comparison:
    """How the run `b` differs from the run `a`. What `ignore` names does not count; see `domain.json_diff.Ignore`.

    Raises InvalidRequest for runs that are too long, and for patterns that are none.
    """
    if max(len(a), len(b)) > MAX_ITEMS:
        raise InvalidRequest(f"One of the runs has more than {MAX_ITEMS} steps; they cannot be compared.")
    pairs = tuple(_shown(_pairs(a, b, Ignore(ignore))))
    ours, theirs = aggregate(a), aggregate(b)
    return Comparison(
        ours,
        theirs,
        _subtract(ours, theirs),
        pairs,
        next((position for position, pair in enumerate(pairs) if pair.kind is not Kind.SAME), None),
    )


def aggregate(steps: Sequence[Step]) -> Aggregates:
    taken = [step for step in steps if step.accepted]
    calls = Counter(_tool(call) for step in taken for call in _loads(step.tool_calls) or ())
    return Aggregates(
        steps=len(taken),
        statuses=Counter(map(_status, steps)),
        input_tokens=_sum(step.input_tokens for step in taken),
        output_tokens=_sum(step.output_tokens for step in taken),
        cost_usd=_sum(step.cost_usd for step in taken),
        unpriced=sum(step.cost_usd is None and (step.usage or step.model_id) is not None for step in taken),
        duration_ms=_sum(step.duration_ms for step in taken),
        elapsed_ms=(taken[-1].at - taken[0].at) // timedelta(milliseconds=1) if taken else 0,
        agents=Counter(step.agent for step in taken if step.agent is not None),
        models=Counter(step.model_id for step in taken if step.model_id is not None),
        tool_calls=calls,
    )


def _subtract(a: Aggregates, b: Aggregates) -> Differences:
    elapsed, duration = b.elapsed_ms - a.elapsed_ms, _difference(a.duration_ms, b.duration_ms)
    return Differences(
        steps_diff=b.steps - a.steps,
        token_diff=_difference(a.tokens, b.tokens),
        input_token_diff=_difference(a.input_tokens, b.input_tokens),
        output_token_diff=_difference(a.output_tokens, b.output_tokens),
        cost_diff_usd=_difference(a.cost_usd, b.cost_usd),
        time_diff_ms=elapsed if duration is None else duration,
        elapsed_diff_ms=elapsed,
        tool_calls_diff=sum(b.tool_calls.values()) - sum(a.tool_calls.values()),
    )


def _pairs(a: Sequence[Step], b: Sequence[Step], ignore: Ignore) -> Iterator[Pair]:
    """In the order of both; between two pairs, what is missing comes before what was added."""
    i = j = 0
    together = align([step.path for step in a], [step.path for step in b])
    for next_i, next_j in [*together, (len(a), len(b))]:
        yield from (Pair(step.path, (Kind.MISSING,), step, None) for step in a[i:next_i])
        yield from (Pair(step.path, (Kind.ADDED,), None, step) for step in b[j:next_j])
        if next_i < len(a):
            yield _pair(a[next_i], b[next_j], ignore)
        i, j = next_i + 1, next_j + 1


def _pair(a: Step, b: Step, ignore: Ignore) -> Pair:
    payload, is_cut = _payload_differences(a, b, ignore)
    found = {
        Kind.STATUS: _status(a) != _status(b),
        Kind.PAYLOAD: bool(payload),
        Kind.AGENT: a.agent != b.agent,
        Kind.COST: _price(a) != _price(b),
        Kind.TIMING: _took_longer(a.duration_ms, b.duration_ms),
    }
    kinds = tuple(kind for kind, differs in found.items() if differs)
    return Pair(a.path, kinds or (Kind.SAME,), a, b, payload, is_cut)


def _payload_differences(a: Step, b: Step, ignore: Ignore) -> tuple[tuple[Difference, ...], bool]:
    if (a.payload, a.error) == (b.payload, b.error):
        return (), False
    found: list[Difference] = []
    for difference in differences(_payload(a), _payload(b), ignore):
        if len(found) == MAX_DIFFERENCES:
            return tuple(found), True
        found.append(difference)
    return tuple(found), False


def _payload(step: Step) -> Any:
    """What is compared of a payload. Without any, a ping says as much as with an empty one. An error may have come
    beside it."""
    payload = _loads(step.payload)
    if payload is not None and not isinstance(payload, dict):
        return payload
    members = {name: value for name, value in (payload or {}).items() if name not in _TOLD_APART}
    return members if step.error is None else {"error": step.error, **members}


def _shown(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """With values shortened that are too long to show, until there is no room left for any."""
    room = MAX_TEXT
    for pair in pairs:
        shown: list[Difference] = []
        is_cut = pair.is_cut
        for difference in pair.payload:
            (a, a_size), (b, b_size) = _short(difference.a), _short(difference.b)
            room -= len(difference.path) + a_size + b_size
            if room < 0:
                is_cut = True
                break
            is_cut = is_cut or max(a_size, b_size) > MAX_VALUE
            shown.append(Difference(difference.path, difference.op, a, b))
        yield replace(pair, payload=tuple(shown), is_cut=is_cut) if pair.payload else pair


def _short(value: Any) -> tuple[Any, int]:
    """A value, or the beginning of its JSON, and how many characters that has, about."""
    if isinstance(value, str) and len(value) + 2 <= MAX_VALUE:
        return value, len(value) + 2
    if value is None or isinstance(value, bool | float):
        return value, len(repr(value))
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= MAX_VALUE:
        return value, len(text)
    return text[:MAX_VALUE] + "…", MAX_VALUE + 1


def _status(step: Step) -> str:
    return step.status.value if step.accepted else "rejected"


def _price(step: Step) -> tuple[object, ...]:
    return step.cost_usd, step.input_tokens, step.output_tokens


def _took_longer(a: int | None, b: int | None) -> bool:
    if a is None or b is None:
        return False
    return abs(a - b) > NOTICEABLE_MS and max(a, b) > SLOWER * min(a, b)


def _tool(call: object) -> str:
    """What a tool call names: `name`, `tool`, or as OpenAI has it `function.name`."""
    if isinstance(call, dict):
        function = call.get("function")
        for name in (call.get("name"), call.get("tool"), function.get("name") if isinstance(function, dict) else None):
            if isinstance(name, str):
                return name
    return "unknown"


def _sum(numbers: Iterable[Number | None]) -> Number | None:
    known = [number for number in numbers if number is not None]
    with localcontext(_EXACT):
        return sum(known[1:], start=known[0]) if known else None


def _difference(a: Number | None, b: Number | None) -> Number | None:
    with localcontext(_EXACT):
        return None if a is None or b is None else b - a


def _loads(text: str | None) -> Any:
    return None if text is None else json.loads(text)
