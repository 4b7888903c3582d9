"""Every table in one place, for whoever needs them all."""

from storage.account_audit import AccountEntry
from storage.accounts import Account
from storage.alerts import AlertRow
from storage.approval_access import ApprovalCode, ApprovalNonce
from storage.approval_audit import AuditEntry
from storage.approval_seals import ApprovalSeal
from storage.approvals import Approval, ApprovalVote
from storage.base import Base
from storage.budgets import BudgetRow
from storage.channels import Attachment, Channel
from storage.comparisons import ComparisonRow
from storage.cost_alerts import CostAlert
from storage.costs import CostRollup, InstanceCost, WorkflowDayCost
from storage.gateways import Gateway, Life
from storage.instances import Instance, Stage
from storage.invitations import Invitation
from storage.keys import ApiKey
from storage.login_links import LoginLink
from storage.messages import Attempt, Delivery, Message
from storage.outbox import OutboxRow
from storage.pings import IdempotencyKey, Ping
from storage.prices import PriceRow
from storage.processes import ProcessHook, ProcessRun
from storage.pulses import Pulse, PulseStanding
from storage.reruns import RerunInput
from storage.reservations import Reservation
from storage.retention import RetentionRow
from storage.run_standings import RunStandingRow
from storage.second_factors import SecondFactor
from storage.sessions import LoginSession
from storage.status_pages import StatusPage
from storage.transitions import TransitionRow
from storage.users import User
from storage.workflows import Workflow

TABLES: tuple[type[Base], ...] = (
    Account,
    AccountEntry,
    AlertRow,
    ApiKey,
    Approval,
    ApprovalCode,
    ApprovalNonce,
    ApprovalSeal,
    ApprovalVote,
    Attachment,
    Attempt,
    AuditEntry,
    BudgetRow,
    Channel,
    ComparisonRow,
    CostAlert,
    CostRollup,
    Delivery,
    Gateway,
    IdempotencyKey,
    Instance,
    InstanceCost,
    Invitation,
    Life,
    LoginLink,
    LoginSession,
    Message,
    OutboxRow,
    Ping,
    PriceRow,
    ProcessHook,
    ProcessRun,
    Pulse,
    PulseStanding,
    RerunInput,
    Reservation,
    RetentionRow,
    RunStandingRow,
    SecondFactor,
    Stage,
    StatusPage,
    TransitionRow,
    User,
    Workflow,
    WorkflowDayCost,
)
