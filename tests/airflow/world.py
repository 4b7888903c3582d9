"""What PingPulse has after the DAGs of a real Airflow have run."""

from dataclasses import dataclass
from typing import Any

import httpx

from tests.airflow.installation import Airflow
from tests.airflow.recorder import Recorder
from tests.support.waiting import until


@dataclass
class World:
    """PingPulse, the recorder before it, and Airflow, whose DAGs have run."""

    recorder: Recorder
    airflow: Airflow
    http: httpx.AsyncClient
    states: dict[str, str]

    async def get(self, path: str, **params: Any) -> Any:
        response = await self.http.get(path, params=params)
        assert response.status_code == 200, response.text
        return response.json()

    async def tree(self, workflow_id: str, kind: str = "dhk") -> dict[str, str]:
        """The status of each stage."""
        tree = await self.get(f"/{kind}/{workflow_id}/tree")
        return {path: stage["status"] for path, stage in tree.items()}

    async def runs(self, workflow_id: str, *statuses: str) -> list[dict[str, Any]]:
        """The instances, the newest first, once they have these statuses."""

        async def have_them() -> list[dict[str, Any]] | None:
            history = await self.get(f"/api/workflows/{workflow_id}/instances")
            runs = [run for run in (history["running_instance"], *history["recent_instances"]) if run is not None]
            return runs if [run["status"] for run in runs] == list(statuses) else None

        return list(await until(have_them))

    async def steps(self, workflow_id: str, status: str) -> list[dict[str, Any]]:
        """The timeline of the only instance, once it has that status."""
        (run,) = await self.runs(workflow_id, status)
        return list((await self.get(f"/api/instances/{run['id']}/timeline"))["timeline"])

    async def alerts(self, workflow_id: str, *kinds: str) -> list[dict[str, Any]]:
        """The workflow's alerts, oldest first, once they are of exactly these kinds."""

        async def are_there() -> tuple[list[dict[str, Any]], ...]:
            found = (await self.get("/api/alerts", source=f"workflow/{workflow_id}"))["alerts"]
            return (found,) if sorted(alert["kind"] for alert in found) == sorted(kinds) else ()

        (found,) = await until(are_there)
        return list(reversed(found))
