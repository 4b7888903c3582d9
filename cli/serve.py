"""The two long-running processes, gateway and worker, each alone in the foreground."""

import asyncio
import math
import signal
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI

from config.settings import Settings

if TYPE_CHECKING:
    from api.gateway import Gateway


def serve_api(settings: Settings) -> None:
    """Run one gateway until SIGTERM or SIGINT. Requests under way may finish within `shutdown_seconds`."""
    from api.app import create_app

    serve_app(create_app(settings), settings)


class Server(uvicorn.Server):
    """Has those requests answered that wait for something to happen. uvicorn lets all requests end before it tells the
    app that it is to stop."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        gateway: Gateway | None = getattr(getattr(self.config.app, "state", None), "gateway", None)
        if gateway is not None:
            gateway.release()
        await super().shutdown(sockets)


def serve_app(app: FastAPI, settings: Settings) -> None:
    """Serve an app as a gateway is served."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        # Per request it would cost more than the ping itself; /metrics counts them. Logging is set up already.
        access_log=False,
        log_config=None,
        server_header=False,
        # Believing these headers from anyone would let callers choose the address that rate limits see.
        proxy_headers=settings.trusted_proxies is not None,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_graceful_shutdown=math.ceil(settings.shutdown_seconds),
    )
    server = Server(config)
    # uvicorn stops in good order and then lets the signal have its way.
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(1)


async def serve_worker(settings: Settings) -> None:
    """Run one worker until SIGTERM or SIGINT, then let it finish what it has begun."""
    from worker.main import run

    working = asyncio.create_task(run(settings))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, working.cancel)
    try:
        await working
    except asyncio.CancelledError:
        return
