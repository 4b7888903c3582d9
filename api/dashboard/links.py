"""Where things are shown."""

from typing import Final
from urllib.parse import quote, urlencode

from config.settings import Settings

_PAGES: Final = {
    "pulse": "/pulses/{0}",
    "approval": "/approvals/{0}",
    "workflow": "/workflows/{0}",
    "channel": "/channels/{0}",
}


def subject_url(subject: str) -> str:
    """The page of a subject or a source, named as in alerts and transitions."""
    kind, *parts = subject.split("/")
    parts = [quote(part, safe="") for part in parts]
    if kind == "instance" and len(parts) == 2:
        return f"/instances/{parts[1]}"
    if kind == "process":
        return f"/process-hooks/{parts[0]}" + (f"/runs/{parts[1]}" if len(parts) == 2 else "")
    return _PAGES[kind].format(*parts) if kind in _PAGES and parts else "/"


def temporal_url(settings: Settings, subject: str) -> str | None:
    """A subject's Temporal workflow in Temporal's own pages, if it is known where those are."""
    if settings.temporal_ui_url is None:
        return None
    namespace = quote(settings.temporal_namespace, safe="")
    return f"{settings.temporal_ui_url.rstrip('/')}/namespaces/{namespace}/workflows/{quote(subject, safe='')}"


def with_query(path: str, **values: str | int | None) -> str:
    """An address with those of the values that are given."""
    query = urlencode({name: value for name, value in values.items() if value not in (None, "")})
    return f"{path}?{query}" if query else path
