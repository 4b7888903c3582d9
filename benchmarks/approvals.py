"""Approvals that are polled and waited for, the way from a decision to whoever waits for it, and deadlines."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter, time
from typing import Any

from benchmarks.asking import Caller, calling
from benchmarks.figures import Aim, Extent, Rounds, Sheet
from benchmarks.load import Answers, percentile
from benchmarks.pings import ANSWER_COLUMNS, BARE, Tell, answer_cells
from benchmarks.stack import Stack
from benchmarks.waiting import BenchmarkError, until
from storage.approvals import CHANGES

EACH = 5
"""How many approvals a client polls, and how many seconds later it comes back to one."""

ASKED_AT_A_TIME = 8
SIXTEEN = 16
LONG_SECONDS = 86_400.0
PACE_SECONDS = 0.1
"""From one decision to the next."""

SETTLE_SECONDS = 1.0
LEAD_SECONDS, RESERVE = 30.0, 2.0
"""How long before they expire approvals are asked for, so that the stack has come to rest by then: so many times what
that took for those that were asked for first."""

PATIENCE_SECONDS = 60.0
AIM_POLL_MS, AIM_DECISION_MS = 100, 200

_UNFOLLOWED = "SELECT count(*) FROM approvals WHERE followed_revision < revision"
_UNSENT = "SELECT count(*) FROM messages WHERE state = 'pending'"


@dataclass(frozen=True)
class Asked:
    """Approvals that were asked for: their ids with the times by `time` at which they expire, and how long it took
    until all were answered, until all were followed by their workflows, and until their letters were sent."""

    expires: dict[str, float]
    answered_seconds: float
    followed_seconds: float
    sent_seconds: float

    @property
    def ids(self) -> list[str]:
        return list(self.expires)


@dataclass(frozen=True)
class Decisions:
    """Seconds, ascending: until a decision was answered, and until whoever waited was, from that and from sending."""

    answered: list[float]
    told_after_answer: list[float]
    told_after_sending: list[float]


@dataclass(frozen=True)
class ApprovalFigures:
    """`rows` and `polls` are at the same rate, `busy` those polls during which others were decided.

    `waits` are in seconds, by how much answers to those who waited in vain were later than asked for. `calls` are
    those of the gateway to Temporal during `polls`. `delays` are from deadline to record, in seconds.
    """

    approvals: int
    asked: Asked
    rows: Answers
    polls: Answers
    busy: Answers
    waiting: int
    waits: list[float]
    calls: dict[str, int]
    decisions: Decisions
    most: dict[str, Rounds]
    delays: list[float]

    def sheets(self) -> list[Sheet]:
        rate = f"{self.polls.per_second:,.0f}/s"
        polls = [
            _in_ms(name, answers.latencies, answers.failed)
            for name, answers in (
                (f"one row by its key, {rate}", self.rows),
                (f"polls, {rate}", self.polls),
                ("polls while others are decided", self.busy),
            )
        ]
        decisions = self.decisions
        waits = [
            _in_ms("answer to a decision", decisions.answered),
            _in_ms("answer to who waits, after it was sent", decisions.told_after_sending),
            _in_ms("answer to who waits, after its answer", decisions.told_after_answer),
            _in_ms("answer to who waits in vain, late by", self.waits),
        ]
        bare = self.most["one row by its key"].per_second
        most = [[name, str(SIXTEEN), *answer_cells(rounds, bare)] for name, rounds in self.most.items()]
        asked = self.asked
        found = {
            "created/s": f"{len(asked.ids) / asked.answered_seconds:,.0f}",
            "all followed by workflows after s": f"{asked.followed_seconds:.1f}",
            "all letters sent after s": f"{asked.sent_seconds:.1f}",
            f"calls to Temporal in {len(self.polls.latencies):,} polls": str(sum(self.calls.values())),
            **{f"… {name}": str(count) for name, count in self.calls.items()},
        }
        delays = [f"{percentile(self.delays, percent):.3f}" for percent in (50, 99)]
        columns = ("p50 ms", "p99 ms", "most ms")
        return [
            Sheet(f"{self._pending}, {self.waiting:,} who wait", ("", *columns, "not 200"), polls),
            Sheet(f"{len(decisions.answered):,} decisions, {self.waiting:,} who wait", ("", *columns), waits),
            Sheet("As many polls as go", (*ANSWER_COLUMNS[:-2], "of the row", ANSWER_COLUMNS[-1]), most),
            Sheet(self._pending, ("", "found"), [[name, value] for name, value in found.items()]),
            Sheet(
                f"{len(self.delays):,} approvals that expire at once",
                ("seconds after the deadline", "p50", "p99", "most"),
                [["recorded", *delays, f"{self.delays[-1]:.3f}"]],
            ),
        ]

    def aims(self) -> list[Aim]:
        p99, calls = self.polls.percentile(99), sum(self.calls.values())
        told = 1000 * self.decisions.told_after_sending[-1]
        return [
            Aim(f"p99 of a poll, {self._pending}", f"< {AIM_POLL_MS} ms", f"{p99:.1f} ms", p99 < AIM_POLL_MS),
            Aim("calls to Temporal while polled", "0", str(calls), calls == 0),
            Aim("decision to who waits, at most", f"< {AIM_DECISION_MS} ms", f"{told:.1f} ms", told < AIM_DECISION_MS),
        ]

    @property
    def _pending(self) -> str:
        return f"{self.approvals:,} pending approvals"


async def measure(stack: Stack, extent: Extent, tell: Tell) -> ApprovalFigures:
    clients = extent.approvals // EACH
    asked = await _ask(stack, "pending", extent.approvals, tell)
    decided = await _ask(stack, "decided", extent.decisions, tell)
    polls, rows = _polls(asked.ids), [f"/bare/{approval_id}" for approval_id in asked.ids]
    window, rate = extent.waiting_seconds, extent.approvals / EACH

    async def at_the_rate(paths: list[str], seconds: float) -> Answers:
        return await stack.load(paths, connections=clients, seconds=seconds, rate=rate)

    pace = extent.decisions * PACE_SECONDS
    waiting = asyncio.create_task(_wait_for_all(stack, asked.ids[::EACH], window, 4 * window + pace))
    try:
        tell(f"{clients} clients begin to wait")
        await asyncio.sleep(window + SETTLE_SECONDS)
        tell("One row by its key")
        answers_of_rows = await at_the_rate(rows, window)
        tell("Polls")
        before = await stack.calls()
        answers_of_polls = await at_the_rate(polls, window)
        calls = _since(before, await stack.calls())
        tell(f"{extent.decisions} decisions")
        busy, decisions = await asyncio.gather(at_the_rate(polls, pace + SETTLE_SECONDS), _decide(stack, decided.ids))
        tell(f"{clients} clients wait to the end")
        waits = [latency - window for latency in (await waiting).latencies]
    finally:
        waiting.cancel()
    most = await _as_many_as_go(stack, rows, polls, extent, tell)
    lead = LEAD_SECONDS + RESERVE * extent.expiring * asked.sent_seconds / extent.approvals
    delays = await _expire(stack, extent.expiring, lead, tell)
    return ApprovalFigures(
        extent.approvals, asked, answers_of_rows, answers_of_polls, busy, clients, waits, calls, decisions, most, delays
    )


async def _ask(stack: Stack, name: str, count: int, tell: Tell, *, expires_at: datetime | None = None) -> Asked:
    """Returns when each is followed by its workflow and its letter is sent."""
    tell(f"Asking for {count} approvals")
    numbers, expires = iter(range(count)), dict[str, float]()

    async def ask_in_turn(numbers: Iterator[int]) -> None:
        async with calling(stack.port, stack.key) as caller:
            for number in numbers:
                seconds = LONG_SECONDS
                if expires_at is not None:
                    seconds = (expires_at - datetime.now(UTC)).total_seconds()
                body = {
                    "context": f"Publish blog post {number}: Q4 Earnings Report (1,500 words)",
                    "title": f"{name} {number}",
                    "approvers": ["ada@example.com"],
                    "timeout_seconds": seconds,
                }
                created = (await caller.ask("POST", "/api/approvals", body, wanted=201)).content
                expires[created["approval_id"]] = datetime.fromisoformat(created["expires_at"]).timestamp()

    begun = perf_counter()
    await asyncio.gather(*(ask_in_turn(numbers) for _ in range(ASKED_AT_A_TIME)))
    answered_seconds = perf_counter() - begun
    tell(f"{count} approvals are to be followed")
    await _none(stack, f"{count} approvals followed by their workflows", _UNFOLLOWED, count)
    followed_seconds = perf_counter() - begun
    await _none(stack, f"the letters of {count} approvals sent", _UNSENT, count)
    sent_seconds = perf_counter() - begun
    await stack.services.quiet()
    return Asked(expires, answered_seconds, followed_seconds, sent_seconds)


async def _none(stack: Stack, what: str, query: str, count: int) -> None:
    async def look() -> bool:
        return await stack.rows(query) == [(0,)]

    await until(what, look, timeout_seconds=PATIENCE_SECONDS + 0.3 * count)


def _polls(ids: Sequence[str], query: str = "") -> list[str]:
    return [f"/api/approvals/{approval_id}?{query}key={{key}}" for approval_id in ids]


async def _wait_for_all(stack: Stack, ids: list[str], waiting_seconds: float, seconds: float) -> Answers:
    """A client for each, who asks again when it is answered; they begin one after the other."""
    return await stack.load(
        _polls(ids, f"wait={waiting_seconds:g}&"),
        connections=len(ids),
        seconds=seconds,
        rate=len(ids) / waiting_seconds,
        patience_seconds=waiting_seconds + PATIENCE_SECONDS,
    )


def _since(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    counts = {name: count - before.get(name, 0) for name, count in after.items()}
    return {name: count for name, count in counts.items() if count}


async def _decide(stack: Stack, ids: Sequence[str]) -> Decisions:
    """One after the other, each while a client waits for it."""
    async with AsyncExitStack() as connections:

        async def connect() -> Caller:
            return await connections.enter_async_context(calling(stack.port, stack.key))

        async def wait_for(approval_id: str) -> Any:
            return await (await connect()).ask("GET", f"/api/approvals/{approval_id}?wait=60")

        decider = await connect()
        waiting = [asyncio.create_task(wait_for(approval_id)) for approval_id in ids]
        await asyncio.sleep(SETTLE_SECONDS)
        decisions = []
        for approval_id in ids:
            decisions.append(await decider.ask("POST", f"/api/approvals/{approval_id}/decide", {"decision": "approve"}))
            await asyncio.sleep(max(0.0, PACE_SECONDS - decisions[-1].seconds))
        told = await asyncio.gather(*waiting)
    if not all(answer.content["status"] == "approved" for answer in told):
        raise BenchmarkError("the machine is too slow: some clients stopped waiting before the decision came")
    return Decisions(
        sorted(decision.seconds for decision in decisions),
        sorted(answer.answered_at - decision.answered_at for answer, decision in zip(told, decisions, strict=True)),
        sorted(answer.answered_at - decision.sent_at for answer, decision in zip(told, decisions, strict=True)),
    )


async def _as_many_as_go(
    stack: Stack, rows: list[str], polls: list[str], extent: Extent, tell: Tell
) -> dict[str, Rounds]:
    found = {"bare route": (BARE, Rounds()), "one row by its key": (rows, Rounds()), "polls": (polls, Rounds())}
    await stack.services.quiet()
    for number in range(extent.rounds):
        tell(f"As many as go, round {number + 1} of {extent.rounds}")
        for paths, rounds in found.values():
            rounds.answers.append(await stack.load(paths, connections=SIXTEEN, seconds=extent.seconds))
    return {name: rounds for name, (_, rounds) in found.items()}


async def _expire(stack: Stack, count: int, lead_seconds: float, tell: Tell) -> list[float]:
    """From the deadline of each to its record, in seconds, ascending."""
    expires_at = datetime.now(UTC) + timedelta(seconds=lead_seconds)
    asked = await _ask(stack, "expiring", count, tell, expires_at=expires_at)
    await stack.database.execute(f"LISTEN {CHANGES}".encode())
    if datetime.now(UTC) > expires_at:
        raise BenchmarkError(f"{count} approvals expired before all of them were followed: the machine is too slow")
    tell(f"Waiting for {count} approvals to expire")
    give_up_at = max(asked.expires.values()) + PATIENCE_SECONDS
    recorded: dict[str, float] = {}
    async for notification in stack.database.notifies(timeout=give_up_at - time()):
        if notification.payload in asked.expires:
            recorded.setdefault(notification.payload, time())
        if len(recorded) == count:
            break
    await stack.database.execute(b"UNLISTEN *")
    if len(recorded) < count:
        raise BenchmarkError(f"only {len(recorded)} of {count} approvals have expired")
    return sorted(recorded[approval_id] - at for approval_id, at in asked.expires.items())


def _in_ms(name: str, seconds: list[float], failed: int | None = None) -> list[str]:
    """A row of a table; of seconds in ascending order."""
    ordered = sorted(seconds)
    figures = [percentile(ordered, 50), percentile(ordered, 99), ordered[-1] if ordered else float("nan")]
    return [name, *(f"{1000 * figure:.1f}" for figure in figures), *([str(failed)] if failed is not None else [])]
