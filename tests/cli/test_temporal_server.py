"""The dev server as `up` runs it, and what is registered there."""

from pathlib import Path

from temporalio.api.operatorservice.v1 import RemoveSearchAttributesRequest

from cli.ports import claim_ports
from cli.probes import namespace_exists, pollers_since, register_search_attributes, temporal_client
from cli.supervisor.supervisor import Supervisor
from cli.temporal_server import temporal_service
from config.clock import utc_now
from config.settings import Settings
from config.temporal import connect, missing_search_attributes


async def test_it_starts_with_its_search_attributes_and_starts_again_on_the_same_file(tmp_path: Path) -> None:
    port, ui_port = claim_ports(*[("127.0.0.1", 0, "", "")] * 2)
    settings = Settings(temporal_port=port, temporal_ui_port=ui_port)
    assert not await namespace_exists(settings)
    assert (await connect(settings, lazy=True)).namespace == "default"
    for attempt in ("first", "second"):
        supervisor = Supervisor()
        try:
            await supervisor.start(temporal_service(settings, tmp_path / "temporal.db", tmp_path / "temporal.log"))
            client = await temporal_client(settings)
            if attempt == "second":
                # Removed at the end of the first run: the flag brought it back, or nobody did.
                await register_search_attributes(client)
            assert await missing_search_attributes(client) == []
            assert await pollers_since(client, settings.temporal_task_queue, utc_now()) == 0
            await client.operator_service.remove_search_attributes(
                RemoveSearchAttributesRequest(namespace=client.namespace, search_attributes=["PingPulseStage"])
            )
            if attempt == "second":
                assert await register_search_attributes(client) == ["PingPulseStage"]
                assert await register_search_attributes(client) == []
        finally:
            supervisor.hurry()
            await supervisor.stop()
