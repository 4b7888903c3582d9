"""`GET /live`: server-sent events for pages that are kept up to date. They carry no data: the page fetches itself."""

from collections.abc import AsyncIterator
from time import monotonic
from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import StreamingResponse

from api.dashboard.visitors import VisitorDep
from api.gateway import Gateway
from api.live import EVERYTHING

router = APIRouter()

IDLE_SECONDS: Final = 15.0
"""Proxies and browsers take a connection on which nothing comes for longer than this for dead. As often it is asked
whether the session has ended."""


@router.get("/live", include_in_schema=False)
async def live(
    request: Request, visitor: VisitorDep, subject: Annotated[str, Query(max_length=300)] = EVERYTHING
) -> StreamingResponse:
    """An event `changed` after each second in which something about the subject did. Ends with the session."""
    return StreamingResponse(
        _events(request, visitor, subject),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(request: Request, visitor: VisitorDep, subject: str) -> AsyncIterator[str]:
    gateway: Gateway = request.app.state.gateway
    yield "retry: 2000\n\n"
    look_again_at = monotonic() + IDLE_SECONDS
    async for has_changed in gateway.live.changes(visitor.account.id, subject, IDLE_SECONDS):
        if monotonic() >= look_again_at:
            if not await visitor.is_logged_in():
                return
            look_again_at = monotonic() + IDLE_SECONDS
        yield "event: changed\ndata:\n\n" if has_changed else ": still there\n\n"
