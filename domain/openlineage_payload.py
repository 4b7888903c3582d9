"""What is kept of an OpenLineage event: all of it, or as much as a ping's payload may have."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from domain.openlineage import storable_text
from domain.pings import MAX_PAYLOAD_BYTES

MAX_LEVELS: Final = 60
MAX_TOLD: Final = 50

TOO_DEEP: Final = "… nested too deep to be kept"

_ROOM_FOR_TELLING: Final = 10_000
_LONGEST_LABEL: Final = 120
_NEEDED: Final = ("eventType", "eventTime", "producer", "schemaURL")
_DATASETS: Final = ("inputs", "outputs")
_FACETS: Final = ("facets", "inputFacets", "outputFacets")

Holder = dict[str, Any]


def kept_document(event: Mapping[str, Any], limit: int = MAX_PAYLOAD_BYTES) -> dict[str, Any]:
    """The event as it is kept. If it is too large its largest facets go first, then its datasets; `dropped` says what
    is not there any more, and how many bytes that had."""
    document = storable(dict(event), MAX_LEVELS)
    assert isinstance(document, dict)
    document.pop("key", None)
    total = _size(document)
    if total <= limit:
        return document
    limit = limit - _ROOM_FOR_TELLING
    dropped: list[dict[str, Any]] = []
    for parts in (_facets(document), _others(document)):
        for size, label, holder, name in sorted(parts, key=lambda part: part[:2], reverse=True):
            if total <= limit:
                break
            del holder[name]
            total -= size
            dropped.append({"what": label[:_LONGEST_LABEL], "bytes": size})
    document["dropped"] = dropped[:MAX_TOLD]
    if len(dropped) > MAX_TOLD:
        document["dropped"].append({"what": f"{len(dropped) - MAX_TOLD} more"})
    return document


def storable(value: Any, levels: int) -> Any:
    """`value` as Postgres can keep it and every reader can read it."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict | list) and levels == 0:
        return TOO_DEEP
    if isinstance(value, dict):
        return {storable_text(name): storable(item, levels - 1) for name, item in value.items()}
    if isinstance(value, list):
        return [storable(item, levels - 1) for item in value]
    return value


def _facets(document: Holder) -> Iterator[tuple[int, str, Holder, str]]:
    """Each facet: its size, what it is called, and where it is."""
    holders = [(name, _object(document.get(name))) for name in ("run", "job")]
    for name in _DATASETS:
        datasets = document.get(name)
        for number, dataset in enumerate(datasets if isinstance(datasets, list) else ()):
            holders.append((f"{name}.{number}", _object(dataset)))
    for where, holder in holders:
        for kind in _FACETS:
            facets = _object(holder.get(kind))
            for facet in facets:
                yield _member_size(facets, facet), f"{where}.{kind}.{facet}", facets, facet


def _others(document: Holder) -> Iterator[tuple[int, str, Holder, str]]:
    """All else but what says which event of which run it is."""
    for name in document:
        if name not in (*_NEEDED, "run", "job"):
            yield _member_size(document, name), name, document, name
    for where, needed in (("run", ("runId", "facets")), ("job", ("namespace", "name", "facets"))):
        holder = _object(document.get(where))
        for name in holder:
            if name not in needed:
                yield _member_size(holder, name), f"{where}.{name}", holder, name
    for name in _NEEDED:
        # A text of this length is no address and no time.
        if name in document and (size := _member_size(document, name)) > MAX_PAYLOAD_BYTES // 50:
            yield size, name, document, name


def _object(value: Any) -> Holder:
    return value if isinstance(value, dict) else {}


def _member_size(holder: Holder, name: str) -> int:
    """With its colon."""
    return _size(name) + _size(holder[name]) + 1


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
