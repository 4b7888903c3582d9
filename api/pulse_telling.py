"""Telling the workflow of a pulse that its rules were changed."""

import asyncio
from typing import Final

import structlog
from fastapi import Request

from api.gateway import Gateway
from storage.base import Sessions
from storage.pulse_reads import is_followed

TELL_TIMEOUT_SECONDS: Final = 2.0

log = structlog.get_logger(__name__)


async def tell_of_new_rules(sessions: Sessions, pulse_id: str, request: Request) -> None:
    """Has its workflow read its rules again; that of an awaited pulse begins so, others begin with the first ping. If
    it fails, housekeeping does it.

    After the commit: a workflow that begins later reads the new rules anyway.
    """
    async with sessions() as session:
        if not await is_followed(session, pulse_id):
            return
    gateway: Gateway = request.app.state.gateway
    try:
        async with asyncio.timeout(TELL_TIMEOUT_SECONDS):
            await gateway.temporal.tell_of_new_rules(pulse_id)
    except Exception as error:
        log.info("a workflow was not told of its new rules yet", pulse=pulse_id, error=str(error))
