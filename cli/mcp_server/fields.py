"""The parameters that several tools have, as agents see them.

Texts that may be left out are empty, not null: the SDK reads a text that looks like JSON as JSON wherever anything but
a text is allowed too.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

_ID = r"^[A-Za-z0-9_.\-]*[A-Za-z0-9_\-][A-Za-z0-9_.\-]*$"
_ID_OR_NOTHING = r"^[A-Za-z0-9_.\-]*$"

WorkflowId = Annotated[str, Field(pattern=_ID, max_length=128, description="The workflow's id.")]
OptionalWorkflowId = Annotated[str, Field(pattern=_ID_OR_NOTHING, max_length=128, description="A workflow's id.")]
InstanceId = Annotated[
    str, Field(pattern=_ID, max_length=64, description="The run's id, such as d8x9y0z1a, as ping_stage answers it.")
]
OptionalInstanceId = Annotated[
    str, Field(pattern=_ID_OR_NOTHING, max_length=64, description="A run's id, as ping_stage answers it.")
]
ApprovalId = Annotated[str, Field(pattern=_ID, max_length=64, description="As request_approval answers it.")]
Cursor = Annotated[str, Field(max_length=500, description="`next_cursor` of the page before.")]
IdempotencyKey = Annotated[
    str,
    Field(
        pattern="^[!-~]*$",
        max_length=200,
        description="Leave it out, unless you repeat a call whose outcome you do not know: the same key and the same "
        "arguments again do nothing twice.",
    ),
]
Payload = Annotated[dict[str, Any] | None, Field(description="Any JSON object of up to 100 kB, kept with the ping.")]
ErrorText = Annotated[str, Field(description="What went wrong, if it failed.")]
Agent = Annotated[str, Field(max_length=200, description="Who reports: your own name. Strict workflows need it.")]
Duration = Annotated[float | None, Field(ge=0, allow_inf_nan=False, description="How long the work took, in ms.")]

Context = Annotated[
    str,
    Field(
        min_length=1,
        description="The question, for people: what you want to do, and all that they must know to decide. Plain text.",
    ),
]
Title = Annotated[str, Field(max_length=200, description="A short name of it for mails and lists.")]
Shown = Annotated[Any, Field(description="Any JSON that whoever decides is to see, such as the draft itself.")]
Approvers = Annotated[
    list[str] | None, Field(description="E-mail addresses of those who may decide. The account's owners if left out.")
]
Quorum = Annotated[int, Field(ge=1, le=100, description="How many of them must approve.")]
Choices = Annotated[
    list[str] | None, Field(description="2 to 10 options in place of a plain yes; the answer's `choice` is one.")
]
Editable = Annotated[
    dict[str, Any] | None,
    Field(
        description="A JSON schema, of type object, of the members of `payload` that approvers may change; the "
        "answer's `response` has the values to go on with."
    ),
]
DecisionSeconds = Annotated[
    float | None,
    Field(ge=1, description="How long people have to decide, a day if left out; null for ever. Not how long you wait."),
]
OnTimeout = Annotated[
    Literal["deny", "approve"], Field(description="What happens if nobody decides in that time. With choices: deny.")
]
Confirm = Annotated[
    Literal["link", "code", "login"],
    Field(description="How people prove who they are. Take `code` or `login` for what is grave or cannot be undone."),
]
StagePath = Annotated[str, Field(max_length=300, description="The stage of that workflow or run it is about.")]
MaxWait = Annotated[
    float,
    Field(
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="How long to wait for people at most, in seconds. Many clients give up on a tool after 60.",
    ),
]
