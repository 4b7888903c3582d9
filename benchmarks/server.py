"""The gateway as `pingpulse api` runs it, with bare routes beside its own, a memory for delivery lags and a
count of what it asks Temporal.

`--profile FILE` runs it under cProfile and writes what it found to FILE in the end.
"""

import argparse
import cProfile
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from prometheus_client import REGISTRY, Histogram
from sqlalchemy import select
from temporalio import service

from api import metrics
from api.app import create_app
from api.deps import SessionsDep
from cli.serve import serve_app
from config.logging import configure_logging
from config.settings import Settings
from storage.approvals import Approval
from storage.base import single_statements


class RecordingHistogram(Histogram):
    """Keeps every value too: its buckets are too wide for a percentile."""

    values: list[float]

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        super().observe(amount, exemplar)
        self.values.append(amount)


def record_lags() -> list[float]:
    """Makes the courier tell its delivery lags to the list that is returned."""
    REGISTRY.unregister(metrics.DELIVERY_LAG)
    histogram = RecordingHistogram("pingpulse_delivery_lag_seconds", "As in api/metrics.py.")
    histogram.values = []
    metrics.DELIVERY_LAG = histogram
    return histogram.values


def count_calls() -> Counter[str]:
    """Counts what this process asks Temporal from now on, by the name of the call, in what is returned."""
    client, calls = service._BridgeServiceClient, Counter[str]()
    really_call = client._rpc_call

    async def call(self: Any, rpc: str, *values: Any, **options: Any) -> Any:
        calls[rpc] += 1
        return await really_call(self, rpc, *values, **options)

    client._rpc_call = call  # type: ignore[method-assign]
    return calls


def add_bare_routes(app: FastAPI, lags: list[float], calls: Counter[str]) -> None:
    @app.get("/bare")
    async def bare() -> dict[str, str | int]:
        """An answer of the size of a ping's, for nothing."""
        return {"status": "success", "workflow_id": "bare", "instance_id": "d1234567", "stage_order": 1}

    @app.get("/bare/{approval_id}")
    async def bare_row(approval_id: str, sessions: SessionsDep) -> dict[str, str | None]:
        """An answer for one row, read by its key."""
        async with single_statements(sessions) as session:
            return {"status": await session.scalar(select(Approval.status).where(Approval.id == approval_id))}

    @app.get("/calls")
    async def look_at_calls() -> Counter[str]:
        """How often Temporal was asked, by the name of the call."""
        return calls

    @app.get("/lags")
    async def take_lags() -> list[float]:
        """Seconds from receiving the oldest ping of a signal to Temporal having it, of each since the last look."""
        taken = lags[:]
        lags.clear()
        return taken

    # Routes are tried in order, and those of pings come first: the bare ones must not pay for their place.
    routes = app.router.routes
    routes[:] = [*routes[-4:], *routes[:-4]]


def serve(settings: Settings) -> None:
    app = create_app(settings)
    add_bare_routes(app, record_lags(), count_calls())
    serve_app(app, settings)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--profile", type=Path)
    profile: Path | None = parser.parse_args().profile
    settings = Settings()
    configure_logging(settings)
    if profile is None:
        serve(settings)
        return
    # uvicorn stops in good order and then sends itself the signal again, to die of it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    profiler = cProfile.Profile()
    try:
        profiler.runcall(serve, settings)
    finally:
        profiler.dump_stats(profile)


if __name__ == "__main__":
    main()
