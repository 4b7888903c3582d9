"""The search attributes our Temporal workflows carry, for whoever looks at the Temporal UI.

Keywords throughout: Temporal on Postgres has ten of those a namespace and three of each other type. The
product's own lists never read them; they read Postgres.
"""

from temporalio.common import SearchAttributeKey

KIND = SearchAttributeKey.for_keyword("PingPulseKind")
OWNER = SearchAttributeKey.for_keyword("PingPulseOwner")
WORKFLOW = SearchAttributeKey.for_keyword("PingPulseWorkflow")
STATUS = SearchAttributeKey.for_keyword("PingPulseStatus")
STAGE = SearchAttributeKey.for_keyword("PingPulseStage")

SEARCH_ATTRIBUTES: tuple[SearchAttributeKey[str], ...] = (KIND, OWNER, WORKFLOW, STATUS, STAGE)
