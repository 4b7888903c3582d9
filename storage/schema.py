"""Every table in one place, for whoever needs them all."""

from storage.accounts import Account
from storage.base import Base
from storage.gateways import Gateway, Life
from storage.instances import Instance, Stage, TransitionRow
from storage.keys import ApiKey
from storage.outbox import OutboxRow
from storage.pings import IdempotencyKey, Ping
from storage.sessions import LoginSession
from storage.users import User
from storage.workflows import Workflow

TABLES: tuple[type[Base], ...] = (
    Account,
    ApiKey,
    Gateway,
    IdempotencyKey,
    Instance,
    Life,
    OutboxRow,
    Ping,
    LoginSession,
    Stage,
    TransitionRow,
    User,
    Workflow,
)
