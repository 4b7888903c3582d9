"""Pings as rows of the journal: how a batch of them goes into one statement and what comes back."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from domain.costs import Cost
from domain.errors import DomainError
from domain.pings import Outcome, PingFact, Report
from domain.pulses import PulseDefinition
from domain.routing import PulseRequest, Request, RunRequest
from domain.workflows import WorkflowDefinition
from storage.costs import COUNTED_COLUMNS


@dataclass(frozen=True)
class NewPing:
    """A ping as the gateway received it. `payload` is the JSON text of its body; `fact.id` is still 0. `cost` is None
    if it says nothing of costs."""

    account_id: str
    request: Request | PulseRequest | RunRequest
    report: Report
    payload: str | None = None
    text: str | None = None
    size_bytes: int = 0
    idempotency_key: str | None = None
    cost: Cost | None = None

    @property
    def has_costs(self) -> bool:
        """Whether it has anything in the columns that are about costs."""
        return self.cost is not None or self.report.reservation_id is not None


@dataclass(frozen=True, slots=True)
class Target:
    """A pulse as its pings need to know it: its rules, as of `definition.revision`."""

    id: str
    definition: PulseDefinition


@dataclass
class Row:
    """A ping on its way into the table.

    `status` is what its caller is told of the subject. `window_seconds` is how long further pings of the subject may
    wait to travel together, if not as long as all others. `target` is the pulse that the row relies on.
    `also` are rows of other subjects that are kept with it, or not at all.
    """

    ping: NewPing
    fact: PingFact
    outcome: Outcome
    status: str | None = None
    subject: str | None = None
    workflow_id: str | None = None
    instance_id: str | None = None
    rejection: DomainError | None = None
    opened: WorkflowDefinition | None = None
    adopted: tuple[PingFact, ...] = ()
    window_seconds: float | None = None
    target: Target | None = None
    also: "tuple[Row, ...]" = ()


@dataclass(frozen=True)
class Same:
    """A ping that says what another one has said, and is not kept. `of` is its number, or its row in the batch."""

    of: int | Row


@dataclass(frozen=True)
class Journaled:
    """What became of it. `facts` are what the courier has to deliver: this ping, after the early ones it adopted; and
    then what was kept `also`. Of one that was refused, that is nothing."""

    ping_id: int
    outcome: Outcome
    status: str | None = None
    subject: str | None = None
    workflow_id: str | None = None
    instance_id: str | None = None
    facts: tuple[PingFact, ...] = ()
    rejection: DomainError | None = None
    window_seconds: float | None = None
    target: Target | None = None
    also: "tuple[Journaled, ...]" = ()


_INCOMING: Final = """json_to_recordset(CAST({rows} AS json)) AS row (
    position int, account_id text, workflow_id text, instance_id text, subject text, run_id text, path text,
    name text, agent text, status text, start bool, final bool, received_at timestamptz, error text, duration_ms bigint,
    handoff_reason text, model_id text, usage json, input_tokens bigint, output_tokens bigint, cost_usd numeric,
    tool_calls json, payload json, text text, size_bytes int, outcome text, reason_code text, reason text,
    expected_stage text, answered_status text, pulse_id text, pulse_revision int{more}
)"""
_KEEP: Final = """journaled AS (
    INSERT INTO pings (
        gateway_id, account_id, workflow_id, instance_id, subject, run_id, path, name, agent, status, start, final,
        received_at, error, duration_ms, handoff_reason, model_id, usage, input_tokens, output_tokens, cost_usd,
        tool_calls, payload, text, size_bytes, outcome, reason_code, reason, expected_stage, answered_status{more}
    )
    SELECT
        {gateway_id}, account_id, workflow_id, instance_id, subject, run_id, path, name, agent, status, start, final,
        received_at, error, duration_ms, handoff_reason, model_id, usage, input_tokens, output_tokens, cost_usd,
        tool_calls, payload, text, size_bytes, outcome, reason_code, reason, expected_stage, answered_status{more}
    FROM {source}
    ORDER BY position
    RETURNING id, gateway_id, subject, outcome{returned}
), told AS (
    INSERT INTO outbox (ping_id, gateway_id, subject, wants_verdict)
    SELECT id, gateway_id, subject, outcome = 'pending' FROM journaled WHERE outcome IN ('accepted', 'pending')
)"""
_COST_COLUMNS: Final = {
    "cached_tokens": "bigint",
    "cache_write_tokens": "bigint",
    "reasoning_tokens": "bigint",
    "cost_source": "text",
    "price_version": "text",
    "cost_day": "date",
    "reservation_id": "text",
}
"""What a ping has in the journal if it says anything of costs. Batches without such a ping have a statement that does
not know of costs at all."""


def incoming(rows: str, *, costs: bool) -> str:
    """A batch as a table, from one JSON parameter: for many columns far cheaper than as many arrays."""
    more = "".join(f", {name} {type_}" for name, type_ in _COST_COLUMNS.items()) if costs else ""
    return _INCOMING.format(rows=rows, more=more)


def keep(gateway_id: str, source: str, *, costs: bool) -> str:
    """The rows of `source` go into the journal, as `journaled`, and, where Temporal is to be told, into the outbox.

    With `costs`, `journaled` has the columns that `storage.costs.counted` wants.
    """
    more = "".join(f", {name}" for name in _COST_COLUMNS) if costs else ""
    returned = "".join(f", {name}" for name in COUNTED_COLUMNS if name != "outcome") if costs else ""
    return _KEEP.format(gateway_id=gateway_id, source=source, more=more, returned=returned)


def documents(rows: Sequence[Row]) -> str:
    """The JSON parameter of a batch."""
    return orjson.dumps([_document(position, row) for position, row in enumerate(rows)]).decode()


def _document(position: int, row: Row) -> dict[str, Any]:
    ping, fact, report, rejection = row.ping, row.fact, row.ping.report, row.rejection
    document = {
        "position": position,
        "account_id": ping.account_id,
        "workflow_id": row.workflow_id,
        "instance_id": row.instance_id,
        "subject": row.subject,
        "run_id": fact.run_id,
        "path": fact.path,
        "name": fact.name,
        "agent": fact.agent,
        "status": fact.status,
        "start": isinstance(ping.request, Request) and ping.request.start,
        "final": fact.final,
        "received_at": fact.at,
        "error": fact.error,
        "duration_ms": report.duration_ms,
        "handoff_reason": report.handoff_reason,
        "model_id": report.model_id,
        "usage": _fragment(report.usage),
        "input_tokens": report.input_tokens,
        "output_tokens": report.output_tokens,
        "cost_usd": None if report.cost_usd is None else str(report.cost_usd),
        "tool_calls": _fragment(report.tool_calls),
        "payload": None if ping.payload is None else orjson.Fragment(ping.payload),
        "text": ping.text,
        "size_bytes": ping.size_bytes,
        "outcome": row.outcome,
        "reason_code": rejection.code if rejection else None,
        "reason": rejection.message if rejection else None,
        "expected_stage": rejection.extra.get("expected_stage") if rejection else None,
        "answered_status": None if rejection else row.status,
        "pulse_id": row.target.id if row.target else None,
        "pulse_revision": row.target.definition.revision if row.target else None,
    }
    if report.reservation_id is not None:
        document["reservation_id"] = report.reservation_id
    if (cost := ping.cost) is not None:
        document |= {
            "cost_usd": None if cost.cost_usd is None else f"{cost.cost_usd:f}",
            "cached_tokens": report.cached_tokens,
            "cache_write_tokens": report.cache_write_tokens,
            "reasoning_tokens": report.reasoning_tokens,
            "cost_source": cost.source,
            "price_version": cost.version,
            "cost_day": cost.day,
        }
    return document


def _fragment(value: object) -> orjson.Fragment | None:
    """Through `json`, because orjson refuses whole numbers of more than 64 bits, which callers may well send."""
    return None if value is None else orjson.Fragment(json.dumps(value, ensure_ascii=False))


def journaled(row: Row, gateway_id: int, ping_id: int, also: tuple[Journaled, ...] = ()) -> Journaled:
    """What became of a row that was kept under `ping_id`."""
    fact = replace(row.fact, id=ping_id, gateway=gateway_id)
    return Journaled(
        ping_id,
        row.outcome,
        row.status,
        row.subject,
        row.workflow_id,
        row.instance_id,
        facts=(*row.adopted, fact) if row.subject is not None and row.rejection is None else (),
        rejection=row.rejection,
        window_seconds=row.window_seconds,
        target=row.target,
        also=also,
    )
