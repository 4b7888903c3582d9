"""In what two runs differ, in words: what a comparison says, as the rows of tables."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from api.dashboard.numbers import count, duration, money, percent
from domain.comparison import Kind

KINDS: Final[Mapping[str, str]] = {
    Kind.MISSING: "Only in A",
    Kind.ADDED: "Only in B",
    Kind.STATUS: "State",
    Kind.PAYLOAD: "Payload",
    Kind.AGENT: "Agent",
    Kind.COST: "Cost",
    Kind.TIMING: "Time",
    Kind.SAME: "Same",
}
"""What is said of a pair of steps."""

_OPS: Final = {"add": "Added", "remove": "Removed", "replace": "Changed"}


@dataclass(frozen=True)
class Figure:
    """One thing that both add up to; `difference` is what B has more, with a sign and in words."""

    name: str
    a: str
    b: str
    difference: str
    is_same: bool


@dataclass(frozen=True)
class Change:
    """One difference of two payloads. `a` and `b` are JSON, None where there is nothing."""

    path: str
    op: str
    words: str
    a: str | None
    b: str | None


@dataclass(frozen=True)
class Row:
    """Two steps that belong together, or one without its like. `differing` names what of them is to be marked."""

    number: int
    path: str
    kind: str
    kinds: Sequence[str]
    a: Mapping[str, Any] | None
    b: Mapping[str, Any] | None
    differing: frozenset[str]
    changes: Sequence[Change]
    is_cut: bool
    is_divergence: bool

    @property
    def is_same(self) -> bool:
        return self.kind == Kind.SAME


def figures(comparison: Mapping[str, Any]) -> list[Figure]:
    """What the runs add up to, side by side."""
    a, b = comparison["instance_a"]["aggregates"], comparison["instance_b"]["aggregates"]
    found = [
        _counted("Steps", a["total_steps"], b["total_steps"]),
        _priced("Cost", a["total_cost_usd"], b["total_cost_usd"]),
        _counted("Input tokens", a["input_tokens"], b["input_tokens"]),
        _counted("Output tokens", a["output_tokens"], b["output_tokens"]),
        _timed("From first to last step", a["elapsed_ms"], b["elapsed_ms"]),
        _timed("Time by its own account", a["total_duration_ms"], b["total_duration_ms"]),
    ]
    for name, words in (("failed", "Failed steps"), ("rejected", "Rejected steps"), ("pending", "Announced steps")):
        if name in a["statuses"] or name in b["statuses"]:
            found.append(_counted(words, a["statuses"].get(name, 0), b["statuses"].get(name, 0)))
    if a["unpriced_steps"] or b["unpriced_steps"]:
        found.append(_counted("Unpriced steps", a["unpriced_steps"], b["unpriced_steps"]))
    for name, words in (("agents", "Agents"), ("models", "Models"), ("tool_calls", "Tool calls")):
        if a[name] or b[name]:
            found.append(_listed(words, a[name], b[name]))
    return [figure for figure in found if (figure.a, figure.b) != ("–", "–")]


def _counted(name: str, a: int | None, b: int | None) -> Figure:
    return Figure(name, count(a), count(b), difference(a, b, count(_gap(a, b)), "more", "fewer"), a == b)


def _priced(name: str, a: float | None, b: float | None) -> Figure:
    return Figure(name, money(a), money(b), difference(a, b, money(_gap(a, b)), "more", "less"), a == b)


def _timed(name: str, a: int | None, b: int | None) -> Figure:
    gap = _gap(a, b)
    words = difference(a, b, duration(float(gap) / 1000) if gap is not None else "–", "longer", "shorter")
    return Figure(name, _seconds(a), _seconds(b), words, a == b)


def _seconds(milliseconds: int | None) -> str:
    return duration(milliseconds / 1000 if milliseconds is not None else None)


def _gap(a: Any, b: Any) -> Any:
    return None if a is None or b is None else abs(Decimal(str(b)) - Decimal(str(a)))


def difference(a: Any, b: Any, gap: str, more: str, less: str) -> str:
    """What B has more than A: +$0.05, 18 % more."""
    if a is None or b is None:
        return "not said by both"
    if a == b:
        return "the same"
    sign, word = ("+", more) if b > a else ("−", less)
    share = abs(Decimal(str(b)) - Decimal(str(a))) / Decimal(str(a)) if a else None
    if share is None:
        return f"{sign}{gap}, {word}"
    if share >= 2:
        return f"{sign}{gap}, {float(b) / float(a):.1f} times as much"
    # A whole of it less is nothing that is left.
    return f"{sign}{gap}, {percent(float(share), 0) if share < 1 else f'{share * 100:.0f} %'} {word}"


def _listed(name: str, a: Mapping[str, int], b: Mapping[str, int]) -> Figure:
    only_a, only_b = [one for one in a if one not in b], [one for one in b if one not in a]
    parts = [f"+ {shown(one)}" for one in only_b] + [f"− {shown(one)}" for one in only_a]
    changed = [one for one in a if one in b and a[one] != b[one]]
    parts += [f"{shown(one)} ×{a[one]} → ×{b[one]}" for one in changed]
    words = ", ".join(parts[:8]) + (f" and {len(parts) - 8} more" if len(parts) > 8 else "")
    return Figure(name, _names(a), _names(b), words or "the same", not parts)


def _names(counts: Mapping[str, int]) -> str:
    names = [f"{shown(name)} ×{number}" for name, number in counts.items()]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") or "none"


def shown(text: str) -> str:
    """As far as it can be written: halves of surrogate pairs cannot, and names may be long."""
    text = text if len(text) <= 80 else text[:80] + "…"
    return text.encode(errors="backslashreplace").decode()


def rows(comparison: Mapping[str, Any]) -> Iterator[Row]:
    """All pairs, in their order."""
    for number, pair in enumerate(comparison["steps"]):
        yield Row(
            number=number,
            path=pair["stage_path"],
            kind=pair["kind"],
            kinds=pair["kinds"],
            a=pair["a"],
            b=pair["b"],
            differing=frozenset(pair["kinds"]),
            changes=[_change(one) for one in pair["payload_diff"]],
            is_cut=pair["payload_diff_truncated"],
            is_divergence=number == comparison["divergence_step"],
        )


def _change(found: Mapping[str, Any]) -> Change:
    return Change(
        path=found["path"].encode(errors="backslashreplace").decode() or "all of it",
        op=found["op"],
        words=_OPS[found["op"]],
        a=_value(found["a"]) if "a" in found else None,
        b=_value(found["b"]) if "b" in found else None,
    )


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2).encode(errors="backslashreplace").decode()
