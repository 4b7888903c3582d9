"""The guides of `docs/integrations`, as pages with the reader's own address, key and ids in their examples. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

ADDRESS: Final = "http://localhost:8000"
KEY: Final = "YOUR_KEY"
ID: Final = "YOUR_ID"


@dataclass(frozen=True)
class Guide:
    """`title` and `about` are for lists. The names that its examples have, by what they are of; one that is a usual
    word, too, is given as the text around it, with the name in braces."""

    title: str
    about: str
    workflows: tuple[str, ...] = ()
    pulses: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    workflow_kind: str = "dynamic"


@dataclass(frozen=True)
class Own:
    """What is the reader's own; None for what stays as the guide has it."""

    base_url: str
    key: str | None = None
    workflow: str | None = None
    pulse: str | None = None
    hook: str | None = None


GUIDES: Final[Mapping[str, Guide]] = {
    "shell": Guide(
        "Shell", "Jobs, pings and approvals from hosts that have only a shell and curl; PowerShell, too.",
        workflows=("nightly-etl", "--workflow {training}"),
        pulses=("nightly-backup", "heartbeat", "plain-curl", "from-powershell"),
    ),
    "cron": Guide(
        "Cron", "Notice jobs that fail, take too long, or do not run at all.",
        pulses=("nightly-backup", "hourly-backup", "daily-backup", "script-backup"),
    ),
    "python": Guide(
        "Python", "A client with context managers and decorators, for threads and asyncio.",
        workflows=("ml_pipeline", 'workflow("{etl}")', 'workflow("{agents}")', '"{orders}"'),
        pulses=('run("{nightly}"', "`{nightly}`", "worker-7"),
        hooks=('process("{nightly-etl}"',),
    ),
    "node": Guide(
        "Node", "Without any package, by fetch.", workflows=("node-etl",), pulses=("node-worker",),
    ),
    "github-actions": Guide(
        "GitHub Actions", "Steps of a pipeline as stages, and scheduled pipelines as pulses.",
        workflows=("workflow: {ci}\n",), pulses=("nightly-build",),
    ),
    "airflow": Guide(
        "Airflow", "The published provider: operators, a decorator and callbacks.",
        workflows=("etl_operators", "etl_decorated", "etl_callbacks"), pulses=("nightly-etl",),
    ),
    "opentelemetry": Guide(
        "OpenTelemetry", "Agents and models that are traced, without code of ours.",
        workflows=("OTEL_SERVICE_NAME={research}", '"stringValue": "{research}"', "/{research}/", "`{research}`"),
    ),
    "openlineage": Guide("OpenLineage", "Airflow, Spark and dbt, by the events they tell Marquez of."),
    "flowpulse": Guide(
        "n8n, Make, Zapier", "Automations that report their runs to FlowPulse, by another address.",
        workflows=("lead-enrichment",), workflow_kind="run",
    ),
    "mcp": Guide(
        "AI agents (MCP)", "Tools with which agents report, ask people first, and look at what happened.",
        workflows=('"workflow_id": "{newsletter}"',),
    ),
}  # fmt: skip
"""By the name of the file, in the order of the list."""

_WORD_EDGE: Final = r"[A-Za-z0-9_\-]"


def filled(text: str, guide: Guide, own: Own) -> str:
    """An example with what is the reader's own in place of what the guide has."""
    for names, mine in ((guide.workflows, own.workflow), (guide.pulses, own.pulse), (guide.hooks, own.hook)):
        if mine is not None:
            for name in names:
                text = _renamed(text, name, mine)
    if own.workflow is not None:
        text = text.replace(ID, own.workflow)
    address = urlsplit(own.base_url)
    text = text.replace(ADDRESS, own.base_url)
    # Airflow wants scheme and host apart.
    text = text.replace("--conn-schema http ", f"--conn-schema {address.scheme} ")
    text = re.sub(r"(?<!/)localhost:8000", lambda _: address.netloc + address.path, text)
    return text.replace(KEY, own.key) if own.key is not None else text


def _renamed(text: str, name: str, mine: str) -> str:
    before, brace, rest = name.partition("{")
    if brace:
        inside, _, after = rest.partition("}")
        return text.replace(f"{before}{inside}{after}", f"{before}{mine}{after}")
    return re.sub(f"(?<!{_WORD_EDGE}){re.escape(name)}(?!{_WORD_EDGE})", lambda _: mine, text)


def guide_html(markdown: str, guide: Guide, own: Own) -> str:
    """The guide without its title, as HTML. `markdown` is one of ours: raw HTML in it would be shown as text."""
    parser = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")
    tokens = parser.parse(markdown)
    if [token.type for token in tokens[:3]] == ["heading_open", "inline", "heading_close"]:
        tokens = tokens[3:]
    html: str = parser.renderer.render(tokens, parser.options, {"guide": guide, "own": own})
    return html


def own_link(address: str) -> str:
    """Where a link of a guide leads on these pages."""
    file, _, anchor = address.partition("#")
    name = file.removesuffix(".md")
    if name in GUIDES and file.endswith(".md"):
        return f"/integrations/{name}" + (f"#{anchor}" if anchor else "")
    return "/docs" if file == "../api.md" else address


class _Renderer(RendererHTML):
    """As the style sheet wants it. Everything from a token is escaped."""

    def fence(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        code = filled(tokens[idx].content.rstrip("\n"), env["guide"], env["own"])
        return (
            f'<div class="copy"><pre tabindex="0"><code>{escape(code)}</code></pre>'
            '<button type="button" class="quiet" data-copy hidden>'
            '<svg class="icon" aria-hidden="true" focusable="false"><use href="#i-copy"/></svg>'
            "<span>Copy</span></button></div>\n"
        )

    def code_inline(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        # With the marks around it, by which some names are told from words.
        code = filled(f"`{tokens[idx].content}`", env["guide"], env["own"])[1:-1]
        return f"<code>{escape(code)}</code>"

    def table_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        number = env["tables"] = env.get("tables", 0) + 1
        return f'<div class="scroll" tabindex="0" role="region" aria-label="Table {number}"><table>'

    def table_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return "</table></div>"

    def th_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        # A column without a name is no header.
        return '<th scope="col">' if tokens[idx + 1].content else "<td>"

    def th_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return "</th>" if tokens[idx - 1].content else "</td>"

    def heading_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        anchor = re.sub(r"[^a-z0-9]+", "-", tokens[idx + 1].content.lower()).strip("-")
        return f'<{tokens[idx].tag} id="{escape(anchor)}">'

    def link_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return f'<a href="{escape(own_link(str(tokens[idx].attrGet("href") or "")))}">'
