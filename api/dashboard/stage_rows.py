"""The stages of an instance as the rows of a table: the tree, and beside it when each was worked at.

Written here and not in a template: of an instance of two thousand stages, rows are most of the page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from markupsafe import Markup, escape

from api.dashboard.charts import gantt
from api.dashboard.instance_data import Look
from api.dashboard.links import with_query
from api.dashboard.numbers import duration, money
from api.dashboard.stage_spans import Sum
from api.dashboard.stage_tree import PAGE, TROUBLE, Excerpt, Node, Wanted, excerpt, row_of, tree_of
from api.dashboard.states import state_of
from domain.cleaning import cleaned
from domain.instances import StageStatus
from storage.steps import StatusChange

MAX_NAME: Final = 120
MAX_DEPTH: Final = 8
"""Levels that are indented; what is deeper stands where the deepest of them do."""

MAX_TROUBLE: Final = 12


@dataclass(frozen=True)
class Stages:
    """The table, and what is around it. `counts` are the stages by their state; `trouble` those that went wrong, some
    of them; `way_to_latest` is the page
    on which the latest step is, if it is not this one."""

    rows: Markup
    axis: Markup
    grid: Markup
    excerpt: Excerpt
    agents: Mapping[str, gantt.Agent]
    counts: Mapping[StageStatus, int]
    trouble: list[str]
    way_to_latest: str | None
    has_costs: bool
    has_agents: bool
    is_estimated: bool
    is_moved: bool
    shades: list[gantt.Shade]


def stages_of(look: Look, wanted: Wanted, changes: Sequence[StatusChange]) -> Stages:
    """The rows that are `wanted`, as of the step that is looked at."""
    course = look.course
    nodes = tree_of(look.view.stages)
    shown = excerpt(nodes, wanted)
    agents = gantt.agents_of(course.agents())
    scale = gantt.Scale(course.start, course.finish)
    costs = course.costs()
    table = _Table(look, wanted, shown, scale, agents, course.sums(costs))
    rows = Markup("".join(table.row(node, costs.get(node.path)) for node in shown.nodes))
    shades = [
        gantt.Shade(pause.start, pause.end, pause.reason) for pause in look.row.pauses_made() if pause.start <= look.end
    ]
    moments = [change.at for change in changes if change.before is not None and course.start < change.at <= look.end]
    here = look.marks[look.step].at if look.step is not None else None
    counts: dict[StageStatus, int] = {}
    for stage in look.view.stages.values():
        counts[stage.status] = counts.get(stage.status, 0) + 1
    return Stages(
        rows=rows,
        axis=gantt.axis(scale),
        grid=gantt.grid(scale, shades, moments, here),
        excerpt=shown,
        agents=agents,
        counts=counts,
        trouble=[path for path, stage in look.view.stages.items() if stage.status in TROUBLE][:MAX_TROUBLE],
        way_to_latest=_way_to(look, nodes, shown, wanted),
        has_costs=bool(costs),
        has_agents=bool(agents),
        is_estimated=table.is_estimated,
        is_moved=bool(course.moved),
        shades=shades,
    )


class _Table:
    def __init__(
        self,
        look: Look,
        wanted: Wanted,
        shown: Excerpt,
        scale: gantt.Scale,
        agents: Mapping[str, gantt.Agent],
        sums: Mapping[str, Sum],
    ) -> None:
        self._look, self._wanted, self._shown, self._scale = look, wanted, shown, scale
        self._agents, self._sums = dict(agents), sums
        self._address = f"/instances/{look.row.id}"
        self._here = look.marks[look.step].path if look.step is not None else None
        top = min((node.depth for node in shown.nodes), default=0)
        self._top = 0 if wanted.is_filtered else top
        self.is_estimated = False

    def row(self, node: Node, cost: Decimal | None) -> str:
        path = escape(node.path)
        spans = self._look.course.spans(node.path) if node.view is not None else []
        if any(not span.is_measured for span in spans):
            self.is_estimated = True
        below = self._sums.get(node.path)
        is_folded = node.path in self._shown.folded
        seconds = sum((span.end - span.start).total_seconds() for span in spans) if spans else None
        if (is_folded or node.view is None) and below is not None:
            amount = below.cost_usd if cost is None else (below.cost_usd or Decimal(0)) + cost
        else:
            amount = cost
        if spans:
            lane = gantt.lane(self._scale, spans, self._agents, self._look.course.moved)
        elif below is not None:
            lane = gantt.bracket(self._scale, below.first, below.last)
            seconds = (below.last - below.first).total_seconds()
        else:
            lane = gantt.lane(self._scale, (), self._agents)
        # How long a ping took that says nothing of it, and has none before it, nobody knows.
        is_known = seconds is not None and (seconds > 0 or any(span.is_measured for span in spans))
        took = duration(seconds) if is_known else "–"
        cost_words = money(amount) if amount is not None else "–"
        brief = " · ".join(words for words in (took, cost_words) if words != "–")
        classes = ' class="here"' if node.path == self._here else ""
        return (
            f'<tr{classes}><th scope="row">{self._name(node, path, is_folded, brief)}</th>'
            f"<td>{_badge(node)}</td><td>{self._agent(node)}</td>"
            f'<td class="number">{took}</td><td class="number">{cost_words}</td><td class="time">{lane}</td></tr>'
        )

    def _name(self, node: Node, path: str, is_folded: bool, brief: str) -> str:
        depth = min(MAX_DEPTH, node.depth - self._top) if not self._wanted.is_filtered else 0
        numbers = self._look.course.by_path.get(node.path)
        words = f"<code>{path}</code>"
        if node.view is not None and node.view.name:
            words += f" <bdi>{escape(cleaned(node.view.name[:MAX_NAME]))}</bdi>"
        if numbers:
            words = f'<a href="{self._address}/steps/{numbers[-1]}">{words}</a>'
        parts = [words]
        if numbers and len(numbers) > 1:
            parts.append(f'<span class="times" title="Pinged {len(numbers)} times">×{len(numbers)}</span>')
        if is_folded:
            address = escape(with_query(self._address, under=node.path, step=self._look.step))
            parts.append(f'<a class="unfold" href="{address}" data-swap>{node.below:,} below</a>')
        error = node.view.error if node.view is not None else None
        if error:
            parts.append(f'<span class="error"><bdi>{escape(cleaned(error[:MAX_NAME]))}</bdi></span>')
        parts.append(f'<span class="brief">{brief}</span>')
        return f'<span class="stage d{depth}">{" ".join(parts)}</span>'

    def _agent(self, node: Node) -> str:
        name = node.view.agent if node.view is not None else None
        if name is None:
            return '<span class="soft">–</span>'
        agent = self._agents.get(name)
        letters = f'<span class="agent c{agent.colour}">{agent.letters}</span> ' if agent is not None else ""
        return f"{letters}<bdi>{escape(cleaned(name[:40]))}</bdi>"


def _badge(node: Node) -> str:
    if node.view is not None:
        state = state_of(node.view.status.value)
        return _marked(state.tone, state.icon, state.label)
    if node.wrong:
        return _marked("bad", "cross", f"{node.wrong:,} of {node.below:,} wrong")
    return f'<span class="soft small below">{node.done:,} of {node.below:,} done</span>'


def _marked(tone: str, icon: str, label: str) -> str:
    return (
        f'<span class="state {tone}"><svg class="icon" aria-hidden="true" focusable="false">'
        f'<use href="#i-{icon}"/></svg><span>{label}</span></span>'
    )


def _way_to(look: Look, nodes: Sequence[Node], shown: Excerpt, wanted: Wanted) -> str | None:
    """The address at which the latest step is on the page, if it is not on this one."""
    latest = look.taken[-1].path if look.taken else None
    if latest is None or wanted.is_filtered or any(node.path == latest for node in shown.nodes):
        return None
    address = f"/instances/{look.row.id}"
    folded = next((path for path in shown.folded if latest.startswith(f"{path}.")), None)
    if folded is not None:
        return with_query(address, under=folded, step=look.step)
    place = row_of(nodes, latest)
    if wanted.under or place is None:
        return None
    return with_query(address, **{"from": place // PAGE * PAGE}, step=look.step)
