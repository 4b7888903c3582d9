"""OTLP over HTTP: requests in either of its encodings, and answers in the same."""

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import islice
from typing import Any, Final

import orjson
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2
from starlette.responses import Response

from domain.errors import DomainError, InvalidRequest, PayloadTooLarge
from domain.keys import redact
from domain.otel import Span

TRACES: Final = "/v1/traces"
MAX_BYTES: Final = 20 * 1024 * 1024
"""Of a request, before and after it is inflated."""
MAX_SPANS: Final = 10_000
MAX_ATTRIBUTES: Final = 1_000
"""Of a span; SDKs stop at 128. Further ones are left out."""
MAX_MESSAGE: Final = 2_000

_ID_SIZES: Final = {"traceId": 16, "spanId": 8, "parentSpanId": 8}
_NAMES_IN_PROTO: Final = {"traceId": "trace_id", "spanId": "span_id", "parentSpanId": "parent_span_id"}
_RPC_CODES: Final = {400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 409: 9, 413: 8, 415: 3, 429: 8, 503: 14}
_RPC_INTERNAL: Final = 13


class Encoding(StrEnum):
    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


def encoding_of(content_type: str) -> Encoding | None:
    """What a Content-Type names; None for what is neither."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/protobuf":
        return Encoding.PROTOBUF
    return next((encoding for encoding in Encoding if encoding == media_type), None)


def read_spans(body: bytes, encoding: Encoding) -> list[Span]:
    """The spans of an ExportTraceServiceRequest. Raises InvalidRequest for what is none, and PayloadTooLarge."""
    request = _parse(body) if encoding is Encoding.PROTOBUF else _parse_json(body)
    count = sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)
    if count > MAX_SPANS:
        raise PayloadTooLarge(f"The request has {count} spans, and {MAX_SPANS} is the most; send fewer at a time.")
    return list(_spans(request))


def _parse(body: bytes) -> ExportTraceServiceRequest:
    try:
        return ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        raise InvalidRequest.of_field("body", "is not an ExportTraceServiceRequest in protobuf") from None


def _parse_json(body: bytes) -> ExportTraceServiceRequest:
    """OTLP's JSON is protobuf's, but for the ids of traces and spans, which are hexadecimal."""
    try:
        document = orjson.loads(body or b"{}")
    except ValueError as error:
        raise InvalidRequest.of_field("body", f"cannot be read as JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidRequest.of_field("body", "is not an ExportTraceServiceRequest in JSON: it is no object")
    for item in _spans_in(document):
        for item_or_link in (item, *_items(item, "links")):
            _convert_ids(item_or_link)
    try:
        return ParseDict(document, ExportTraceServiceRequest(), ignore_unknown_fields=True)
    except (ParseError, AttributeError, TypeError, ValueError, RecursionError) as error:
        # Of a document with an object where a list belongs it says so by whatever that raises.
        raise InvalidRequest.of_field(
            "body", f"is not an ExportTraceServiceRequest in JSON: {str(error)[:200]}"
        ) from None


def _items(parent: object, *names: str) -> Iterator[dict[str, Any]]:
    """The objects in a list which an object has under one of these names."""
    if isinstance(parent, dict):
        for name in names:
            children = parent.get(name)
            if isinstance(children, list):
                yield from (child for child in children if isinstance(child, dict))


def _spans_in(document: object) -> Iterator[dict[str, Any]]:
    for resource in _items(document, "resourceSpans", "resource_spans"):
        for scope in _items(resource, "scopeSpans", "scope_spans"):
            yield from _items(scope, "spans")


def _convert_ids(item: dict[str, Any]) -> None:
    for name, other in _NAMES_IN_PROTO.items():
        for field in (name, other):
            value = item.get(field)
            if not isinstance(value, str):
                continue
            try:
                item[field] = base64.b64encode(binascii.unhexlify(value)).decode()
            except ValueError:
                size = _ID_SIZES[name]
                raise InvalidRequest.of_field(name, f"must be {size} bytes as {2 * size} hexadecimal digits") from None


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield _span(span, resource, scope_spans.scope.name)


def _span(span: trace_pb2.Span, resource: Mapping[str, Any], scope: str) -> Span:
    remote = trace_pb2.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK | trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
    exceptions = [event.attributes for event in span.events if event.name == "exception"]
    parent_id = _id(span.parent_span_id, _ID_SIZES["parentSpanId"])
    return Span(
        trace_id=_id(span.trace_id, _ID_SIZES["traceId"]),
        span_id=_id(span.span_id, _ID_SIZES["spanId"]),
        name=span.name,
        attributes=_attributes(span.attributes),
        resource=resource,
        parent_id=parent_id,
        is_entry=not parent_id or span.flags & remote == remote,
        is_client=span.kind == trace_pb2.Span.SPAN_KIND_CLIENT,
        started_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        has_failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        message=span.status.message,
        exception=_attributes(exceptions[-1]) if exceptions else {},
        scope=scope,
    )


def _id(raw: bytes, size: int) -> str:
    """ "" for one of another size, and for zeros alone, which stand for none."""
    return raw.hex() if len(raw) == size and any(raw) else ""


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: value_of(pair.value) for pair in islice(pairs, MAX_ATTRIBUTES)}


def value_of(value: AnyValue) -> Any:
    """An attribute's value as Python has it; None if it has none."""
    match kind := value.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return [value_of(item) for item in value.array_value.values]
        case "kvlist_value":
            return _attributes(value.kvlist_value.values)
    return getattr(value, kind)


def accepted(encoding: Encoding, rejected: int = 0, message: str = "") -> Response:
    """An ExportTraceServiceResponse: partial, if spans were rejected."""
    message = redact(message)[:MAX_MESSAGE]
    if encoding is Encoding.JSON:
        partial = {"partialSuccess": {"rejectedSpans": str(rejected), "errorMessage": message}} if rejected else {}
        return Response(orjson.dumps(partial), media_type=encoding)
    response = ExportTraceServiceResponse()
    if rejected:
        response.partial_success.rejected_spans = rejected
        response.partial_success.error_message = message
    return Response(response.SerializeToString(), media_type=encoding)


def failure(error: DomainError, content_type: str) -> Response:
    """An error as google.rpc.Status, in the encoding of the request; in JSON if it has none that is understood."""
    code = _RPC_CODES.get(error.status, _RPC_INTERNAL)
    # A message may quote a lone surrogate, which neither encoding has.
    message = redact(error.message).encode("utf-8", "replace").decode()[:MAX_MESSAGE]
    if encoding_of(content_type) is not Encoding.PROTOBUF:
        body = orjson.dumps({"code": code, "message": message})
        return Response(body, error.status, media_type=Encoding.JSON)
    # The Status has its code and its message under the same numbers and types as this one its members.
    body = ExportTracePartialSuccess(rejected_spans=code, error_message=message).SerializeToString()
    return Response(body, error.status, media_type=Encoding.PROTOBUF)
