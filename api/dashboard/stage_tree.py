"""The stages of an instance as the rows of a tree, and which of very many are shown."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from domain import paths
from domain.evaluation import StageView
from domain.instances import StageStatus

PAGE: Final = 250
"""Rows that are shown at once."""

TROUBLE: Final = (StageStatus.FAILED, StageStatus.TIMEOUT, StageStatus.MISSED)


@dataclass(frozen=True)
class Node:
    """A row of the tree. `view` is None of one that was never pinged itself, only stages below it."""

    path: str
    depth: int
    view: StageView | None
    below: int = 0
    """How many stages are below it, however deep; of those so many are `done`, and so many went `wrong`."""
    done: int = 0
    wrong: int = 0


@dataclass(frozen=True)
class Wanted:
    """What the reader asked to see: below a stage, by words or by state, from which row on."""

    under: str = ""
    find: str = ""
    state: str = ""
    start: int = 0

    @property
    def is_filtered(self) -> bool:
        return bool(self.find.strip() or self.state)


@dataclass(frozen=True)
class Excerpt:
    """Some of `total` rows. `folded` are the paths whose stages are not shown, but are `below` them."""

    nodes: list[Node]
    total: int
    start: int
    folded: frozenset[str]

    @property
    def end(self) -> int:
        return self.start + len(self.nodes)


def tree_of(stages: Mapping[str, StageView]) -> list[Node]:
    """All rows in the order of the tree. Of `2.1` there is a row `2`, too, whether it was pinged or not."""
    below: Counter[paths.Numbers] = Counter()
    done: Counter[paths.Numbers] = Counter()
    wrong: Counter[paths.Numbers] = Counter()
    known: dict[paths.Numbers, str] = {}
    names: list[str] = []
    for path in stages:
        levels = paths.numbers(path)
        if levels is None:
            names.append(path)
            continue
        known[levels] = path
        status = stages[path].status
        for depth in range(1, len(levels)):
            below[levels[:depth]] += 1
            done[levels[:depth]] += status is StageStatus.HEALTHY
            wrong[levels[:depth]] += status in TROUBLE
    numbered = sorted(known.keys() | below.keys())

    def node(levels: paths.Numbers) -> Node:
        path = known.get(levels) or paths.text(levels)
        return Node(path, len(levels) - 1, stages.get(path), below[levels], done[levels], wrong[levels])

    return [*map(node, numbered), *(Node(path, 0, stages[path]) for path in names)]


def excerpt(nodes: Sequence[Node], wanted: Wanted, page: int = PAGE) -> Excerpt:
    """The rows that are shown. Where there are too many, the deepest levels are folded first, then the rest is paged.

    What was asked for by words or state is shown flat, wherever it is.
    """
    shown: list[Node] = list(_under(nodes, wanted.under))
    folded: Collection[str] = ()
    if wanted.is_filtered:
        shown = [node for node in shown if _fits(node, wanted)]
    elif len(shown) > page:
        depth = _depth_that_fits(shown, page)
        folded = [node.path for node in shown if node.depth == depth and node.below]
        shown = [node for node in shown if node.depth <= depth]
    start = min(wanted.start, max(0, len(shown) - 1)) // page * page
    return Excerpt(shown[start : start + page], len(shown), start, frozenset(folded))


def _under(nodes: Sequence[Node], under: str) -> Iterator[Node]:
    ancestor = paths.numbers(under) if under else ()
    for node in nodes:
        if not ancestor or (levels := paths.numbers(node.path)) is not None and paths.is_at_or_below(levels, ancestor):
            yield node


def _depth_that_fits(nodes: Sequence[Node], page: int) -> int:
    """The deepest level down to which all rows fit; the top level always does. The first row may be one by itself."""
    counts = Counter(node.depth for node in nodes)
    top = min(counts)
    # Below a stage that was unfolded, its own level says nothing yet.
    shown, deepest = counts[top], top + 1 if counts[top] == 1 and len(counts) > 1 else top
    for depth in sorted(counts):
        if depth == top:
            continue
        shown += counts[depth]
        if shown > page:
            break
        deepest = depth
    return deepest


def _fits(node: Node, wanted: Wanted) -> bool:
    if wanted.state and (node.view is None or node.view.status != wanted.state):
        return False
    words = wanted.find.strip().casefold()
    if not words:
        return True
    view = node.view
    texts = (node.path, *((view.name, view.agent) if view is not None else ()))
    return any(words in text.casefold() for text in texts if text)


def row_of(nodes: Sequence[Node], path: str) -> int | None:
    """Where the row of a stage is, if all are shown one after the other."""
    return next((number for number, node in enumerate(nodes) if node.path == path), None)
