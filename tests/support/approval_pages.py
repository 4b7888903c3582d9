"""The approver's page as a browser without scripts uses it: what is on it, and what its forms send."""

import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit
from uuid import uuid4

import httpx

from activities.approval_links import ApprovalLinks
from config.clock import utc_now
from domain.accounts import Role
from domain.approvals import Ballot
from storage import deciding
from storage.approval_audit import list_entries
from storage.approvals import Approval, get_approval
from storage.base import Sessions, transaction
from tests.api.conftest import PASSWORD, make_user
from tests.support.approvals import ask, by_link
from tests.support.stack import SECRET, Stack

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def page_path(approval_id: str, approver: str | None = None, intent: str | None = None) -> str:
    """Below the gateway's address; with an `approver`, by their link."""
    links = ApprovalLinks(SECRET, "")
    path = links.page(approval_id) if approver is None else links.url(approval_id, approver)
    return f"{path}{'&' if '?' in path else '?'}intent={intent}" if intent else path


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.inputs: dict[str, str] = {}
        self.actions: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []
        self._area: str | None = None
        self._select: str | None = None
        self._silent = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        name, value = found.get("name") or "", found.get("value") or ""
        self._silent = tag == "style"
        self._end_word(tag)
        if tag == "button" and name and value:
            self.actions.append(value)
        elif tag == "input" and (found.get("type") != "checkbox" or "checked" in found):
            self.inputs[name] = value
        elif tag == "textarea":
            self._area, self.inputs[name] = name, ""
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and "selected" in found:
            self.inputs[self._select] = value
        if tag == "a":
            self.links.append(found.get("href") or "")

    def handle_endtag(self, tag: str) -> None:
        self._silent = False
        self._end_word(tag)
        if tag == "textarea":
            self._area = None

    def handle_data(self, data: str) -> None:
        if self._area is not None:
            self.inputs[self._area] += data.removeprefix("\n")
        elif not self._silent:
            self.text.append(data)

    def _end_word(self, tag: str) -> None:
        if tag != "bdi":
            self.text.append(" ")


@dataclass(frozen=True)
class Page:
    """An answer of the page. `actions` are its buttons, `inputs` what its forms would send as they are."""

    response: httpx.Response

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def text(self) -> str:
        """What one reads."""
        return " ".join("".join(self._parsed.text).split())

    @property
    def actions(self) -> list[str]:
        return self._parsed.actions

    @property
    def links(self) -> list[str]:
        return self._parsed.links

    @property
    def inputs(self) -> dict[str, str]:
        return {name: value for name, value in self._parsed.inputs.items() if name}

    @property
    def title(self) -> str:
        found = re.search(r"<title>(.*?)</title>", self.response.text, re.DOTALL)
        assert found is not None, self.response.text
        return html.unescape(found[1])

    @property
    def _parsed(self) -> _Parser:
        parser = _Parser()
        parser.feed(self.response.text)
        return parser


@dataclass
class Browser:
    """Follows redirects, keeps cookies, sends forms as they are but for what was filled in."""

    http: httpx.AsyncClient

    async def open(self, path: str) -> Page:
        return Page(await self.http.get(path))

    async def press(self, page: Page, action: str, **filled: str) -> Page:
        """Presses a button; names of fields with a dot are given as `response__name`."""
        values = {name.replace("__", "."): value for name, value in filled.items()}
        return await self.send(page, {**page.inputs, **values, "action": action})

    async def send(self, page: Page, form: dict[str, str], **headers: str) -> Page:
        """Any form, to where the page's own forms go."""
        address = urljoin(str(page.response.url), urlsplit(str(page.response.url)).path)
        sent = {"Origin": "null", "Sec-Fetch-Site": "same-origin", **headers}
        return Page(await self.http.post(address, data=form, headers=sent))


@asynccontextmanager
async def browser(url: str, **headers: str) -> AsyncIterator[Browser]:
    """A browser of one's own, for a gateway."""
    # The server closes idle connections after five seconds; a client that does so first never meets a closed one.
    limits = httpx.Limits(keepalive_expiry=1)
    async with httpx.AsyncClient(
        base_url=url, follow_redirects=True, timeout=30, headers=headers, limits=limits
    ) as client:
        yield Browser(client)


async def events_of(sessions: Sessions, approval_id: str) -> list[str]:
    """What the audit trail tells, without who asked for what."""
    async with sessions() as session:
        return [entry.fields()["event"] for entry in await list_entries(session, approval_id)][1:]


async def stored(sessions: Sessions, approval_id: str) -> Approval:
    async with sessions() as session:
        approval = await get_approval(session, approval_id)
        assert approval is not None, approval_id
        return approval


async def voted(sessions: Sessions, approval: Approval, name: str, ballot: Ballot) -> None:
    """Somebody's vote, by their link."""
    async with transaction(sessions) as session:
        await deciding.vote(session, approval.id, by_link(name), ballot, utc_now())


async def asked(stack: Stack, **values: Any) -> Approval:
    return await ask(stack.sessions, stack.account_id, **values)


async def member(stack: Stack, role: Role = "member", account_id: str | None = None) -> str:
    """The e-mail address of a new user."""
    async with transaction(stack.sessions) as session:
        return await make_user(session, account_id or stack.account_id, f"{uuid4().hex[:8]}@example.com", role)


async def logged_in(visitor: Browser, email: str) -> None:
    response = await visitor.http.post("/api/login", json={"email": email, "password": PASSWORD})
    assert response.status_code == 200, response.text


async def nothing_is_decided(stack: Stack, approval: Approval) -> None:
    assert (await stored(stack.sessions, approval.id)).status == "pending"
    assert "voted" not in await events_of(stack.sessions, approval.id)
