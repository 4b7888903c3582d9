"""Requests for approval: what may be asked, and what comes of it."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt
from sqlalchemy.ext.asyncio import AsyncSession

from activities.senders.addresses import check_address
from api.deps import Text
from api.fields import ChannelIds
from api.signing import check_signing_secret, new_signing_secret
from domain.accounts import normal_email
from domain.approval_forms import check_choices, check_editable
from domain.approval_schemas import json_size, unstorable
from domain.approvals import MAX_TIMEOUT_SECONDS, Confirm, Decision, Voter, new_approval_id
from domain.channels import ChannelKind
from domain.errors import InvalidRequest
from domain.paths import parse_path
from domain.subjects import approval_subject, workflow_source
from domain.words import is_visible
from domain.workflows import WorkflowKind
from storage.approvals import Approval
from storage.instances import get_instance
from storage.users import list_owners, users_among
from storage.vault import Vault
from storage.workflows import Workflow, get_workflow

MAX_CONTEXT_BYTES: Final = 20_000
MAX_PAYLOAD_BYTES: Final = 100_000
MAX_IDEMPOTENCY_KEY: Final = 200
DEFAULT_TIMEOUT_SECONDS: Final = 86_400.0


def _context(text: str) -> str:
    if not is_visible(text):
        raise ValueError("must say what is to be approved; there is nothing to see in it")
    if (size := len(text.encode())) > MAX_CONTEXT_BYTES:
        raise ValueError(f"takes {size} bytes in UTF-8; {MAX_CONTEXT_BYTES} is the most. Send a link for the rest")
    return text


def _visible(text: str) -> str:
    if not is_visible(text):
        raise ValueError("must have something to see in it")
    return text


def address_of(text: str) -> str:
    """An e-mail address as it is compared; of somebody who was asked, so it need not be one that mail reaches."""
    try:
        return normal_email(text)
    except InvalidRequest as error:
        raise ValueError(error.fields[0].message) from None


def _email(text: str) -> str:
    try:
        return check_address(ChannelKind.EMAIL, normal_email(text))
    except InvalidRequest:
        raise ValueError("must be one e-mail address, such as ada@example.com") from None


def _callback_url(text: str) -> str:
    try:
        return check_address(ChannelKind.WEBHOOK, text)
    except InvalidRequest as error:
        raise ValueError(error.fields[0].message) from None


def _json(value: Any) -> Any:
    if (problem := next(unstorable(value), None)) is not None:
        raise ValueError(f"{problem.field.lstrip('.')}: {problem.message}" if problem.field else problem.message)
    return value


def _payload(value: Any) -> Any:
    value = _json(value)
    if (size := json_size(value)) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"takes {size} bytes as JSON; {MAX_PAYLOAD_BYTES} is the most. Send a link for the rest")
    return value


def _once(values: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(values))


Line = Annotated[Text, Field(min_length=1, max_length=200), AfterValidator(_visible)]
Seconds = Annotated[float, Field(strict=True, ge=1, le=MAX_TIMEOUT_SECONDS, allow_inf_nan=False)]
Email = Annotated[Text, AfterValidator(_email)]
Emails = Annotated[list[Email], Field(min_length=1, max_length=50), AfterValidator(_once)]
Id = Annotated[Text, Field(min_length=1, max_length=128)]
Choice = Annotated[Text, Field(min_length=1, max_length=100)]


class NewApproval(BaseModel):
    model_config = ConfigDict(extra="forbid")

    context: Annotated[Text, AfterValidator(_context)] = Field(
        description=f"What is to be approved, for people: at most {MAX_CONTEXT_BYTES} bytes in UTF-8.",
        examples=["Publish blog post: Q4 Earnings Report (1,500 words)"],
    )
    title: Line | None = None
    timeout_seconds: Seconds | None = Field(
        DEFAULT_TIMEOUT_SECONDS, description="How long it waits for a decision; null waits for ever."
    )
    timeout_action: Decision = Field(Decision.DENY, description="What happens if nobody decides in time.")
    approvers: Emails | None = Field(None, description="Who is asked; the account's owners if left out.")
    quorum: Annotated[StrictInt, Field(ge=1, le=100)] = Field(1, description="How many of them must agree.")
    veto: StrictBool = Field(False, description="Whether one denial decides, whatever the quorum.")
    requested_by: Line | None = Field(None, description="Who asks; the user or the name of the key if left out.")
    forbid_self: StrictBool = Field(False, description="Whether nobody may decide on their own request.")
    reminders: Annotated[list[Seconds], Field(max_length=20)] = Field(
        [], description="When those who have not answered are reminded, in seconds after the request."
    )
    escalate_to: Emails | None = Field(None, description="Who is asked too if nobody has decided by then.")
    escalate_after_seconds: Seconds | None = None
    payload: Annotated[Any, AfterValidator(_payload)] = Field(
        None, description=f"Shown to people: any JSON of at most {MAX_PAYLOAD_BYTES} bytes."
    )
    # What cannot be stored, for it is nested without end, could not be digested either.
    editable: Annotated[dict[str, Any], AfterValidator(_json)] | None = Field(
        None, description="A JSON schema of the fields that people may edit; `response` answers their values."
    )
    choices: Annotated[list[Choice], Field(min_length=2, max_length=10)] | None = Field(
        None, description="What an approval chooses from; `choice` answers which."
    )
    callback_url: Annotated[Text, Field(min_length=1, max_length=2000), AfterValidator(_callback_url)] | None = Field(
        None, description="Where a signed webhook tells how it ended."
    )
    callback_secret: Annotated[Text, Field(max_length=200), AfterValidator(check_signing_secret)] | None = Field(
        None, description="What that is signed with: `whsec_` and base64 of 24 to 64 bytes. Made if left out."
    )
    workflow_id: Id | None = None
    instance_id: Id | None = Field(None, description="Whose timeline shows it.")
    stage_path: Annotated[Text, Field(min_length=1, max_length=300)] | None = None
    channels: ChannelIds = []
    confirm: Confirm = Field(
        Confirm.LINK, description="What approvers must show: the link of their mail, a mailed code, or a login."
    )
    idempotency_key: Annotated[Text, Field(min_length=1, max_length=MAX_IDEMPOTENCY_KEY)] | None = Field(
        None, description="The same key and request give the first answer again, and ask nobody twice."
    )

    def digest(self) -> bytes:
        """The same for the same request, however it is written; also once there is more that could be asked for."""
        said = self.model_dump(mode="json", exclude={"idempotency_key"}, exclude_defaults=True)
        return sha256(json.dumps(said, sort_keys=True).encode()).digest()


async def new_approval(
    session: AsyncSession,
    body: NewApproval,
    account_id: str,
    requester: Voter,
    requested_by: str,
    vault: Vault | None,
    now: datetime,
) -> tuple[Approval, str | None]:
    """The approval that a request asks for, and the secret of its callback, which takes a vault.

    Raises InvalidRequest naming the field for what does not fit together, or does not exist.
    """
    approval_id = new_approval_id()
    workflow_id, stage_path = await _place(session, account_id, body)
    requested_by = body.requested_by or requested_by
    secret = _callback_secret(body)
    assert secret is None or vault is not None
    approval = Approval(
        id=approval_id,
        account_id=account_id,
        created_at=now,
        changed_at=now,
        status="pending",
        title=body.title,
        context=body.context,
        payload=body.payload,
        editable=body.editable,
        choices=body.choices or [],
        requested_by=requested_by,
        requesters=sorted({requested_by.lower(), requester.name}),
        approvers=body.approvers or await _owners(session, account_id),
        quorum=body.quorum,
        veto=body.veto,
        forbid_self=body.forbid_self,
        confirm=body.confirm.value,
        timeout_seconds=body.timeout_seconds,
        expires_at=_after(now, body.timeout_seconds),
        timeout_action=body.timeout_action.value,
        reminders=sorted(set(body.reminders)),
        escalate_to=body.escalate_to or [],
        escalate_after_seconds=body.escalate_after_seconds,
        escalate_at=_after(now, body.escalate_after_seconds),
        source=approval_subject(approval_id) if body.channels or not workflow_id else workflow_source(workflow_id),
        workflow_id=workflow_id,
        instance_id=body.instance_id,
        stage_path=stage_path,
        callback_url=vault.encrypt(body.callback_url) if vault and body.callback_url else None,
        callback_secret=vault.encrypt(secret) if vault and secret else None,
        idempotency_key=body.idempotency_key,
        request_hash=body.digest(),
    )
    _check_times(body)
    _check_approvers(approval)
    if body.choices:
        check_choices(body.choices, body.timeout_action)
    if body.editable is not None:
        check_editable(body.editable, body.payload)
    if body.confirm is Confirm.LOGIN:
        await _check_users(session, approval)
    return approval, secret


def _callback_secret(body: NewApproval) -> str | None:
    if body.callback_url is None:
        if body.callback_secret is not None:
            raise InvalidRequest.of_field("callback_secret", "is for a callback_url; give that too")
        return None
    return body.callback_secret or new_signing_secret()


async def _owners(session: AsyncSession, account_id: str) -> list[str]:
    if owners := await list_owners(session, account_id):
        return owners
    raise InvalidRequest.of_field("approvers", "is needed: the account has no owner who could be asked")


async def _place(session: AsyncSession, account_id: str, body: NewApproval) -> tuple[str | None, str | None]:
    """The workflow and the stage that it belongs to."""
    workflow_id, workflow = body.workflow_id, None
    if body.instance_id is not None:
        instance = await get_instance(session, body.instance_id)
        if instance is None or instance.account_id != account_id:
            raise InvalidRequest.of_field("instance_id", f"there is no instance {body.instance_id}")
        if workflow_id not in (None, instance.workflow_id):
            raise InvalidRequest.of_field("instance_id", f"is of workflow {instance.workflow_id}, not {workflow_id}")
        workflow_id = instance.workflow_id
    if workflow_id is not None:
        workflow = await get_workflow(session, workflow_id)
        if workflow is None or workflow.account_id != account_id:
            field = "workflow_id" if body.workflow_id is not None else "instance_id"
            raise InvalidRequest.of_field(field, f"there is no workflow {workflow_id}")
    return workflow_id, _stage(workflow, body.stage_path)


def _stage(workflow: Workflow | None, path: str | None) -> str | None:
    """The canonical path. A dynamic workflow may yet come to the stage; a static one has it or has it not."""
    if path is None:
        return None
    if workflow is None:
        raise InvalidRequest.of_field("stage_path", "is a stage of an instance or a workflow; say of which")
    path = parse_path(path, "stage_path")
    stages = [str(stage.order) for stage in workflow.definition().stages]
    if workflow.kind == WorkflowKind.STATIC and path not in stages:
        raise InvalidRequest.of_field("stage_path", f"workflow {workflow.id} has the stages {', '.join(stages)}")
    return path


def _check_times(body: NewApproval) -> None:
    if (body.escalate_to is None) != (body.escalate_after_seconds is None):
        missing = "escalate_to" if body.escalate_to is None else "escalate_after_seconds"
        raise InvalidRequest.of_field(missing, "escalate_to and escalate_after_seconds go together")
    end = body.timeout_seconds
    if end is None:
        return
    if body.escalate_after_seconds is not None and body.escalate_after_seconds >= end:
        raise InvalidRequest.of_field("escalate_after_seconds", f"must be before it expires, after {end:.15g} s")
    for reminder in body.reminders:
        if reminder >= end:
            raise InvalidRequest.of_field("reminders", f"must be before it expires, after {end:.15g} s")


def _check_approvers(approval: Approval) -> None:
    if both := set(approval.approvers) & set(approval.escalate_to):
        raise InvalidRequest.of_field("escalate_to", f"{', '.join(sorted(both))} is among the approvers already")
    everybody = len(approval.approvers) + len(approval.escalate_to)
    if approval.quorum > everybody:
        raise InvalidRequest.of_field("quorum", f"must be at most {everybody}: so many approvers there are")
    if (able := len(approval.terms().eligible())) < approval.quorum:
        raise InvalidRequest.of_field(
            "forbid_self", f"leaves {able} approvers who did not ask, and {approval.quorum} must agree"
        )


async def _check_users(session: AsyncSession, approval: Approval) -> None:
    known = await users_among(session, approval.account_id, [*approval.approvers, *approval.escalate_to])
    for field in ("approvers", "escalate_to"):
        if strangers := [email for email in getattr(approval, field) if email not in known]:
            raise InvalidRequest.of_field(
                field, f"{', '.join(strangers)} cannot log in here, and confirm is {Confirm.LOGIN}"
            )


def _after(now: datetime, seconds: float | None) -> datetime | None:
    return now + timedelta(seconds=seconds) if seconds is not None else None
