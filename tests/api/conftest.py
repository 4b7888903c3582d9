"""A small gateway with security, errors and middleware alone, over real HTTP on the Postgres of all tests."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import httpx
import pytest
import sqlalchemy
from fastapi import Body, FastAPI, Query, Request, Response
from pydantic import BaseModel, SecretStr
from sqlalchemy.ext.asyncio import AsyncSession

from api.app import create_app
from api.deps import AnyPrincipalDep, PrincipalDep, SessionDep, Text
from api.errors import install_error_handlers
from api.middleware import GatewayMiddleware
from api.openapi import install_openapi
from api.routes import errors, keys, session
from api.security import admit_ping, ensure_owner, install_security
from config.clock import utc_now
from config.settings import Settings
from domain.accounts import Role
from domain.keys import KeyScope
from storage.accounts import create_account
from storage.base import Sessions, create_engine, create_sessions, transaction
from storage.keys import create_key
from storage.users import create_user
from tests.api.calls import Calls
from tests.support.serving import serve
from tests.support.stack import SECRET, Stack, make_account

PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Gateway:
    """A running gateway; `app` lives in another thread, with another event loop."""

    url: str
    app: FastAPI

    def client(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, **options)


@dataclass(frozen=True)
class Team:
    """An account with a user of each role and a key of each scope."""

    account_id: str
    owner: str
    viewer: str
    full_key: str
    ping_key: str


class Thing(BaseModel):
    name: Text
    size: int


class Box(BaseModel):
    things: list[Thing]


def build_app(settings: Settings, database_url: str) -> FastAPI:
    engine = create_engine(database_url, application_name="tests")
    sessions = create_sessions(engine)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await engine.dispose()

    app = FastAPI(lifespan=lifespan)
    app.state.settings, app.state.sessions = settings, sessions
    install_security(app, settings, sessions)
    install_error_handlers(app)
    install_openapi(app)
    app.add_middleware(GatewayMiddleware, log_pings=settings.log_level == "debug")
    for module in (session, keys, errors):
        app.include_router(module.router)
    _add_probes(app)
    return app


def _add_probes(app: FastAPI) -> None:
    """Routes that do one thing each."""

    @app.api_route("/dhk/{workflow_id}", methods=["GET", "POST"], include_in_schema=False)
    async def ping(request: Request) -> Response:
        body = await request.json() if await request.body() else None
        principal = await admit_ping(request, body)
        return Response(principal.account_id)

    @app.get("/dhk/{workflow_id}/tree")
    async def tree(principal: AnyPrincipalDep) -> str:
        return principal.scope

    @app.get("/api/of/{account_id}")
    async def owned(account_id: str, principal: PrincipalDep) -> None:
        ensure_owner(principal, account_id)

    @app.post("/api/boxes")
    async def box(body: Box, limit: Annotated[int, Query(ge=1)] = 1) -> int:
        return len(body.things) * limit

    @app.get("/api/crash")
    async def crash(key: str) -> None:
        raise KeyError(key)

    @app.get("/api/store")
    async def store(number: int, session: SessionDep) -> None:
        await session.execute(sqlalchemy.text("SELECT CAST(:number AS integer)"), {"number": number})

    @app.post("/api/store")
    async def store_text(session: SessionDep, text: Annotated[str, Body(embed=True)]) -> None:
        await session.execute(sqlalchemy.text("SELECT CAST(:text AS text)"), {"text": text})

    @app.post("/api/read")
    async def read(request: Request) -> int:
        return len(await request.body())


@pytest.fixture(scope="session")
def start(database_url: str) -> Iterator[Callable[..., Gateway]]:
    """Starts a gateway with settings of one's own."""
    with ExitStack() as running:

        def start_gateway(url: str = database_url, **settings: Any) -> Gateway:
            values = {"secret_key": SecretStr(SECRET), "failed_logins_per_minute": 1000, **settings}
            app = build_app(Settings(_env_file=None, **values), url)
            return Gateway(running.enter_context(serve(app)), app)

        yield start_gateway


@pytest.fixture(scope="session")
def gateway(start: Callable[..., Gateway]) -> Gateway:
    return start()


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway.client() as client:
        yield client


@pytest.fixture(scope="session")
async def team(sessions: Sessions) -> Team:
    return await make_team(sessions, "ours")


@pytest.fixture(scope="session")
async def others(sessions: Sessions) -> Team:
    return await make_team(sessions, "theirs")


async def make_team(sessions: Sessions, name: str) -> Team:
    async with transaction(sessions) as session:
        account = await create_account(session, name, utc_now())
        return Team(
            account.id,
            await make_user(session, account.id, f"Owner@{name}.example", "owner"),
            await make_user(session, account.id, f"viewer@{name}.example", "viewer"),
            await make_key(session, account.id, "full"),
            await make_key(session, account.id, "ping"),
        )


async def make_user(session: AsyncSession, account_id: str, email: str, role: Role) -> str:
    return (await create_user(session, account_id, email, PASSWORD, utc_now(), role=role)).email


async def make_key(session: AsyncSession, account_id: str, scope: KeyScope) -> str:
    return (await create_key(session, account_id, f"a {scope} key", scope, utc_now()))[1]


def api_key(key: str) -> dict[str, str]:
    return {"X-API-Key": key}


async def new_ping_key(sessions: Sessions, team: Team) -> str:
    async with transaction(sessions) as session:
        return await make_key(session, team.account_id, "ping")


async def log_in(client: httpx.AsyncClient, email: str) -> dict[str, str]:
    """Leaves the cookies in the client; returns the headers that a write needs."""
    response = await client.post("/api/login", json={"email": email, "password": PASSWORD})
    assert response.status_code == 200, response.text
    return {"X-CSRF-Token": response.json()["csrf_token"]}


# The whole gateway, with Temporal behind it


@pytest.fixture(scope="session")
def quick_gateway(stack: Stack) -> Iterator[str]:
    """The URL of a gateway that signals often, so that tests need not wait for its windows."""
    settings = stack.settings.model_copy(update={"courier_window_seconds": 0.05})
    with serve(create_app(settings)) as url:
        yield url


@asynccontextmanager
async def calls_to(url: str, account_id: str, key: str) -> AsyncIterator[Calls]:
    # The server closes idle connections after five seconds; a client that does so first never meets a closed one.
    limits = httpx.Limits(keepalive_expiry=1)
    async with httpx.AsyncClient(base_url=url, headers=api_key(key), timeout=30, limits=limits) as http:
        yield Calls(http, account_id, key)


@pytest.fixture(scope="session")
async def ours(quick_gateway: str, stack: Stack) -> AsyncIterator[Calls]:
    async with calls_to(quick_gateway, stack.account_id, stack.key) as calls:
        yield calls


@pytest.fixture(scope="session")
async def ours_elsewhere(stack: Stack) -> AsyncIterator[Calls]:
    """The same account at another gateway, whose windows last a second."""
    async with calls_to(stack.url, stack.account_id, stack.key) as calls:
        yield calls


@pytest.fixture(scope="session")
async def their_account(sessions: Sessions) -> tuple[str, str]:
    return await make_account(sessions, "others")


@pytest.fixture(scope="session")
async def theirs(quick_gateway: str, their_account: tuple[str, str]) -> AsyncIterator[Calls]:
    async with calls_to(quick_gateway, *their_account) as calls:
        yield calls


@pytest.fixture
async def mine(quick_gateway: str, sessions: Sessions) -> AsyncIterator[Calls]:
    """An account that nobody else pings for."""
    async with calls_to(quick_gateway, *await make_account(sessions)) as calls:
        yield calls
