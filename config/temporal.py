"""The Temporal client of every process, and what it needs registered at the server."""

import asyncio
import logging
import zlib
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import Final

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
    PayloadCodec,
)
from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.service import RPCError, RPCStatusCode

from config.settings import Settings
from temporal_workflows.search_attributes import SEARCH_ATTRIBUTES

CONNECT_TIMEOUT = timedelta(seconds=5)

COMPRESSED_ABOVE_BYTES = 64 * 1024


class LargePayloadCodec(PayloadCodec):
    """Compresses what is large: thousands of pings in one signal, the state of a run of thousands of stages.

    They shrink to a tenth, which keeps them clear of Temporal's limits and its database small. What a person
    reads in the Temporal UI is small, and stays plain JSON.
    """

    _ENCODING: Final = b"binary/zlib"

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [await self._compressed(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload.FromString(await asyncio.to_thread(zlib.decompress, payload.data))
            if payload.metadata.get("encoding") == self._ENCODING
            else payload
            for payload in payloads
        ]

    async def _compressed(self, payload: Payload) -> Payload:
        if len(payload.data) <= COMPRESSED_ABOVE_BYTES:
            return payload
        # In a thread, because the gateway's loop has pings to answer meanwhile. zlib lets go of the GIL.
        data = await asyncio.to_thread(zlib.compress, payload.SerializeToString(), 1)
        return Payload(metadata={"encoding": self._ENCODING}, data=data)


_PLAIN_JSON: Final = PydanticJSONPlainPayloadConverter()


class PayloadConverter(CompositePayloadConverter):
    """The same JSON as the default converter's, by pydantic's Rust core: reading a signal of thousands of pings takes
    a thirtieth of the time, writing it an eighth.

    Every workflow gets a converter of its own. What pydantic has worked out of our types is shared by all of them:
    that is 400 KB and several milliseconds for each workflow otherwise.
    """

    def __init__(self) -> None:
        super().__init__(
            *(
                _PLAIN_JSON if isinstance(converter, JSONPlainPayloadConverter) else converter
                for converter in DefaultPayloadConverter.default_encoding_payload_converters
            )
        )


DATA_CONVERTER: Final = DataConverter(payload_converter_class=PayloadConverter, payload_codec=LargePayloadCodec())


def temporal_address(settings: Settings) -> str:
    """The external Temporal if one is set, else the dev server that `up` starts."""
    return settings.temporal_address or f"127.0.0.1:{settings.temporal_port}"


async def connect(settings: Settings, *, lazy: bool = False) -> Client:
    """A client. `lazy` puts the connection off to the first call, so that a gateway starts while Temporal is down.

    Raises RuntimeError when Temporal cannot be reached within five seconds, unless lazy.
    """
    api_key = settings.temporal_api_key.get_secret_value() if settings.temporal_api_key else None
    return await Client.connect(
        temporal_address(settings),
        namespace=settings.temporal_namespace,
        api_key=api_key,
        tls=settings.temporal_tls or api_key is not None,
        connect_timeout=CONNECT_TIMEOUT,
        lazy=lazy,
        data_converter=DATA_CONVERTER,
        runtime=_runtime(),
    )


@cache
def _runtime() -> Runtime:
    """One per process: each has its own threads. Its Rust core logs through `logging`, so that one format rules."""
    return Runtime(
        telemetry=TelemetryConfig(
            logging=LoggingConfig(
                filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
                forwarding=LogForwardingConfig(logger=logging.getLogger("temporalio.core")),
            )
        )
    )


async def missing_search_attributes(client: Client) -> list[str]:
    """Names of our search attributes that the client's namespace does not have. Raises RPCError."""
    listed = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace), timeout=CONNECT_TIMEOUT
    )
    return [key.name for key in SEARCH_ATTRIBUTES if key.name not in listed.custom_attributes]


async def ensure_search_attributes(client: Client) -> list[str]:
    """Register what is missing; returns the names registered.

    Raises RPCError, with PERMISSION_DENIED where only the provider's console may register them (Temporal Cloud).
    """
    missing = await missing_search_attributes(client)
    if not missing:
        return []
    request = AddSearchAttributesRequest(
        namespace=client.namespace,
        search_attributes=dict.fromkeys(missing, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD),
    )
    try:
        await client.operator_service.add_search_attributes(request, timeout=CONNECT_TIMEOUT)
    except RPCError as error:
        # Another process may have registered them in the meantime.
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise
    return missing
