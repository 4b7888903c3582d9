"""Any JSON object that is taken as a payload comes back equal."""

import json
from typing import Any

import httpx
import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.calls import new_id
from tests.support.stack import Stack

UNDERSTOOD = ("status", "exit_code", "error", "duration", "usage", "cost_usd", "tool_calls", "model_id", "stage")

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.characters(categories=["Cs"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(st.sampled_from(UNDERSTOOD) | st.text(max_size=8), values, max_size=6)


def test_payloads_come_back_equal(quick_gateway: str, stack: Stack, database_url: str) -> None:
    workflow_id = new_id()
    taken: list[dict[str, Any]] = []
    with httpx.Client(base_url=quick_gateway) as http, psycopg.connect(database_url, autocommit=True) as database:

        @settings(
            max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(objects)
        def check(payload: dict[str, Any]) -> None:
            response = http.post(
                f"/dhk/{workflow_id}?stagePath=1&start=no" if taken else f"/dhk/{workflow_id}?stagePath=1&start=yes",
                content=json.dumps({**payload, "key": stack.key}),
                headers={"Content-Type": "application/json"},
            )
            assert response.status_code in (200, 400), response.text
            if response.status_code == 400:
                assert response.json()["errors"]
                return
            taken.append(payload)
            kept = database.execute(
                "SELECT payload, size_bytes FROM pings WHERE workflow_id = %s ORDER BY id DESC LIMIT 1", [workflow_id]
            ).fetchone()
            assert kept == (payload or None, len(response.request.content))

        check()
    assert len(taken) > 50
