"""Whether this process works, for load balancers, Prometheus and the 3 a.m. operator."""

import asyncio
import math
from contextlib import suppress
from typing import Final, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api import metrics
from api.deps import SessionsDep
from api.gateway import Gateway
from api.openapi import PUBLIC, Responses
from config.clock import utc_now
from storage.messages import TellingStands, telling_stands
from storage.pings import depth_and_oldest

router = APIRouter(tags=["operations"])


@router.post("/", include_in_schema=False)
async def root() -> RedirectResponse:
    """Airflow tests its HTTP connections by a POST; what there is, is described at /docs."""
    return RedirectResponse("/docs", 303)


DATABASE_TIMEOUT_SECONDS: Final = 2.0


class Health(BaseModel):
    """`degraded`: pings are taken, and delivered once Temporal is back. A database that is `refusing` answers, but
    could not keep the last pings: its disk may be full."""

    status: Literal["ok", "degraded", "unavailable"]
    database: Literal["ok", "unreachable", "refusing"]
    temporal: Literal["ok", "unreachable"]


_UNAVAILABLE: Final[Responses] = {503: {"description": "Postgres does not answer, or keeps no pings.", "model": Health}}


@router.get("/health", openapi_extra=PUBLIC, responses=_UNAVAILABLE)
async def health(request: Request, response: Response, sessions: SessionsDep) -> Health:
    """200 while pings are taken. Temporal may be away meanwhile; they are delivered later."""
    gateway: Gateway = request.app.state.gateway
    database, temporal = await asyncio.gather(_database_answers(sessions), gateway.temporal.is_reachable())
    takes_pings = database and not gateway.journal.is_refusing
    if not takes_pings:
        response.status_code = 503
    return Health(
        status="ok" if takes_pings and temporal else "degraded" if takes_pings else "unavailable",
        database="ok" if takes_pings else "refusing" if database else "unreachable",
        temporal="ok" if temporal else "unreachable",
    )


async def _database_answers(sessions: SessionsDep) -> bool:
    try:
        async with asyncio.timeout(DATABASE_TIMEOUT_SECONDS), sessions() as session:
            await session.execute(text("SELECT 1"))
    except Exception:  # whatever it is, it does not answer
        return False
    return True


@router.get("/metrics", openapi_extra=PUBLIC, response_class=Response)
async def read_metrics(sessions: SessionsDep) -> Response:
    """Prometheus metrics of this process, and of what all share, which is NaN while Postgres is away."""
    depth, age = math.nan, math.nan
    stands = TellingStands(*[math.nan] * 4)
    with suppress(SQLAlchemyError, TimeoutError):
        async with asyncio.timeout(DATABASE_TIMEOUT_SECONDS), sessions() as session:
            depth, oldest = await depth_and_oldest(session)
            age = (utc_now() - oldest).total_seconds() if oldest is not None else 0
            stands = await telling_stands(session, utc_now())
    metrics.OUTBOX_DEPTH.set(depth)
    metrics.OUTBOX_AGE.set(age)
    metrics.ALERTS_OVERDUE.set(stands.overdue)
    metrics.MESSAGES_PENDING.set(stands.pending)
    metrics.MESSAGES_FAILED.set(stands.failed)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
