"""Calls to a gateway, so that tests read like what a user does."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx

from config.clock import utc_now
from tests.support.waiting import until

JSON = {"Content-Type": "application/json"}


def new_id(kind: str = "dwf") -> str:
    """A workflow id that nobody has used."""
    return f"{kind}_{uuid4().hex[:12]}"


@dataclass(frozen=True)
class Calls:
    """One account's calls to one gateway; each checks the status that it should have."""

    http: httpx.AsyncClient
    account_id: str
    key: str

    async def get(self, path: str, expected: int = 200, **params: Any) -> Any:
        response = await self.http.get(path, params=params)
        assert response.status_code == expected, response.text
        return response.json()

    async def define(self, kind: str = "static", stages: int | list[dict[str, Any]] = 3, **fields: Any) -> str:
        """A new workflow's id; `stages` are those of a static one, or how many."""
        body = {"kind": kind, "name": "A workflow", **fields}
        if kind == "static":
            body["stages"] = in_order(stages) if isinstance(stages, int) else stages
        response = await self.http.post("/api/workflows", json=body)
        assert response.status_code == 201, response.text
        return str(response.json()["id"])

    async def static(self, workflow_id: str, stage: object, expected: int = 200, **params: Any) -> dict[str, Any]:
        """GET /shk"""
        return dict(await self.get(f"/shk/{workflow_id}", expected, stage=stage, **params))

    async def dynamic(self, workflow_id: str, stage: object, expected: int = 200, **params: Any) -> dict[str, Any]:
        """GET /dhk"""
        return dict(await self.get(f"/dhk/{workflow_id}", expected, stagePath=stage, **params))

    async def post(self, path: str, body: Any, expected: int = 200, **params: Any) -> dict[str, Any]:
        """POST with JSON"""
        response = await self.http.post(path, json=body, params=params)
        assert response.status_code == expected, response.text
        return dict(response.json())

    async def open(self, workflow_id: str | None = None, stage: str = "1", **params: Any) -> tuple[str, str]:
        """A dynamic workflow and its new instance."""
        workflow_id = workflow_id or new_id()
        answer = await self.dynamic(workflow_id, stage, start="yes", **params)
        return workflow_id, str(answer["instance_id"])

    async def instance(self, instance_id: str) -> dict[str, Any]:
        return dict(await self.get(f"/api/instances/{instance_id}"))

    async def history(self, workflow_id: str, **params: Any) -> dict[str, Any]:
        return dict(await self.get(f"/api/workflows/{workflow_id}/instances", **params))

    async def failed_pings(self, workflow_id: str) -> list[dict[str, Any]]:
        return list((await self.get(f"/api/workflows/{workflow_id}/failed-pings"))["failed_pings"])

    async def settled(self, instance_id: str, status: str) -> dict[str, Any]:
        """The instance, once its workflow has recorded that status."""

        async def has_it() -> Any:
            instance = await self.instance(instance_id)
            steps = [item["to_status"] for item in instance["transitions"] if item["stage_path"] is None]
            return instance if steps[-1:] == [status] else None

        return dict(await until(has_it))

    async def closed(self, instance_id: str) -> None:
        """Returns when the instance takes no more pings."""

        async def is_closed() -> bool:
            instance = await self.instance(instance_id)
            closes_at, steps = instance["closes_at"], instance["transitions"]
            # It is shown as its journal has it. The door goes by what its workflow has recorded, which may be behind.
            is_recorded = any(item["stage_path"] is None and item["to_status"] != "running" for item in steps)
            return is_recorded and closes_at is not None and utc_now() > datetime.fromisoformat(closes_at)

        await until(is_closed, every=0.05)


def in_order(count: int) -> list[dict[str, Any]]:
    """The stages 1 to `count` of a definition."""
    return [{"order": order} for order in range(1, count + 1)]


def expected_stages(pings: list[dict[str, Any]]) -> list[tuple[str, str, str | None]]:
    """Of the failed queue, the oldest first: stage, code and the stage that was expected."""
    return [(ping["stage_path"], ping["code"], ping["expected_stage"]) for ping in reversed(pings)]
