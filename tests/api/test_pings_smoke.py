from tests.support.stack import Stack
from tests.support.waiting import until


async def test_a_dynamic_run_from_start_to_end(stack: Stack) -> None:
    async with stack.client() as client:
        first = (await client.get("/dhk/smoke", params={"stagePath": "1", "start": "yes"})).json()
        assert first["workflow_status"] == "running"
        await client.get("/dhk/smoke", params={"stagePath": "2.1", "stagename": "Train"})
        tree = await client.get("/dhk/smoke/tree")
        assert tree.json() == {"1": {"status": "healthy"}, "2.1": {"status": "healthy", "stage_name": "Train"}}

        async def is_told_by_temporal() -> bool:
            return (await client.get("/dhk/smoke/tree")).headers["X-PingPulse-Source"] == "temporal"

        # The journal tells the tree while Temporal takes longer than it may, as on a busy machine.
        await until(is_told_by_temporal)
        await client.get("/dhk/smoke", params={"stagePath": "3", "final": "yes"})

        async def is_completed() -> bool:
            history = (await client.get("/api/workflows/smoke/instances")).json()
            return bool(history["recent_instances"][0]["status"] == "completed")

        assert await until(is_completed)
