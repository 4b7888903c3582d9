"""How workflows call activities, in one place."""

from datetime import timedelta
from typing import Final, TypedDict

from temporalio.common import RetryPolicy

from domain.messages import ATTEMPT_LIMIT, FIRST_GAP, GIVE_UP_AFTER, LONGEST_GAP


class LocalActivityOptions(TypedDict):
    start_to_close_timeout: timedelta
    retry_policy: RetryPolicy
    local_retry_threshold: timedelta


class ActivityOptions(TypedDict):
    start_to_close_timeout: timedelta
    schedule_to_close_timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    retry_policy: RetryPolicy


READ_MODEL: Final[LocalActivityOptions] = {
    # Postgres may be gone for long: a workflow waits for it rather than fail. Local activities, because one
    # per signal as regular activities would triple the load of a hot instance on Temporal.
    "start_to_close_timeout": timedelta(seconds=10),
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(milliseconds=100), backoff_coefficient=2, maximum_interval=timedelta(seconds=30)
    ),
    # A workflow that waits for longer does so with a timer: waiting inside its workflow task it would hold one of
    # the worker's slots, answer no query, and write to its history every few seconds all the same.
    "local_retry_threshold": timedelta(seconds=5),
}

SENDING: Final[ActivityOptions] = {
    "start_to_close_timeout": ATTEMPT_LIMIT,
    "schedule_to_close_timeout": GIVE_UP_AFTER,
    # A worker that is killed while it sends is noticed by this, rather than by the end of the attempt.
    "heartbeat_timeout": timedelta(seconds=10),
    "retry_policy": RetryPolicy(initial_interval=FIRST_GAP, backoff_coefficient=2, maximum_interval=LONGEST_GAP),
}

GIVING_UP: Final[ActivityOptions] = {
    "start_to_close_timeout": timedelta(seconds=30),
    "schedule_to_close_timeout": None,
    "heartbeat_timeout": None,
    "retry_policy": RetryPolicy(maximum_interval=timedelta(minutes=1)),
}
