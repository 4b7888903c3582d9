"""The dashboard as a browser without scripts uses it: what is on a page, and what its forms send."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlencode, urljoin, urlsplit
from uuid import uuid4

import httpx
from bs4 import BeautifulSoup, Tag

from domain.accounts import Role
from storage.base import Sessions, transaction
from tests.api.conftest import PASSWORD, make_user
from tests.support.stack import make_account

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PAGE = {"Accept": "text/html,application/xhtml+xml"}


@dataclass(frozen=True)
class Screen:
    """One page as it came."""

    response: httpx.Response

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def path(self) -> str:
        """With the query."""
        return self.response.url.raw_path.decode()

    @cached_property
    def soup(self) -> BeautifulSoup:
        return BeautifulSoup(self.response.text, "html.parser")

    @property
    def main(self) -> Tag:
        main = self.soup.find("main")
        assert isinstance(main, Tag), self.response.text
        return main

    @property
    def text(self) -> str:
        """What one reads in the page's own part."""
        return " ".join(self.main.get_text(" ").split())

    @property
    def title(self) -> str:
        assert self.soup.title is not None, self.response.text
        return self.soup.title.get_text(strip=True).removesuffix(" · PingPulse")

    @property
    def said(self) -> str:
        """What was done, or why it was not; empty if nothing is said."""
        said = self.main.select_one(".said")
        return " ".join(said.get_text(" ").split()) if said else ""

    @property
    def links(self) -> dict[str, str]:
        """By their words, where the links of the page's own part lead."""
        return {" ".join(a.get_text(" ").split()): str(a["href"]) for a in self.main.select("a[href]")}

    def rows(self, table: str = "table") -> list[list[str]]:
        """The cells of a table's body."""
        found = self.main.select_one(table)
        assert found is not None, f"no {table} in: {self.text}"
        return [
            [" ".join(cell.get_text(" ").split()) for cell in row.find_all(["th", "td"])]
            for row in found.select("tbody tr")
        ]

    def form(self, action: str) -> Tag:
        """The form of this address, as it is written in the page."""
        for form in self.main.select("form"):
            if form.get("action") == action:
                return form
        addresses = [form.get("action") for form in self.main.select("form")]
        raise AssertionError(f"no form {action}; there are {addresses} in: {self.text}")


def fields_of(form: Tag) -> list[tuple[str, str]]:
    """What a browser would send of it as it is."""
    fields: list[tuple[str, str]] = []
    for control in form.select("input[name], select[name], textarea[name]"):
        name = str(control["name"])
        if control.name == "textarea":
            fields.append((name, control.get_text().removeprefix("\n")))
        elif control.name == "select":
            options = control.select("option")
            chosen = [option for option in options if option.has_attr("selected")] or options[:1]
            fields.extend((name, str(option.get("value", ""))) for option in chosen)
        elif control.has_attr("checked") or control.get("type") not in ("checkbox", "radio", "submit"):
            fields.append((name, str(control.get("value", "on" if control.get("type") == "checkbox" else ""))))
    return fields


@dataclass(frozen=True)
class Site:
    """Somebody at the dashboard. `account_id` and `key` are those of their account."""

    http: httpx.AsyncClient
    account_id: str
    key: str
    email: str

    async def open(self, path: str) -> Screen:
        return Screen(await self.http.get(path, headers=PAGE))

    async def submit(self, screen: Screen, action: str, /, **values: str | list[str] | None) -> Screen:
        """Fills in the form of this address, sends it, and goes where it leads. A list is several fields of a name;
        None leaves the name out, as a box that is not ticked. Names with dots are given with `__` for each."""
        sent = fields_of(screen.form(action))
        for given, value in values.items():
            name = given.replace("__", ".")
            sent = [(other, text) for other, text in sent if other != name]
            if value is not None:
                sent.extend((name, one) for one in ([value] if isinstance(value, str) else value))
        return await self.post(urljoin(str(screen.response.url), action), sent)

    async def post(self, path: str, fields: list[tuple[str, str]]) -> Screen:
        """Sends a form that may be on no page."""
        answer = await self.http.post(path, content=urlencode(fields), headers=FORM | PAGE)
        if answer.status_code == 303:
            target = urlsplit(urljoin(str(answer.url), answer.headers["location"]))
            return await self.open(f"{target.path}?{target.query}" if target.query else target.path)
        return Screen(answer)

    async def log_in(self, email: str, password: str = PASSWORD) -> Screen:
        return await self.submit(await self.open("/login"), "/login", email=email, password=password)


async def save_from_two_tabs(
    site: Site, path: str, one: tuple[str, str], other: tuple[str, str]
) -> tuple[Screen, Screen]:
    """Changes `one` field in a tab, and the `other` in a tab that was opened before that: what this was told, and what
    it is told when it sends the same again. In between nothing was saved, and what was typed is still there."""
    first, second = await site.open(path), await site.open(path)
    assert (await site.submit(first, path, **dict([one]))).status == 200
    told = await site.submit(second, path, **dict([other]))
    assert (told.status, "changed meanwhile" in told.said) == (409, True), told.said
    assert other in fields_of(told.form(path))
    now = fields_of((await site.open(path)).form(path))
    assert one in now
    assert other not in now
    return told, await site.submit(told, path)


@asynccontextmanager
async def site_of(
    url: str,
    sessions: Sessions,
    role: Role = "owner",
    account: tuple[str, str] | None = None,
    email: str | None = None,
) -> AsyncIterator[Site]:
    """Somebody of this role who is logged in: of an `account` (its id and a key), or of a new one. Nobody else has
    the `email`."""
    account_id, key = account or await make_account(sessions)
    email = email or f"{role}-{uuid4().hex[:8]}@{account_id[4:]}.example"
    async with transaction(sessions) as session:
        await make_user(session, account_id, email, role)
    async with httpx.AsyncClient(base_url=url, timeout=30, limits=httpx.Limits(keepalive_expiry=1)) as http:
        site = Site(http, account_id, key, email)
        screen = await site.log_in(email)
        assert screen.path != "/login", screen.text
        yield site
