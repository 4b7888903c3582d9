"""Putting the gateway together."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from fastapi import FastAPI

from api.approval_page import routes as approval_page
from api.approval_page.visitors import make_links
from api.dashboard.routers import DASHBOARD
from api.delivery import Temporal
from api.errors import install_error_handlers
from api.gateway import Gateway
from api.middleware import GatewayMiddleware
from api.openapi import install_openapi
from api.ping_docs import ping_paths
from api.routes import (
    accounts,
    alerts,
    approval_history,
    approvals,
    audit,
    badges,
    budgets,
    channels,
    cli,
    comparisons,
    costs,
    dev_mail,
    errors,
    exports,
    forks,
    health,
    ingest,
    instances,
    invitations,
    keys,
    lineage_events,
    members,
    pings,
    prices,
    process_hooks,
    pulse_history,
    pulses,
    reruns,
    reservations,
    resuming,
    retention,
    second_factor,
    session,
    sessions,
    status_pages,
    timeline,
    traces,
    workflows,
)
from api.security import install_security
from api.status_views import StatusPages
from config.settings import Settings
from config.temporal import connect
from storage.base import create_engine, create_sessions

ROUTERS = (
    ingest,
    lineage_events,
    traces,
    workflows,
    instances,
    timeline,
    forks,
    reruns,
    comparisons,
    exports,
    resuming,
    reservations,
    costs,
    budgets,
    prices,
    pulses,
    pulse_history,
    badges,
    process_hooks,
    approval_history,
    approvals,
    channels,
    alerts,
    accounts,
    retention,
    status_pages,
    keys,
    session,
    sessions,
    second_factor,
    members,
    invitations,
    audit,
    errors,
    health,
    cli,
    dev_mail,
)


def create_app(settings: Settings) -> FastAPI:
    """The gateway as an ASGI app; its lifespan connects it and, in the end, empties its hands."""
    if settings.database_url is None:
        raise ValueError("PINGPULSE_DATABASE_URL is not set; the gateway needs Postgres.")
    engine = create_engine(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        application_name="pingpulse gateway",
    )
    sessions = create_sessions(engine)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Lazy: pings are taken while Temporal is away.
        client = await connect(settings, lazy=True)
        gateway = Gateway(settings, sessions, Temporal(client, settings.temporal_task_queue))
        await gateway.start()
        app.state.gateway = gateway
        # What start-up has made stays for good. Looking through it for garbage again and again would stop the
        # loop for 80 ms at a time, and every ping with it.
        gc.collect()
        gc.freeze()
        try:
            yield
        finally:
            await gateway.stop()
            await engine.dispose()

    app = FastAPI(
        title="PingPulse",
        summary="Watches other people's work.",
        version="0.1.0",
        lifespan=lifespan,
        # Ours is at /docs, without files from elsewhere.
        docs_url=None,
        redoc_url=None,
        # /metrics has what there is to tell; what FastAPI would add costs every request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.settings, app.state.sessions = settings, sessions
    app.state.approval_links = make_links(settings)
    app.state.status_pages = StatusPages()
    app.state.at_work = asyncio.Semaphore(1)
    app.state.lineage_turns = WeakValueDictionary()
    app.state.decoding = asyncio.Semaphore(1)
    install_security(app, settings, sessions)
    install_error_handlers(app)
    install_openapi(app, ping_paths())
    app.router.routes[:0] = pings.ping_routes()
    # A redirect would lose the pings of every curl without -L, and pass keys on to wherever Host says.
    app.router.redirect_slashes = False
    # The page of an approval comes last: pages of the dashboard beside it have their own addresses.
    for module in (*ROUTERS, *DASHBOARD, approval_page):
        app.include_router(module.router)
    app.add_middleware(GatewayMiddleware, log_pings=settings.log_level == "debug")
    return app
