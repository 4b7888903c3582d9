"""Comparisons are kept as they were answered, the last ones of each account."""

from datetime import timedelta

from sqlalchemy import select

from config.clock import utc_now
from storage.accounts import create_account
from storage.base import Sessions, transaction
from storage.comparisons import ComparisonRow, Extent, get_comparison, keep_comparison, measure, new_session_id
from tests.storage.conftest import Caller


def comparison(account_id: str, minutes: int, document: str = "{}") -> ComparisonRow:
    return ComparisonRow(
        session_id=new_session_id(),
        account_id=account_id,
        created_at=utc_now() + timedelta(minutes=minutes),
        instance_a="d1",
        instance_b="d2",
        request={"ignore": ["*/id"]},
        document=document,
    )


async def keep(sessions: Sessions, row: ComparisonRow, at_most: int) -> str:
    async with transaction(sessions) as session:
        await keep_comparison(session, row, at_most)
    return row.session_id


async def test_only_the_last_ones_of_an_account_are_kept(sessions: Sessions, account: str) -> None:
    async with transaction(sessions) as session:
        neighbour = (await create_account(session, "neighbour", utc_now())).id
    other = await keep(sessions, comparison(neighbour, -9), 2)
    kept = [await keep(sessions, comparison(account, minutes), 2) for minutes in (0, 1, 2)]
    async with sessions() as session:
        left = set(await session.scalars(select(ComparisonRow.session_id)))
    assert left >= {other, *kept[1:]}
    assert kept[0] not in left


async def test_a_document_comes_back_as_it_was_written(sessions: Sessions, account: str) -> None:
    written = '{"b":0.1000000000000000000001,"a":"\\u0000"}'
    session_id = await keep(sessions, comparison(account, 0, written), 2)
    async with sessions() as session:
        row = await get_comparison(session, session_id)
        assert row is not None
        assert (row.document, row.request) == (written, {"ignore": ["*/id"]})
        assert await get_comparison(session, "nothing") is None


async def test_what_there_is_to_compare_is_measured(sessions: Sessions, account: str) -> None:
    caller = Caller(sessions, account, f"measured_{account}")
    (kept, *_) = await caller.keep(caller.ping(start=True), caller.ping("2"))
    assert kept.instance_id is not None
    async with sessions() as session:
        extents = await measure(session, {kept.instance_id, "dnothing"})
    assert extents == {kept.instance_id: Extent(2, 0), "dnothing": Extent(0, 0)}
