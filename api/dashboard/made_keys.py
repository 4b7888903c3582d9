"""Keys that are made where they are needed: in a line to copy. Nobody can tell them again."""

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from api.dashboard.forms import build
from api.dashboard.visitors import Visitor
from api.routes import keys


async def make_key(visitor: Visitor, session: AsyncSession, name: str) -> str:
    """The text of a new key with the scope `ping`."""
    body = build(keys.NewKey, {"name": name, "scope": "ping"})
    created = await keys.create(body, visitor.request, Response(), session, visitor.principal)
    return created.key
