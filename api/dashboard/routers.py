"""The dashboard's pages, a module for each noun."""

from typing import Final

from api.dashboard import assets, live, login

DASHBOARD: Final = (assets, live, login)
