"""Calls to a gateway, so that tests read like what a user does."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

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

    async def define(self, kind: str = "static", stages: int = 3, **fields: Any) -> str:
        """A new workflow's id; its name and, if static, its stages are made up."""
        body = {"kind": kind, "name": "A workflow", **fields}
        if kind == "static" and "stages" not in fields:
            body["stages"] = [{"order": order} for order in range(1, stages + 1)]
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
            return instance if any(_is_to(item, status) for item in instance["transitions"]) else None

        return dict(await until(has_it))

    async def closed(self, instance_id: str) -> None:
        """Returns when the instance takes no more pings."""

        async def refuses() -> bool:
            workflow_id = (await self.instance(instance_id))["workflow_id"]
            endpoint = "shk" if instance_id.startswith("s") else "dhk"
            params = {"stage": "1", "instance_id": instance_id, "agent": "closer"}
            return (await self.http.get(f"/{endpoint}/{workflow_id}", params=params)).status_code == 409

        await until(refuses, every=0.1)


def _is_to(transition: dict[str, Any], status: str) -> bool:
    return transition["stage_path"] is None and transition["to_status"] == status


def expected_stages(pings: list[dict[str, Any]]) -> list[tuple[str, str, str | None]]:
    """Of the failed queue, the oldest first: stage, code and the stage that was expected."""
    return [(ping["stage_path"], ping["code"], ping["expected_stage"]) for ping in reversed(pings)]
