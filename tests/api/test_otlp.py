"""Reading OTLP: whatever comes, it is spans or an error that says why."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from api.compression import inflate
from api.otlp import MAX_BYTES, Encoding, encoding_of, read_spans, value_of
from domain.errors import InvalidRequest, PayloadTooLarge
from domain.otel import is_kept, ping_of
from tests.api.otlp_calls import new_trace, request, span

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["traceId", "spanId", "parent_span_id", "name", "kind", "startTimeUnixNano", "endTimeUnixNano", "attributes"]
    + ["status", "events", "links", "flags", "traceState", "unknown"]
)


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        ("application/x-protobuf", Encoding.PROTOBUF),
        ("application/protobuf", Encoding.PROTOBUF),
        ("Application/JSON; charset=utf-8", Encoding.JSON),
        ("text/plain", None),
        ("", None),
    ],
)
def test_encodings(content_type: str, encoding: Encoding | None) -> None:
    assert encoding_of(content_type) is encoding


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (AnyValue(), None),
        (AnyValue(string_value=""), ""),
        (AnyValue(bool_value=False), False),
        (AnyValue(int_value=-(2**63)), -(2**63)),
        (AnyValue(double_value=0.5), 0.5),
        (AnyValue(bytes_value=b"\0\xff"), b"\0\xff"),
        (AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1), AnyValue()])), [1, None]),
        (
            AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="a", value=AnyValue(string_value="b"))])),
            {"a": "b"},
        ),
    ],
)
def test_values(value: AnyValue, expected: Any) -> None:
    assert value_of(value) == expected


def test_ids_of_another_size_or_of_zeros_are_missing() -> None:
    trace = new_trace()
    sent = [span(trace), span(trace[:8]), span(bytes(16)), span(trace, parent_span_id=bytes(8))]
    read = read_spans(request("a", *sent).SerializeToString(), Encoding.PROTOBUF)
    assert [one.trace_id for one in read] == [trace.hex(), "", "", trace.hex()]
    assert [one.is_entry for one in read] == [False, False, False, True]


@pytest.mark.parametrize(
    ("flags", "is_entry"), [(0, False), (0x100, False), (0x300, True), (0x200, False), (0x1, False)]
)
def test_a_parent_in_another_process(flags: int, is_entry: bool) -> None:
    (read,) = read_spans(request("a", span(new_trace(), flags=flags)).SerializeToString(), Encoding.PROTOBUF)
    assert read.is_entry == is_entry


def test_the_last_exception_counts() -> None:
    events = [Span.Event(name=name) for name in ("exception", "note", "exception")]
    for number, event in enumerate(events):
        event.attributes.add(key="exception.type").value.string_value = f"E{number}"
    (read,) = read_spans(request("a", span(new_trace(), events=events)).SerializeToString(), Encoding.PROTOBUF)
    assert read.exception == {"exception.type": "E2"}


def test_both_encodings_say_the_same() -> None:
    """Times of 2262, ids with every digit, numbers beyond what JavaScript has."""
    attributes = {"gen_ai.system": "x", "n": 2**63 - 1, "f": 1e300, "b": True}
    sent = span(bytes(range(16)), "chat", attributes, start_time_unix_nano=2**63, error="no")
    of_protobuf = read_spans(request("a", sent).SerializeToString(), Encoding.PROTOBUF)
    pairs = [
        {"key": "gen_ai.system", "value": {"stringValue": "x"}},
        {"key": "n", "value": {"intValue": str(2**63 - 1)}},
        {"key": "f", "value": {"doubleValue": 1e300}},
        {"key": "b", "value": {"boolValue": True}},
    ]
    document = {
        "resource_spans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "a"}}]},
                "scope_spans": [
                    {
                        "spans": [
                            {
                                "trace_id": bytes(range(16)).hex().upper(),
                                "spanId": sent.span_id.hex(),
                                "parent_span_id": "01" * 8,
                                "name": "chat",
                                "startTimeUnixNano": str(2**63),
                                "endTimeUnixNano": sent.end_time_unix_nano,
                                "attributes": pairs,
                                "status": {"code": 2, "message": "no"},
                            }
                        ]
                    }
                ],
            }
        ]
    }
    assert read_spans(json.dumps(document).encode(), Encoding.JSON) == of_protobuf


def test_what_is_nested_deeper_than_protobuf_allows() -> None:
    deep = b'{"arrayValue":{"values":[' * 200 + b"{}" + b"]}}" * 200
    body = b'{"resourceSpans":[{"resource":{"attributes":[{"key":"a","value":' + deep + b"}]}}]}"
    with pytest.raises(InvalidRequest):
        read_spans(body, Encoding.JSON)


def ping_all(body: bytes, encoding: Encoding) -> None:
    try:
        spans = read_spans(body, encoding)
    except (InvalidRequest, PayloadTooLarge):
        return
    for one in spans:
        is_kept(one)
        ping_of(one)


@given(st.dictionaries(FIELDS, JSON_VALUES | st.just("5b8efff798038103d269b633813fc60c"), max_size=8), JSON_VALUES)
def test_any_json_is_spans_or_an_error(fields: dict[str, Any], resource: Any) -> None:
    document = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [fields]}]}]}
    ping_all(json.dumps(document).encode(), Encoding.JSON)
    ping_all(json.dumps(resource).encode(), Encoding.JSON)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_any_bytes_are_spans_or_an_error(noise: bytes, at: int) -> None:
    ping_all(noise, Encoding.PROTOBUF)
    ping_all(noise, Encoding.JSON)
    body = request("a", span(new_trace(), attributes={"gen_ai.system": "x"})).SerializeToString()
    ping_all(body[:at] + noise + body[at:], Encoding.PROTOBUF)


@given(st.binary(max_size=100), st.integers(0, 100))
def test_any_bytes_are_inflated_or_an_error(noise: bytes, at: int) -> None:
    for body in (noise, gzip.compress(b"a" * 50)[:at] + noise):
        try:
            inflate(body, "gzip", MAX_BYTES)
        except (InvalidRequest, PayloadTooLarge):
            continue


def test_a_gzip_of_too_many_members() -> None:
    assert inflate(gzip.compress(b"a") * 64, "gzip", MAX_BYTES) == b"a" * 64
    with pytest.raises(InvalidRequest, match="64 members"):
        inflate(gzip.compress(b"") * 500_000, "gzip", MAX_BYTES)


def test_attributes_beyond_what_any_program_sends_are_left_out() -> None:
    sent = span(new_trace(), attributes={f"gen_ai.{number}": 1 for number in range(1_500)})
    (read,) = read_spans(request("a", sent).SerializeToString(), Encoding.PROTOBUF)
    assert list(read.attributes) == [f"gen_ai.{number}" for number in range(1_000)]


def test_a_request_has_so_many_spans_and_no_more() -> None:
    sent = ExportTraceServiceRequest()
    spans = sent.resource_spans.add().scope_spans.add().spans
    spans.extend(Span() for _ in range(10_000))
    assert len(read_spans(sent.SerializeToString(), Encoding.PROTOBUF)) == 10_000
    spans.add()
    with pytest.raises(PayloadTooLarge, match="10001 spans"):
        read_spans(sent.SerializeToString(), Encoding.PROTOBUF)
