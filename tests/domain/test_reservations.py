"""What may be set aside: never more than there is, however it is cut."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.budgets import Budget
from domain.errors import DomainError
from domain.instances import InstanceStatus
from domain.reservations import BudgetExhausted, Room, refusal, room_in
from tests.domain.builders import at, properties

money = st.decimals(min_value=0, max_value=10**9, places=18)
limits = st.none() | st.decimals(min_value="0.01", max_value=10**9, places=2)


def room(budget: Budget, *, spent: str = "0", today: str = "0", held: str = "0", others: tuple[str, ...] = ()) -> Room:
    return room_in(
        budget,
        None,
        spent_usd=Decimal(spent),
        today_usd=Decimal(today),
        held_usd=Decimal(held),
        held_by_others_usd=[Decimal(amount) for amount in others],
    )


@pytest.mark.parametrize(
    ("budget", "books", "left"),
    [
        (Budget(), {"spent": "5", "held": "7"}, (None, None)),
        (Budget(limit_usd=Decimal(10)), {}, ("10", None)),
        (Budget(limit_usd=Decimal(10)), {"spent": "3", "held": "2", "others": ("9", "9")}, ("5", None)),
        (Budget(limit_usd=Decimal(10)), {"spent": "30"}, ("0", None)),
        (Budget(daily_limit_usd=Decimal(10)), {"spent": "30"}, (None, "10")),
        (Budget(daily_limit_usd=Decimal(10)), {"today": "3", "held": "2", "others": ("1", "1.5")}, (None, "2.5")),
        (Budget(limit_usd=Decimal(4), daily_limit_usd=Decimal(5)), {"spent": "1", "today": "2"}, ("3", "3")),
    ],
)
def test_what_is_left(budget: Budget, books: dict[str, str], left: tuple[str | None, str | None]) -> None:
    expected = Room(*(None if amount is None else Decimal(amount) for amount in left))
    assert room(budget, **books) == expected  # type: ignore[arg-type]


def test_a_raise_leaves_more() -> None:
    books = {"spent_usd": Decimal(5), "today_usd": Decimal(5), "held_usd": Decimal(0)}
    budget = Budget(limit_usd=Decimal(4))
    assert room_in(budget, Decimal(7), **books, held_by_others_usd=()).left_usd == 2
    assert room_in(budget, Decimal(3), **books, held_by_others_usd=()).left_usd == 0


@properties
@given(limits, limits, st.lists(st.tuples(st.booleans(), money), max_size=20))
def test_who_asks_one_after_the_other_never_holds_too_much(
    limit: Decimal | None, daily: Decimal | None, wishes: list[tuple[bool, Decimal]]
) -> None:
    """Two instances of one workflow; `True` is the first of them."""
    budget = Budget(limit_usd=limit, daily_limit_usd=daily)
    held = {True: Decimal(0), False: Decimal(0)}
    for whose, amount in wishes:
        before = room_in(
            budget,
            None,
            spent_usd=Decimal(0),
            today_usd=Decimal(0),
            held_usd=held[whose],
            held_by_others_usd=[held[not whose]],
        )
        left = [each for each in (before.left_usd, before.left_today_usd) if each is not None]
        if left and amount > min(left):
            with pytest.raises(BudgetExhausted) as caught:
                before.check(amount)
            known = {"remaining_usd": before.left_usd, "remaining_today_usd": before.left_today_usd}
            assert caught.value.extra == {name: value for name, value in known.items() if value is not None}
            continue
        before.check(amount)
        held[whose] += amount
        after = before.without(amount)
        assert after.left_usd == (None if limit is None else limit - held[whose])
        assert after.left_today_usd == (None if daily is None else daily - sum(held.values()))
    assert limit is None or max(held.values()) <= limit
    assert daily is None or sum(held.values()) <= daily


@pytest.mark.parametrize(
    ("status", "closes_at", "reason", "code"),
    [
        (InstanceStatus.PENDING, None, None, None),
        (InstanceStatus.RUNNING, None, None, None),
        (InstanceStatus.COMPLETED, 11, None, None),
        (InstanceStatus.FAILED, 11, "Stage 2 failed", None),
        (InstanceStatus.COMPLETED, 9, None, "instance_closed"),
        (InstanceStatus.TERMINATED, 9, None, "instance_closed"),
        (InstanceStatus.TERMINATED, 9, "too dear", "instance_terminated"),
        (InstanceStatus.PAUSED, None, "too dear", "instance_paused"),
    ],
)
def test_whose_pings_are_refused_sets_nothing_aside(
    status: InstanceStatus, closes_at: float | None, reason: str | None, code: str | None
) -> None:
    closing = at(closes_at) if closes_at is not None else None
    refused: DomainError | None = refusal("flow", "d12345678", status, closing, reason, at(10))
    assert (refused.code if refused is not None else None) == code
