"""Finding things of an account by what people remember of them: a part of a name, the beginning of an id, a tag."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import ALPHABET

MAX_QUERY: Final = 200
SHORTEST_ID: Final = 3
"""Of an id; a shorter beginning fits too many things of other accounts, which are looked through."""
LAST_CHARACTER: Final = "\U0010ffff"


@dataclass(frozen=True)
class Found:
    """`note` is what else was found to fit, or what tells it from others of its name; `at` is when it was last heard
    of, or made. `is_exact`: its id is what was looked for."""

    subject: str
    name: str
    note: str | None
    status: str | None
    at: datetime | None
    is_exact: bool = False


_NAMED: Final = """(name ILIKE :part OR slug ILIKE :part OR starts_with(id, :query)
    OR EXISTS (SELECT 1 FROM jsonb_array_elements_text(tags) tag WHERE lower(tag) = :lower))"""

_ORDER: Final = """ORDER BY is_exact DESC, lower(name) = :lower DESC, starts_with(lower(name), :lower) DESC,
    created_at DESC, id"""

_WORKFLOWS: Final = text(f"""
SELECT 'workflow/' || id AS subject, coalesce(nullif(name, ''), id) AS name, id AS note, kind AS status,
       created_at AS at, id = :query OR slug = :query AS is_exact
FROM workflows WHERE account_id = :account_id AND deleted_at IS NULL AND {_NAMED}
{_ORDER} LIMIT :limit
""")

# Each branch by an index of its own. By id, what fits of other accounts is read, too: few, as ids are random.
_INSTANCES: Final = text("""
SELECT 'instance/' || i.workflow_id || '/' || i.id AS subject, coalesce(nullif(w.name, ''), w.id) AS name,
       i.id || coalesce(' · ' || i.external_id, '') || coalesce(' · ' || i.correlation_id, '') AS note,
       i.status, i.opened_at AS at, i.id = :query OR i.external_id = :query AS is_exact
FROM (
    (SELECT id FROM instances WHERE :is_id AND id BETWEEN :lower AND :id_end AND starts_with(id, :lower)
        AND account_id = :account_id LIMIT :limit)
    UNION
    (SELECT id FROM instances WHERE account_id = :account_id AND external_id ~>=~ :query AND external_id ~<~ :end
        ORDER BY external_id USING ~<~ LIMIT :limit)
    UNION
    (SELECT id FROM instances WHERE account_id = :account_id AND correlation_id ~>=~ :query AND correlation_id ~<~ :end
        ORDER BY correlation_id USING ~<~ LIMIT :limit)
) found
JOIN instances i ON i.id = found.id JOIN workflows w ON w.id = i.workflow_id
ORDER BY is_exact DESC, i.opened_at DESC, i.id LIMIT :limit
""")

_PULSES: Final = text(f"""
SELECT 'pulse/' || id AS subject, name, slug AS note,
       CASE WHEN paused_at IS NOT NULL THEN 'paused' ELSE coalesce(s.status, 'new') END AS status,
       s.last_ping_at AS at, id = :query OR slug = :query AS is_exact
FROM pulses LEFT JOIN pulse_standings s ON s.pulse_id = id
WHERE account_id = :account_id AND deleted_at IS NULL AND {_NAMED}
{_ORDER} LIMIT :limit
""")

_HOOKS: Final = text(f"""
SELECT 'process/' || id AS subject, name, slug AS note, NULL AS status, created_at AS at,
       id = :query OR slug = :query AS is_exact
FROM process_hooks WHERE account_id = :account_id AND deleted_at IS NULL AND {_NAMED}
{_ORDER} LIMIT :limit
""")

_RUNS: Final = text("""
SELECT 'process/' || r.hook_id || '/' || r.id AS subject, h.name, r.id AS note, r.status, r.started_at AS at,
       r.id = :query AS is_exact
FROM process_runs r JOIN process_hooks h ON h.id = r.hook_id
WHERE :is_run_id AND r.id BETWEEN :lower AND :id_end AND starts_with(r.id, :lower) AND r.account_id = :account_id
ORDER BY is_exact DESC, r.started_at DESC LIMIT :limit
""")

_APPROVALS: Final = text("""
SELECT 'approval/' || id AS subject, coalesce(nullif(title, ''), left(context, 120)) AS name, id AS note, status,
       created_at AS at, id = :query AS is_exact
FROM approvals WHERE account_id = :account_id AND (title ILIKE :part OR id = :query OR starts_with(id, :lower))
ORDER BY is_exact DESC, created_at DESC, id LIMIT :limit
""")

_CHANNELS: Final = text("""
SELECT 'channel/' || id AS subject, name, shown_address AS note, kind AS status, created_at AS at,
       id = :query AS is_exact
FROM channels WHERE account_id = :account_id AND deleted_at IS NULL
  AND (name ILIKE :part OR starts_with(id, :query) OR shown_address ILIKE :part)
ORDER BY is_exact DESC, created_at DESC, id LIMIT :limit
""")

_GROUPS: Final[Mapping[str, TextClause]] = {
    "workflows": _WORKFLOWS,
    "instances": _INSTANCES,
    "pulses": _PULSES,
    "hooks": _HOOKS,
    "runs": _RUNS,
    "approvals": _APPROVALS,
    "channels": _CHANNELS,
}


def cleaned_query(given: str) -> str:
    """What is looked for of what was typed: what Postgres can hold, without surrounding blanks."""
    storable = given.replace("\x00", "").encode(errors="ignore").decode()
    return storable.strip()[:MAX_QUERY].strip()


async def find_things(session: AsyncSession, account_id: str, query: str, *, limit: int) -> dict[str, list[Found]]:
    """By group, `limit` of each at most; groups in which nothing fits are left out. `query` is a `cleaned_query`."""
    if not query:
        return {}
    lower = query.lower()
    is_id = len(query) >= SHORTEST_ID and set(lower) <= set(ALPHABET)
    run_id = lower.removeprefix("run_")
    named: dict[str, Any] = {
        "account_id": account_id,
        "query": query,
        "lower": lower,
        "part": f"%{_literally(query)}%",
        "end": query + LAST_CHARACTER,
        "is_id": is_id,
        "is_run_id": lower.startswith("run_") and len(run_id) >= SHORTEST_ID and set(run_id) <= set(ALPHABET),
        # All ids are of a-z and 0-9, whose order is the same in every collation.
        "id_end": lower + "z" * 16,
        "limit": limit,
    }
    groups: dict[str, list[Found]] = {}
    for group, statement in _GROUPS.items():
        rows = (await session.execute(statement, named)).mappings().all()
        if rows:
            groups[group] = [Found(**row) for row in rows]
    return groups


def _literally(text: str) -> str:
    """As it is, inside of a pattern."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
