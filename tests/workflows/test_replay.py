"""Workflows that were begun by the code of yesterday go on with the code of today."""

from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from config.temporal import DATA_CONVERTER
from temporal_workflows.instance import InstanceInput, InstanceWorkflow
from temporal_workflows.registry import WORKFLOWS
from tests.workflows.record_histories import HISTORIES, NAMES
from worker.main import sandbox

RECORDED = sorted(HISTORIES.glob("*.json"))


@workflow.defn(name="InstanceWorkflow")
class Dawdling(InstanceWorkflow):
    """As it would be if somebody changed the order of what it does."""

    @workflow.init
    def __init__(self, start: InstanceInput) -> None:
        super().__init__(start)

    @workflow.run
    async def run(self, start: InstanceInput) -> str:
        await workflow.sleep(1)
        return await super().run(start)


def history(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json("instance/flow/recorded", path.read_text())


def test_every_main_path_is_recorded() -> None:
    assert {path.stem for path in RECORDED} >= {*NAMES, "continued_1", "pulse_continued_1"}


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
async def test_recorded_histories_are_replayed(path: Path) -> None:
    replayer = Replayer(workflows=WORKFLOWS, workflow_runner=sandbox(), data_converter=DATA_CONVERTER)
    await replayer.replay_workflow(history(path))


async def test_a_changed_order_is_found_out() -> None:
    replayer = Replayer(
        workflows=[Dawdling], workflow_runner=UnsandboxedWorkflowRunner(), data_converter=DATA_CONVERTER
    )
    with pytest.raises(workflow.NondeterminismError):
        await replayer.replay_workflow(history(HISTORIES / "healed.json"))
