"""What comes back: typed answers, typed errors, and what is neither."""

import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

import pingpulse
from pingpulse import (
    ApiError,
    AsyncPingPulse,
    AuthenticationFailed,
    ConfigurationError,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    PingPulse,
    PingPulseError,
    StageState,
    UnexpectedAnswer,
)
from pingpulse._parsing import parse
from pingpulse.models import Approval, InstanceCost, StageAnswer
from storage.base import Sessions, transaction
from tests.api.calls import Calls
from tests.api.conftest import make_key
from tests.clients.breakable import Breakable, Fault
from tests.clients.conftest import Kind

Connect = Callable[..., Any]


async def test_errors_say_what_and_where(connect: Connect, kind: Kind) -> None:
    client = connect()
    with pytest.raises(InvalidRequest) as refused:
        await kind.call(client.stage, "w", "2..1")
    error = refused.value
    assert (error.status, error.code, error.title) == (400, "invalid_request", "Invalid request")
    assert [field.field for field in error.fields] == ["stagePath"]
    assert "whole numbers" in error.fields[0].message
    assert error.detail in str(error)
    with pytest.raises(NotFound, match="There is no workflow nobody"):
        await kind.call(client.workflow_info, "nobody")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), vars(copy)) == (InvalidRequest, vars(error))


async def test_a_key_that_is_wrong_or_not_good_enough(
    kind: Kind, gateway_url: str, mine: Calls, sessions: Sessions
) -> None:
    stranger = kind.make(gateway_url, "ppk_abcdefghij_secret")
    with pytest.raises(AuthenticationFailed) as refused:
        await kind.call(stranger.workflows)
    assert "secret" not in str(refused.value)
    async with transaction(sessions) as session:
        key = await make_key(session, mine.account_id, "ping")
    agent = kind.make(gateway_url, key)
    with pytest.raises(PermissionDenied) as forbidden:
        await kind.call(agent.workflows)
    assert forbidden.value.code == "insufficient_scope"
    for client in (stranger, agent):
        await kind.call(client.close)


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (Fault(200, body=b"<html>Hello"), UnexpectedAnswer, "<html>Hello"),
        (Fault(200, body=b"[]"), UnexpectedAnswer, "a StageAnswer, and got \\[\\]"),
        (Fault(200, body=b'{"workflow_id": 1}'), UnexpectedAnswer, "StageAnswer.workflow_id is 1"),
        (Fault(200, body=b"{}"), UnexpectedAnswer, "no workflow_id"),
        (Fault(301, {"Location": "https://elsewhere/"}), UnexpectedAnswer, "https://elsewhere/"),
        (Fault(418, body=b"short and stout"), ApiError, "418 http_418: short and stout"),
        (Fault(500, body=b'{"detail": 3, "errors": {"x": 1}}'), ApiError, "500 http_500: 3"),
    ],
)
async def test_what_is_not_pingpulse(
    connect: Connect, kind: Kind, proxy: Breakable, fault: Fault, error: type[PingPulseError], message: str
) -> None:
    proxy.faults.append(fault)
    with pytest.raises(error, match=message):
        await kind.call(connect(proxy.url).stage, "w", 1)


def test_members_that_are_not_known_are_out_of_the_way() -> None:
    document = {"workflow_id": "w", "instance_id": None, "verdict": {"score": Decimal("0.5")}}
    answer = parse(StageAnswer, document)
    assert answer == StageAnswer(raw={}, workflow_id="w", instance_id=None)
    assert answer.raw["verdict"] == {"score": 0.5}
    assert "verdict" not in repr(answer)


def test_values_are_of_their_types() -> None:
    document = {"instance_id": "d1", "total_cost_usd": Decimal("0.1"), "unpriced_pings": 0, "breakdown": [
        {"stage_path": "1", "executed_at": "2026-01-15T10:00:00.5Z", "cost_usd": 0}]}  # fmt: skip
    cost = parse(InstanceCost, document)
    assert cost.total_cost_usd == Decimal("0.1")
    assert cost.breakdown[0].executed_at == datetime(2026, 1, 15, 10, 0, 0, 500_000, tzinfo=UTC)
    assert isinstance(cost.breakdown[0].cost_usd, Decimal)
    for wrong in ({**document, "breakdown": {}}, {**document, "unpriced_pings": True}, {**document, "instance_id": 1}):
        with pytest.raises(UnexpectedAnswer):
            parse(InstanceCost, wrong)


def test_an_approval_is_true_if_it_was_approved_and_only_then() -> None:
    for result, expected in ((1, True), (0, False), (None, False)):
        approval = parse(Approval, {"approval_id": "apr_1", "status": "…", "result": result})
        assert bool(approval) is expected
    assert bool(parse(StageState, {"status": "failed"}))


@pytest.mark.parametrize("make", [PingPulse, AsyncPingPulse])
@pytest.mark.parametrize(
    ("url", "key", "message"),
    [
        ("", "k", "PINGPULSE_URL"),
        ("http://localhost", "", "PINGPULSE_API_KEY"),
        ("localhost:8000", "k", "http://"),
        ("http://[", "k", "address"),
        ("http://localhost", "k\n1", "characters"),
    ],
)
async def test_a_client_that_knows_not_where_to_says_so_when_it_is_asked(
    make: Any, url: str, key: str, message: str
) -> None:
    kind, client = Kind(make), make(url, key)
    with pytest.raises(ConfigurationError, match=message):
        await kind.call(client.workflows)
    with pytest.raises(ConfigurationError, match=message):
        make(url, key, strict=True)


@pytest.mark.parametrize("options", [{"when_full": "explode"}, {"buffer_size": 0}])
def test_options_that_cannot_be(options: Any) -> None:
    with pytest.raises(ConfigurationError):
        PingPulse("http://localhost", "k", **options)


def test_the_environment_says_where_and_who(monkeypatch: pytest.MonkeyPatch, gateway_url: str, mine: Calls) -> None:
    monkeypatch.setenv("PINGPULSE_URL", f"{gateway_url}/")
    monkeypatch.setenv("PINGPULSE_API_KEY", mine.key)
    with PingPulse() as client:
        assert client.workflows().workflows == ()
        assert repr(client) == f"PingPulse('{gateway_url}')"


async def test_http_options_go_to_httpx(gateway_url: str, mine: Calls) -> None:
    seen: list[httpx.Request] = []
    options = {"event_hooks": {"request": [seen.append]}, "headers": {"X-Team": "data"}}
    with PingPulse(gateway_url, mine.key, http_options=options) as client:
        client.workflows()
    assert seen[0].headers["x-team"] == "data"
    assert mine.key not in str(seen[0].url)


def test_everything_is_exported() -> None:
    assert sorted(pingpulse.__all__, key=str) == sorted({*pingpulse.__all__}, key=str)
    assert all(hasattr(pingpulse, name) for name in pingpulse.__all__)
