"""MessageWorkflow: one message to a channel, or one letter, from its hand-over until it was sent or given up."""

from dataclasses import dataclass

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.messages import MessageActivities
    from temporal_workflows.options import GIVING_UP, SENDING
    from temporal_workflows.search_attributes import OWNER, STATUS


@dataclass(frozen=True)
class MessageInput:
    message_id: str
    account_id: str


@workflow.defn(name="MessageWorkflow")
class MessageWorkflow:
    @workflow.run
    async def run(self, start: MessageInput) -> str:
        """Returns how it ended: `sent`, `failed` or `dropped`."""
        try:
            state = await workflow.execute_activity_method(
                MessageActivities.send_message, start.message_id, summary="Send it", **SENDING
            )
        except ActivityError:
            # All the time is over, or somebody has cancelled the workflow and wants no more attempts.
            state = await workflow.execute_activity_method(
                MessageActivities.give_up, start.message_id, summary="Record that it failed", **GIVING_UP
            )
        workflow.upsert_search_attributes([STATUS.value_set(state), OWNER.value_set(start.account_id)])
        return state
