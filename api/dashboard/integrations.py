"""Integrations: the guides, with the reader's own address, key and ids in every example."""

from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Query
from markupsafe import Markup
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from api.dashboard.guides import GUIDES, Guide, Own, guide_html
from api.dashboard.made_keys import make_key
from api.dashboard.visitors import FormDep, Visitor, VisitorDep
from api.deps import SessionDep, SettingsDep, SnapshotDep, Text
from config.settings import Settings
from domain.errors import NotFound
from domain.workflows import WorkflowKind
from storage.processes import ProcessHook, list_hooks
from storage.pulse_reads import list_pulses
from storage.workflows import list_workflows

router = APIRouter(include_in_schema=False)

MOST: Final = 200
"""Of each, to choose from."""

Choice = Annotated[Text, Query(max_length=128)]


def _folder() -> Path:
    """Beside this file where PingPulse was installed as a wheel, else in the repository."""
    packed = Path(__file__).parent / "guides"
    return packed if packed.is_dir() else Path(__file__).parents[2] / "docs" / "integrations"


_TEXTS: Final = {path.stem: path.read_text(encoding="utf-8") for path in _folder().glob("*.md")}


@router.get("/integrations")
async def show_list(visitor: VisitorDep) -> Response:
    guides = {name: guide for name, guide in GUIDES.items() if name in _TEXTS}
    return visitor.page("integrations/list.html", section="integrations", guides=guides)


@router.get("/integrations/{name}")
async def show(
    name: str,
    visitor: VisitorDep,
    session: SnapshotDep,
    settings: SettingsDep,
    workflow: Choice = "",
    pulse: Choice = "",
    hook: Choice = "",
) -> Response:
    chosen = {"workflow": workflow, "pulse": pulse, "hook": hook}
    return await _page(visitor, session, settings, name, chosen)


@router.post("/integrations/{name}")
async def show_with_key(
    name: str, visitor: VisitorDep, form: FormDep, session: SessionDep, settings: SettingsDep
) -> Response:
    """The same page with a new key in it, which is shown this once."""
    guide = _guide(name)
    key = await make_key(visitor, session, f"For {guide.title}"[:100])
    chosen = {field: form.get(field) for field in ("workflow", "pulse", "hook")}
    return await _page(visitor, session, settings, name, chosen, key=key)


def _guide(name: str) -> Guide:
    if name not in GUIDES or name not in _TEXTS:
        raise NotFound("There is no such guide; the list has all of them.")
    return GUIDES[name]


async def _page(
    visitor: Visitor,
    session: AsyncSession,
    settings: Settings,
    name: str,
    chosen: dict[str, str],
    *,
    key: str | None = None,
) -> Response:
    guide = _guide(name)
    choices = await _choices(session, visitor.account.id, guide)
    # Only what is the account's own, so that no link puts anything else into what people copy.
    mine = {field: chosen[field] if chosen[field] in dict(choices.get(field, ())) else "" for field in chosen}
    own = Own(settings.base_url, key, mine["workflow"] or None, mine["pulse"] or None, mine["hook"] or None)
    return visitor.page(
        "integrations/guide.html",
        section="integrations",
        name=name,
        guide=guide,
        choices=choices,
        chosen=mine,
        key=key,
        html=Markup(guide_html(_TEXTS[name], guide, own)),
        has_key_in_it="YOUR_KEY" in _TEXTS[name],
    )


async def _choices(session: AsyncSession, account_id: str, guide: Guide) -> dict[str, list[tuple[str, str]]]:
    """What of the account's own the guide's examples may be about: by field, what is written into them and its name."""
    choices: dict[str, list[tuple[str, str]]] = {}
    if guide.workflows:
        kind = WorkflowKind(guide.workflow_kind)
        rows = await list_workflows(session, account_id, limit=MOST, before=None, kind=kind)
        is_by_slug = kind is WorkflowKind.RUN
        choices["workflow"] = [(row.slug if is_by_slug else row.id, row.name or row.id) for row in rows]
    if guide.pulses:
        choices["pulse"] = [(row.slug, row.name) for row in await list_pulses(session, account_id, limit=MOST)]
    if guide.hooks:
        hooks: list[ProcessHook] = await list_hooks(session, account_id, limit=MOST)
        choices["hook"] = [(hook.slug, hook.name) for hook in hooks]
    return choices
