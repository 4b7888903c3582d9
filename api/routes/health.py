"""Whether this process works, for load balancers, Prometheus and the 3 a.m. operator."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text

from api import metrics
from api.deps import SessionsDep
from api.gateway import Gateway
from api.openapi import PUBLIC
from config.clock import utc_now
from storage.pings import depth_and_oldest

router = APIRouter(tags=["operations"], dependencies=[])

DATABASE_TIMEOUT_SECONDS = 2.0


@router.get("/health", openapi_extra=PUBLIC, responses={503: {"description": "Postgres does not answer."}})
async def health(request: Request, response: Response, sessions: SessionsDep) -> dict[str, Any]:
    """200 while Postgres answers: pings are taken. Temporal may be away meanwhile; they are delivered later."""
    gateway: Gateway = request.app.state.gateway
    database, temporal = await asyncio.gather(_database_answers(sessions), gateway.temporal.is_reachable())
    if not database:
        response.status_code = 503
    return {
        "status": "ok" if database and temporal else "degraded" if database else "unavailable",
        "database": "ok" if database else "unreachable",
        "temporal": "ok" if temporal else "unreachable",
    }


async def _database_answers(sessions: SessionsDep) -> bool:
    try:
        async with asyncio.timeout(DATABASE_TIMEOUT_SECONDS), sessions() as session:
            await session.execute(text("SELECT 1"))
    except Exception:  # whatever it is, it does not answer
        return False
    return True


@router.get("/metrics", openapi_extra=PUBLIC, response_class=Response)
async def read_metrics(sessions: SessionsDep) -> Response:
    """Prometheus metrics of this process, and of the outbox that all share."""
    async with sessions() as session:
        depth, oldest = await depth_and_oldest(session)
    metrics.OUTBOX_DEPTH.set(depth)
    metrics.OUTBOX_AGE.set((utc_now() - oldest).total_seconds() if oldest is not None else 0)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
