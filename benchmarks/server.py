"""The gateway as `pingpulse api` runs it, with a bare route beside its own and a memory for delivery lags.

`--profile FILE` runs it under cProfile and writes what it found to FILE in the end.
"""

import argparse
import cProfile
import signal
import sys
from pathlib import Path

from fastapi import FastAPI
from prometheus_client import REGISTRY, Histogram

from api import metrics
from api.app import create_app
from cli.serve import serve_app
from config.logging import configure_logging
from config.settings import Settings


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


def add_bare_routes(app: FastAPI, lags: list[float]) -> None:
    @app.get("/bare")
    async def bare() -> dict[str, str | int]:
        """An answer of the size of a ping's, for nothing."""
        return {"status": "success", "workflow_id": "bare", "instance_id": "d1234567", "stage_order": 1}

    @app.get("/lags")
    async def take_lags() -> list[float]:
        """Seconds from receiving the oldest ping of a signal to Temporal having it, of each since the last look."""
        taken = lags[:]
        lags.clear()
        return taken

    # Routes are tried in order, and those of pings come first: the bare one must not pay for its place.
    routes = app.router.routes
    routes.insert(0, routes.pop(-2))


def serve(settings: Settings) -> None:
    app = create_app(settings)
    add_bare_routes(app, record_lags())
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
