"""Another course of an instance: forks and reruns are made here, and the tree that comes of them is shown."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.forms import Form, build
from api.dashboard.instance_data import Look, head_of, look_at
from api.dashboard.links import with_query
from api.dashboard.payloads import Body, body_of
from api.dashboard.rendering import see
from api.dashboard.visitors import FormDep, Visitor, VisitorDep
from api.deps import SessionsDep, SettingsDep, SnapshotDep, Text
from api.fork_views import NewFork, NewRerun
from api.pages import Cursor, decode_cursor, encode_cursor
from api.routes import forks, reruns
from api.views import current_views
from config.settings import Settings
from domain.errors import DomainError, FieldError, Forbidden, InvalidRequest
from domain.evaluation import InstanceView
from domain.forks import field_of
from domain.subjects import instance_subject
from storage.base import snapshot
from storage.forks import list_lineage
from storage.instances import Instance
from storage.steps import costs_of
from storage.timeline import read_steps

router = APIRouter(include_in_schema=False)

MAX_CHANGED: Final = 20
"""Stages whose payloads can be changed with one form."""
SHOWN: Final = 4_000
LISTED: Final = 50

_PREFIX: Final = field_of("")


@dataclass(frozen=True)
class Executed:
    """A stage from which one can go on."""

    path: str
    name: str | None


@dataclass(frozen=True)
class Changed:
    """A stage whose payload is to be changed: `text` is what was written so far, `present` what it is."""

    path: str
    text: str
    present: Body | None


@dataclass(frozen=True)
class Relation:
    """One of a lineage; `depth` is how far it is indented."""

    row: Instance
    view: InstanceView
    cost_usd: Decimal | None
    depth: int


@router.get("/instances/{instance_id}/go-on")
async def show_form(
    instance_id: Text,
    visitor: VisitorDep,
    session: SnapshotDep,
    settings: SettingsDep,
    stage: Annotated[Text, Query(max_length=300)] = "",
) -> Response:
    """A fork or a rerun, to be made."""
    if not visitor.may_write:
        raise Forbidden("Members of the account can make forks and reruns; ask one of them.")
    look = await look_at(session, visitor.principal, instance_id)
    return await _form(visitor, session, settings, look, stage, [stage] if stage else [])


@router.post("/instances/{instance_id}/go-on")
async def go_on(
    instance_id: Text,
    request: Request,
    visitor: VisitorDep,
    form: FormDep,
    sessions: SessionsDep,
    settings: SettingsDep,
) -> Response:
    """Makes it, or shows the form with one more stage whose payload can be changed."""
    error: DomainError | None = None
    if "add" not in form:
        try:
            return see(await _make(instance_id, request, visitor, form, sessions, settings))
        except DomainError as refused:
            error = refused
    async with snapshot(sessions) as session:
        look = await look_at(session, visitor.principal, instance_id)
        paths = [*changed_paths(form.names()), *([form.get("more")] if "add" in form and form.get("more") else [])]
        return await _form(visitor, session, settings, look, form.get("fork_from_stage"), paths, form, error)


async def _make(
    instance_id: str, request: Request, visitor: Visitor, form: Form, sessions: SessionsDep, settings: Settings
) -> str:
    """The address of the new instance."""
    changes = modifications_in(form)
    if form.get("how") == "rerun":
        again = build(NewRerun, {"payload_modifications": changes})
        made = await reruns.rerun(instance_id, sessions, settings, visitor.principal, visitor.request, again)
        return f"/instances/{made.new_instance_id}?done=rerun"
    body = build(NewFork, {"fork_from_stage": form.get("fork_from_stage"), "payload_modifications": changes})
    forked = await forks.fork(instance_id, body, request, sessions, visitor.principal)
    return f"/instances/{forked.forked_instance_id}?done=forked"


def changed_paths(names: Iterable[str]) -> list[str]:
    """The stages for which a form has a field."""
    return [name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX)]


def modifications_in(form: Form) -> dict[str, dict[str, Any]]:
    """By stage, what was written for it; nothing where nothing was. Raises InvalidRequest that names every field."""
    found: dict[str, dict[str, Any]] = {}
    wrong: list[FieldError] = []
    for path in changed_paths(form.names()):
        text = form.text(field_of(path))
        if text is None:
            continue
        try:
            value = json.loads(text, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
            wrong.append(FieldError(field_of(path), f"is not valid JSON{where}"))
            continue
        if isinstance(value, dict):
            found[path] = value
        else:
            wrong.append(FieldError(field_of(path), 'must be a JSON object, such as {"retry": true}'))
    if wrong:
        raise InvalidRequest("Some of the changes cannot be read.", fields=tuple(wrong))
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


async def _form(
    visitor: Visitor,
    session: AsyncSession,
    settings: Settings,
    look: Look,
    stage: str,
    paths: Sequence[str],
    form: Form | None = None,
    error: DomainError | None = None,
) -> Response:
    executed = executed_stages(look)
    known = {one.path for one in executed}
    changed = [path for path in dict.fromkeys(paths) if path in known or (form is not None and path)][:MAX_CHANGED]
    return visitor.page(
        "instances/go_on.html",
        section="workflows",
        error=error,
        form=form,
        executed=executed,
        stage=stage if stage in known else (executed[-1].path if executed else ""),
        how=form.get("how", "fork") if form is not None else "fork",
        changed=[await _changed(session, look, path, form) for path in changed],
        addable=[one for one in executed if one.path not in changed] if len(changed) < MAX_CHANGED else [],
        address=f"/instances/{look.row.id}",
        **head_of(look, settings, ""),
    )


async def _changed(session: AsyncSession, look: Look, path: str, form: Form | None) -> Changed:
    numbers = look.course.by_path.get(path)
    present = None
    if numbers:
        page = await read_steps(session, look.row.id, start=numbers[-1], limit=1)
        present = body_of(page.steps[0].payload, SHOWN) if page.steps else None
    return Changed(path, form.get(field_of(path)) if form is not None else "", present)


def executed_stages(look: Look) -> list[Executed]:
    """In the order in which they came first."""
    stages = look.view.stages
    return [Executed(path, stages[path].name if path in stages else None) for path in look.course.by_path]


@router.get("/instances/{instance_id}/lineage")
async def show_lineage(
    instance_id: Text, visitor: VisitorDep, session: SnapshotDep, settings: SettingsDep, cursor: Cursor = None
) -> Response:
    """The whole tree that the instance belongs to, the oldest first."""
    look = await look_at(session, visitor.principal, instance_id)
    root_id = look.row.root_id or look.row.id
    rows = await list_lineage(session, root_id, limit=LISTED + 1, after=decode_cursor(cursor))
    page = rows[:LISTED]
    views = await current_views(session, page)
    costs = await costs_of(session, [row.id for row in page])
    address = f"/instances/{look.row.id}/lineage"
    more = encode_cursor(page[-1].opened_at, page[-1].id) if len(rows) > LISTED else None
    return visitor.page(
        "instances/lineage.html",
        section="workflows",
        live=instance_subject(look.row.workflow_id, ""),
        root_id=root_id,
        relations=[Relation(row, views[row.id], costs.get(row.id), depth) for row, depth in in_tree_order(page)],
        next=with_query(address, cursor=more) if more is not None else None,
        first=address if cursor else None,
        **head_of(look, settings, "lineage"),
    )


def in_tree_order(rows: Sequence[Instance]) -> list[tuple[Instance, int]]:
    """Each below what it was made of, with how deep it is; whose parent is not among them stands at the top."""
    known = {row.id for row in rows}
    children: dict[str | None, list[Instance]] = {}
    for row in rows:
        children.setdefault(row.parent_id if row.parent_id in known else None, []).append(row)
    found: list[tuple[Instance, int]] = []
    waiting = [(row, 0) for row in reversed(children.get(None, []))]
    while waiting:
        row, depth = waiting.pop()
        found.append((row, depth))
        waiting.extend((child, depth + 1) for child in reversed(children.get(row.id, [])))
    return found
