"""OpenTelemetry's spans as pings: what each attribute becomes, and that nothing in them can do harm."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ids import WORKFLOW_ID
from domain.otel import Span, SpanPing, is_kept, ping_of, span_of_time, workflow_id_within, workflow_of
from domain.paths import parse_path
from domain.pings import MAX_PAYLOAD_BYTES, PingStatus

TRACE, SPAN_ID = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"
STARTED = 1_700_000_000_000_000_000
CHAT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.response.model": "gpt-4o-2024-08-06",
    "gen_ai.usage.input_tokens": 1500,
    "gen_ai.usage.output_tokens": 500,
}
KEY = "ppk_abcdefghij_" + "x" * 40


def span(name: str = "chat gpt-4o", attributes: dict[str, Any] | None = None, **fields: Any) -> Span:
    resource = {"service.name": "research"}
    return replace(Span(TRACE, SPAN_ID, name, CHAT if attributes is None else attributes, resource), **fields)


def ping(name: str = "chat gpt-4o", attributes: dict[str, Any] | None = None, **fields: Any) -> SpanPing:
    found = ping_of(span(name, attributes, **fields))
    assert found is not None
    return found


def test_a_chat() -> None:
    said = ping(started_ns=STARTED, ended_ns=STARTED + 1_234_600_000, parent_id="00f067aa0ba902b7", scope="openai")
    assert (said.workflow, said.trace_id, said.key) == ("research", TRACE, f"otel:research:{TRACE}:{SPAN_ID}")
    assert (said.path, said.name, said.agent, said.is_final) == ("chat gpt-4o", None, None, False)
    report = said.report
    assert (report.status, report.error, report.duration_ms) == (PingStatus.HEALTHY, None, 1235)
    assert (report.model_id, report.input_tokens, report.output_tokens) == ("gpt-4o-2024-08-06", 1500, 500)
    assert report.usage == {"input_tokens": 1500, "output_tokens": 500}
    assert said.started_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert json.loads(said.payload) == {
        "trace_id": TRACE,
        "span_id": SPAN_ID,
        "parent_span_id": "00f067aa0ba902b7",
        "started_at": "2023-11-14T22:13:20+00:00",
        "ended_at": "2023-11-14T22:13:21.234600+00:00",
        "service": "research",
        "scope": "openai",
        "attributes": CHAT,
    }


@pytest.mark.parametrize(
    ("name", "attributes", "path", "label"),
    [
        ("chat gpt-4o", CHAT, "chat gpt-4o", None),
        ("openai.chat", CHAT, "chat gpt-4o", "openai.chat"),
        ("x", {"gen_ai.operation.name": "chat", "gen_ai.response.model": "m-1"}, "chat m-1", "x"),
        ("x", {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}, "execute_tool search", "x"),
        ("x", {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "My Bot"}, "invoke_agent My Bot", "x"),
        ("invoke_agent", {"gen_ai.operation.name": "invoke_agent"}, "invoke_agent", None),
        ("", {"gen_ai.operation.name": "embeddings"}, "embeddings", None),
        ("retrieval docs", {"gen_ai.operation.name": "retrieval"}, "retrieval docs", None),
        ("openai.chat", {"gen_ai.system": "openai"}, "openai.chat", None),
        ("x", {"gen_ai.operation.name": "chat", "gen_ai.request.model": "a/b:c@2024(x)"}, "chat a/b:c_2024_x_", "x"),
        ("GET /users/{id}?all", {}, "GET /users/_id_all", "GET /users/{id}?all"),
        ("  many   blanks ", {}, "many blanks", "many   blanks"),
        ("/", {}, "span", "/"),
        ("", {}, "span", None),
        ("3.1", {}, "span 3.1", "3.1"),
        ("run", {}, "span run", "run"),
        ("поиск", {}, "поиск", None),
        ("«quoted»", {}, "_quoted_", "«quoted»"),
        ("ж" * 100, {}, "ж" * 61, "ж" * 100),
        (f"call {KEY}", {}, "call ppk_abcdefghij__", "call ppk_abcdefghij_***"),
        ("x", {"gen_ai.operation.name": ["chat"], "gen_ai.request.model": {}}, "x", None),
    ],
)  # fmt: skip
def test_its_stage_is_named_for_people(name: str, attributes: dict[str, Any], path: str, label: str | None) -> None:
    said = ping(name, attributes)
    assert (said.path, said.name) == (path, label)


@pytest.mark.parametrize(
    ("resource", "id_"),
    [
        ({"pingpulse.workflow": "billing", "service.name": "api"}, "billing"),
        ({"service.name": "research-agent_2.0"}, "research-agent_2.0"),
        ({"service.name": "unknown_service:python"}, "unknown_service-python"),
        ({"service.name": " My Agent! "}, "My-Agent"),
        ({"service.name": "日本"}, "service-cf2abf0c5b"),
        ({"service.name": ".."}, "service-5ec1f7e700"),
        ({"pingpulse.workflow": "", "service.name": 7}, "unknown_service"),
        ({}, "unknown_service"),
        ({"service.name": f"my {KEY}"}, "my-ppk_abcdefghij_"),
    ],
)
def test_its_workflow_is_that_of_its_process(resource: dict[str, Any], id_: str) -> None:
    assert workflow_of(resource) == id_


def test_a_long_name_stays_apart_from_others_that_begin_like_it() -> None:
    one, other = (workflow_of({"service.name": "x" * 200 + end}) for end in "ab")
    assert one != other
    assert len(one) == 128
    assert one == workflow_of({"service.name": "x" * 200 + "a"})


def test_in_another_account_an_id_that_is_taken_becomes_one_of_its_own() -> None:
    ids = {workflow_id_within(account, id_) for account in ("acc_a", "acc_b") for id_ in ("agent", "a" * 128)}
    assert len(ids) == 4
    assert all(WORKFLOW_ID.fullmatch(id_) for id_ in ids)
    assert workflow_id_within("acc_a", "agent").startswith("agent-")


@pytest.mark.parametrize(
    ("attributes", "tokens"),
    [
        ({"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2}, (10, 2, None)),
        ({"gen_ai.usage.prompt_tokens": 10, "gen_ai.usage.completion_tokens": 2}, (10, 2, None)),
        ({"gen_ai.usage.input_tokens": 10.0, "gen_ai.usage.cache_read.input_tokens": 4}, (10, None, 4)),
        ({"gen_ai.usage.input_tokens": "10", "gen_ai.usage.output_tokens": 2}, (None, 2, None)),
        ({"gen_ai.usage.input_tokens": -1, "gen_ai.usage.output_tokens": float("nan")}, (None, None, None)),
        ({"gen_ai.usage.input_tokens": [10], "gen_ai.usage.output_tokens": {"n": 2}}, (None, None, None)),
        ({"gen_ai.usage.input_tokens": True}, (None, None, None)),
    ],
)
def test_its_tokens(attributes: dict[str, Any], tokens: tuple[int | None, ...]) -> None:
    report = ping(attributes={"gen_ai.request.model": "gpt-4o", **attributes}).report
    assert (report.input_tokens, report.output_tokens, report.cached_tokens) == tokens
    assert report.model_id == "gpt-4o"


@pytest.mark.parametrize(
    ("attributes", "is_client", "counts"),
    [
        (CHAT, True, True),
        ({**CHAT, "gen_ai.operation.name": "something_new"}, False, True),
        ({**CHAT, "gen_ai.operation.name": "invoke_agent"}, False, False),
        ({**CHAT, "gen_ai.operation.name": "invoke_agent"}, True, True),
        ({**CHAT, "gen_ai.operation.name": "execute_tool"}, True, False),
        ({"gen_ai.agent.name": "a", "gen_ai.usage.input_tokens": 1500}, False, False),
        ({"gen_ai.usage.input_tokens": 1500}, False, True),
        ({"gen_ai.tool.name": "search"}, False, False),
    ],
)
def test_tokens_that_a_span_repeats_of_others_inside_it_do_not_count_twice(
    attributes: dict[str, Any], is_client: bool, counts: bool
) -> None:
    report = ping(attributes=attributes, is_client=is_client).report
    assert report.input_tokens == (1500 if counts else None)
    assert report.tells_costs == counts


@pytest.mark.parametrize(
    ("cost", "kept"),
    [
        (0.0125, Decimal("0.0125")),
        (0, Decimal(0)),
        (1e-20, Decimal("0E-18")),
        (-1, None),
        (float("inf"), None),
        ("0.1", None),
        (True, None),
    ],
)
def test_a_cost_that_the_caller_knows(cost: Any, kept: Decimal | None) -> None:
    assert ping(attributes={**CHAT, "gen_ai.usage.cost": cost}).report.cost_usd == kept


def test_a_tool_call() -> None:
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "search",
        "gen_ai.tool.call.id": "call_1",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.arguments": '{"q": "' + "x" * 5_000 + '"}',
        "gen_ai.tool.call.result": {"hits": [1, 2]},
    }
    (call,) = ping(attributes=attributes).report.tool_calls or []
    assert (call["name"], call["id"], call["type"], call["result"]) == (
        "search",
        "call_1",
        "function",
        {"hits": [1, 2]},
    )
    assert len(call["arguments"]) == 2_000
    assert ping().report.tool_calls is None


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"message": "429: slow down"}, "429: slow down"),
        ({"exception": {"exception.type": "ValueError", "exception.message": "no"}}, "ValueError: no"),
        ({"exception": {"exception.type": "ValueError"}}, "ValueError"),
        ({"message": "it", "exception": {"exception.message": "no"}}, "it"),
        ({"attributes": {"gen_ai.system": "x", "error.type": "timeout"}}, "timeout"),
        ({"message": f"key {KEY}\x00"}, "key ppk_abcdefghij_***\ufffd"),
        ({}, None),
        ({"message": "x" * 1_000}, "x" * 499 + "…"),
    ],
)
def test_an_error(fields: dict[str, Any], error: str | None) -> None:
    report = ping(has_failed=True, **fields).report
    assert (report.status, report.error) == (PingStatus.FAILED, error)
    assert ping(**fields).report.error is None


def test_an_exception_is_kept() -> None:
    exception = {"exception.type": "ValueError", "exception.stacktrace": "x" * 9_000}
    kept = json.loads(ping(exception=exception).payload)["exception"]
    assert kept["exception.type"] == "ValueError"
    assert len(kept["exception.stacktrace"]) == 2_000


def test_agents_are_named() -> None:
    assert ping(attributes={**CHAT, "gen_ai.agent.name": "Tutor", "gen_ai.agent.id": "asst_1"}).agent == "Tutor"
    assert ping(attributes={**CHAT, "gen_ai.agent.id": "asst_1"}).agent == "asst_1"
    assert ping(attributes={**CHAT, "gen_ai.agent.name": 7}).agent is None


@pytest.mark.parametrize(
    ("attributes", "is_entry", "kept"),
    [({"gen_ai.system": "x"}, False, True), ({"http.route": "/"}, False, False), ({}, True, True), ({}, False, False)],
)
def test_which_spans_are_pings(attributes: dict[str, Any], is_entry: bool, kept: bool) -> None:
    assert is_kept(span(attributes=attributes, is_entry=is_entry)) == kept


def test_an_entry_is_final_and_one_without_ids_is_none() -> None:
    assert ping(is_entry=True).is_final
    assert ping_of(span(trace_id="")) is None
    assert ping_of(span(span_id="")) is None


@pytest.mark.parametrize(
    ("started", "ended", "duration"),
    [(STARTED, STARTED, 0), (STARTED, STARTED - 1_000_000, None), (0, STARTED, None), (STARTED, 0, None)]
    + [(1, 2**64 - 1, None)],
)
def test_odd_times(started: int, ended: int, duration: int | None) -> None:
    said = ping(started_ns=started, ended_ns=ended)
    assert said.report.duration_ms == duration
    assert (said.started_at is None) == (started < 10)


def test_the_times_of_a_trace_are_those_of_all_its_spans() -> None:
    pings = [ping(started_ns=STARTED + i * 10**9, ended_ns=STARTED + (5 - i) * 10**9) for i in range(3)]
    started, ended = span_of_time([*pings, ping()])
    assert (started, ended) == (pings[0].started_at, pings[0].ended_at)
    assert span_of_time([ping()]) == (None, None)


def test_a_long_prompt_is_cut_and_the_rest_is_kept() -> None:
    attributes = {**CHAT, "gen_ai.input.messages": "ü" * 200_000, "gen_ai.output.messages": "short"}
    said = ping(attributes=attributes)
    assert len(said.payload.encode()) <= MAX_PAYLOAD_BYTES
    payload = json.loads(said.payload)
    assert payload["attributes_shortened"] is True
    assert payload["attributes"]["gen_ai.input.messages"] == "ü" * 19_999 + "…"
    assert payload["attributes"]["gen_ai.output.messages"] == "short"


def test_of_too_many_attributes_those_are_kept_for_which_there_is_room() -> None:
    attributes = {"gen_ai.huge": [0] * 100_000, **{f"gen_ai.{n}": "x" * 150 for n in range(2_000)}, **CHAT}
    payload = json.loads(ping(attributes=attributes).payload)
    assert "gen_ai.huge" not in payload["attributes"]
    assert len(payload["attributes"]) > 400
    assert len(json.dumps(payload).encode()) <= MAX_PAYLOAD_BYTES


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.integers(2**63, 2**20_000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.text(max_size=300) | st.sampled_from(
    ["gen_ai.operation.name", "gen_ai.request.model", "gen_ai.response.model", "gen_ai.agent.name", "gen_ai.tool.name"]
    + ["gen_ai.tool.call.arguments", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.cost"]
    + ["gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.total_tokens", "gen_ai.usage", "gen_ai", "error.type"]
    + ["exception.type", "exception.message", "service.name", "pingpulse.workflow"]
)
ATTRIBUTES = st.dictionaries(NAMES, VALUES, max_size=6)
TIMES = st.integers(0, 2**64 - 1)


@given(
    name=st.text(),
    attributes=ATTRIBUTES,
    resource=ATTRIBUTES,
    exception=ATTRIBUTES,
    times=st.tuples(TIMES, TIMES),
    message=st.text(),
    has_failed=st.booleans(),
)
def test_nothing_in_a_span_can_do_harm(
    name: str,
    attributes: dict[str, Any],
    resource: dict[str, Any],
    exception: dict[str, Any],
    times: tuple[int, int],
    message: str,
    has_failed: bool,
) -> None:
    odd = Span(
        TRACE, SPAN_ID, name, attributes, resource, "", True, False, *times, has_failed, message, exception, message
    )
    said = ping_of(odd)
    assert said is not None
    assert parse_path(said.path) == said.path
    assert WORKFLOW_ID.fullmatch(said.workflow)
    assert said.workflow.strip(".")
    assert "\\u0000" not in said.payload
    assert len(said.payload.encode()) <= MAX_PAYLOAD_BYTES
    json.loads(said.payload, parse_constant=pytest.fail)
    for text in (said.path, said.name, said.agent, said.report.error, json.dumps(said.report.tool_calls)):
        assert text is None or "\x00" not in text
    json.dumps(said.report.usage, allow_nan=False)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"in": [value]}
    return value


def test_what_is_nested_too_deep_is_left_out() -> None:
    payload = json.loads(ping(attributes={"gen_ai.deep": nested(400)}).payload)
    assert "null" in json.dumps(payload)
