"""The settings: which pages there are is in `templates/settings/tabs.html`."""

from fastapi import APIRouter
from starlette.responses import Response

from api.dashboard.rendering import see
from api.dashboard.visitors import VisitorDep

router = APIRouter(include_in_schema=False)


@router.get("/settings")
async def show_settings(visitor: VisitorDep) -> Response:
    """The first of the pages."""
    return see("/settings/account")
