"""Members, their roles and invitations."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from email.message import EmailMessage

import httpx
import pytest
from sqlalchemy import update

from activities.mail import MailCatcher
from config.clock import utc_now
from storage.base import Sessions, transaction
from storage.invitations import Invitation
from tests.api.conftest import PASSWORD
from tests.dashboard.test_login import protect
from tests.support.dashboard import Screen, Site, site_of
from tests.support.stack import Stack
from tests.support.waiting import until

MEMBERS = "/settings/members"
NAMES = iter(range(10_000))


@pytest.fixture
async def guest(quick_gateway: str) -> AsyncIterator[Site]:
    """Somebody who is invited; not logged in."""
    async with httpx.AsyncClient(base_url=quick_gateway, timeout=30) as http:
        yield Site(http, "", "", f"guest{next(NAMES)}@invited.example")


def path_of(url: str) -> str:
    return "/invitations/" + url.rpartition("/invitations/")[2]


def shown_link(screen: Screen) -> str:
    shown = screen.main.select_one(".shown-once pre")
    assert shown is not None, screen.text
    return path_of(shown.get_text())


async def invite(owner: Site, email: str, role: str = "member") -> str:
    screen = await owner.submit(await owner.open(MEMBERS), "/settings/invitations", email=email, role=role)
    assert screen.status == 200, screen.said
    return shown_link(screen)


async def join(guest: Site, path: str) -> Screen:
    return await guest.submit(await guest.open(path), path, password=PASSWORD, again=PASSWORD)


async def members_of(owner: Site) -> dict[str, dict[str, str]]:
    answer = await owner.http.get("/api/members")
    return {member["email"]: member for member in answer.json()["members"]}


async def test_an_invited_viewer_joins_and_cannot_write(fresh: Site, guest: Site) -> None:
    path = await invite(fresh, guest.email, "viewer")
    screen = await guest.open(path)
    assert guest.email in screen.response.text
    assert "a viewer" in screen.text
    refused = await guest.submit(screen, path, password="short", again="short")
    assert "must have 10 to 1024 characters" in refused.said
    refused = await guest.submit(screen, path, password=PASSWORD, again="another one")
    assert "is not the same password" in refused.said
    await join(guest, path)
    assert (await guest.http.get("/api/me")).json()["role"] == "viewer"
    assert (await members_of(fresh))[guest.email]["role"] == "viewer"
    csrf = {"X-CSRF-Token": guest.http.cookies["csrf_token"]}
    for address, body in (("/api/keys", {"name": "x"}), ("/api/invitations", {"email": "x@y.example"})):
        assert (await guest.http.post(address, json=body, headers=csrf)).status_code == 403
    screen = await guest.open(MEMBERS)
    assert [form.get("action") for form in screen.main.select("form")] == []
    fields = [("csrf_token", guest.http.cookies["csrf_token"]), ("email", "x@y.example"), ("role", "owner")]
    assert (await guest.post("/settings/invitations", fields)).status == 403

    late = await guest.open(path)
    assert (late.status, "accepted already" in late.text) == (410, True)


async def test_the_invitation_goes_out_by_mail(fresh: Site, guest: Site, stack: Stack) -> None:
    shown = await invite(fresh, guest.email)
    mail_dir = stack.settings.mail_dir
    assert mail_dir is not None
    folder = mail_dir / fresh.account_id
    await until(lambda: folder.exists() and any(folder.glob("*.eml")), timeout=20)
    mails = (await fresh.http.get("/dev/mail")).text
    assert "You are invited" in mails
    (path,) = folder.glob("*.eml")
    content = path.read_text().replace("=\n", "").replace("=3D", "=")
    assert guest.email in content
    assert shown in content


async def test_only_owners_read_invitations_in_the_mail_catcher_and_viewers_nothing(
    fresh: Site, guest: Site, stack: Stack, quick_gateway: str, sessions: Sessions
) -> None:
    shown = await invite(fresh, guest.email)
    mail_dir = stack.settings.mail_dir
    assert mail_dir is not None
    folder = mail_dir / fresh.account_id
    await until(lambda: folder.exists() and any(folder.glob("*.eml")), timeout=20)
    (path,) = folder.glob("*.eml")
    other = EmailMessage()
    other["Subject"], other["Message-ID"] = "Publish it?", "<msg_other@example.com>"
    other.set_content("http://localhost/approvals/apr_1?token=abc")
    await MailCatcher(mail_dir, utc_now).send(fresh.account_id, other)
    address = f"/dev/mail/{path.name}"
    assert shown in (await fresh.http.get(address)).text
    account = (fresh.account_id, fresh.key)
    async with (
        site_of(quick_gateway, sessions, "member", account) as member,
        site_of(quick_gateway, sessions, "viewer", account) as viewer,
        httpx.AsyncClient(base_url=quick_gateway, params={"key": fresh.key}) as program,
    ):
        for http in (member.http, program):
            listed = (await http.get("/dev/mail")).text
            assert "You are invited" in listed
            (asking,) = re.findall(r'href="(/dev/mail/[^"?]+)[^"]*">Publish it', listed)
            assert "token=abc" in (await http.get(asking)).text
            mail = await http.get(address)
            assert (mail.status_code, "only owners who are logged in" in mail.text) == (200, True)
            assert "/invitations/" not in mail.text
        for page in ("/dev/mail", address, asking):
            assert (await viewer.http.get(page)).status_code == 403


async def test_sent_again_the_earlier_link_ends(fresh: Site, guest: Site) -> None:
    first = await invite(fresh, guest.email)
    found = (await fresh.http.get("/api/invitations")).json()["invitations"]
    assert "url" not in found[0]
    address = f"/settings/invitations/{found[0]['id']}/resend"
    second = shown_link(await fresh.submit(await fresh.open(MEMBERS), address))
    assert second != first
    assert "sent again since" in (await guest.open(first)).text
    await join(guest, second)
    assert guest.email in await members_of(fresh)


async def test_a_revoked_and_an_expired_invitation_let_nobody_in(fresh: Site, guest: Site, sessions: Sessions) -> None:
    path = await invite(fresh, guest.email)
    found = (await fresh.http.get("/api/invitations")).json()["invitations"][0]
    async with transaction(sessions) as session:
        statement = update(Invitation).where(Invitation.id == found["id"])
        await session.execute(statement.values(expires_at=utc_now() - timedelta(seconds=1)))
    assert "more than seven days old" in (await guest.open(path)).text
    assert (await guest.post(path, [("password", PASSWORD), ("again", PASSWORD)])).status == 410
    assert "Expired" in (await fresh.open(MEMBERS)).text
    screen = await fresh.submit(await fresh.open(MEMBERS), f"/settings/invitations/{found['id']}/revoke")
    assert "revoked" in screen.said
    assert "was revoked" in (await guest.open(path)).text
    for broken in ("/invitations/nonsense", f"{path}x", path[:-3]):
        assert "leads to no invitation" in (await guest.open(broken)).text
    assert guest.email not in await members_of(fresh)


async def test_of_two_who_accept_at_the_same_time_one_joins(fresh: Site, guest: Site) -> None:
    path = await invite(fresh, guest.email)
    fields = [("password", PASSWORD), ("again", PASSWORD)]
    answers = await asyncio.gather(*(guest.http.post(path, data=dict(fields)) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [303, 410, 410, 410]


async def test_who_belongs_to_an_account_is_not_invited(fresh: Site, site: Site, guest: Site) -> None:
    screen = await fresh.open(MEMBERS)
    other = await fresh.submit(screen, "/settings/invitations", email=site.email, role="member")
    assert (other.status, "belongs to another account" in other.said) == (409, True)
    own = await fresh.submit(screen, "/settings/invitations", email=fresh.email.upper(), role="member")
    assert (own.status, "member of this account already" in own.said) == (409, True)
    none = await fresh.submit(screen, "/settings/invitations", email="nobody", role="member")
    assert (none.status, "must be an e-mail address" in none.said) == (400, True)
    await invite(fresh, guest.email)
    twice = await fresh.submit(screen, "/settings/invitations", email=guest.email, role="member")
    assert (twice.status, "invited already" in twice.said) == (409, True)


async def test_two_invitations_of_one_person_by_two_owners_at_once(fresh: Site, guest: Site) -> None:
    csrf = {"X-CSRF-Token": fresh.http.cookies["csrf_token"]}
    body = {"email": guest.email, "role": "member"}
    answers = await asyncio.gather(*(fresh.http.post("/api/invitations", json=body, headers=csrf) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


async def test_a_role_holds_from_the_next_click_on(fresh: Site, quick_gateway: str, sessions: Sessions) -> None:
    async with site_of(quick_gateway, sessions, "viewer", (fresh.account_id, fresh.key)) as viewer:
        member_id = (await members_of(fresh))[viewer.email]["id"]
        screen = await fresh.open(MEMBERS)
        done = await fresh.submit(screen, f"{MEMBERS}/{member_id}/role", role="owner")
        assert "role was changed" in done.said
        assert (await viewer.http.get("/api/me")).json()["role"] == "owner"
        bad = await fresh.submit(screen, f"{MEMBERS}/{member_id}/role", role="emperor")
        assert bad.status == 400
        assert viewer.email in (await fresh.open(MEMBERS)).text


async def test_a_removed_member_is_logged_out_at_once(fresh: Site, quick_gateway: str, sessions: Sessions) -> None:
    async with site_of(quick_gateway, sessions, "member", (fresh.account_id, fresh.key)) as member:
        member_id = (await members_of(fresh))[member.email]["id"]
        done = await fresh.submit(await fresh.open(MEMBERS), f"{MEMBERS}/{member_id}/remove")
        assert "removed" in done.said
        assert (await member.http.get("/api/me")).status_code == 401
        assert (await member.log_in(member.email)).status == 401


async def test_the_last_owner_stays(fresh: Site) -> None:
    own_id = (await members_of(fresh))[fresh.email]["id"]
    screen = await fresh.submit(await fresh.open(MEMBERS), f"{MEMBERS}/{own_id}/role", role="member")
    assert (screen.status, "only owner" in screen.said) == (409, True)
    token = [("csrf_token", fresh.http.cookies["csrf_token"])]
    assert (await fresh.post(f"{MEMBERS}/{own_id}/remove", token)).status == 409


@pytest.mark.parametrize("how", ["demote", "remove"])
async def test_two_owners_who_put_each_other_out_leave_one(
    fresh: Site, quick_gateway: str, sessions: Sessions, how: str
) -> None:
    async with site_of(quick_gateway, sessions, "owner", (fresh.account_id, f"{fresh.key}x")) as other:
        ids = {email: member["id"] for email, member in (await members_of(fresh)).items()}

        async def put_out(who: Site, whom: Site) -> int:
            csrf = {"X-CSRF-Token": who.http.cookies["csrf_token"]}
            address = f"/api/members/{ids[whom.email]}"
            if how == "remove":
                return (await who.http.delete(address, headers=csrf)).status_code
            return (await who.http.patch(address, json={"role": "member"}, headers=csrf)).status_code

        statuses = await asyncio.gather(put_out(fresh, other), put_out(other, fresh))
        # Who comes second is no owner any more, or would be the last.
        assert sum(status < 300 for status in statuses) == 1, statuses
        left = fresh if statuses[0] < 300 else other
        assert [member["role"] for member in (await members_of(left)).values()].count("owner") == 1


async def test_an_owner_resets_a_lost_second_factor(fresh: Site, quick_gateway: str, sessions: Sessions) -> None:
    async with site_of(quick_gateway, sessions, "member", (fresh.account_id, fresh.key)) as member:
        await protect(sessions, member.email)
        member_id = (await members_of(fresh))[member.email]["id"]
        address = f"{MEMBERS}/{member_id}/second-factor/reset"
        done = await fresh.submit(await fresh.open(MEMBERS), address)
        assert "Two-factor login was reset" in done.said
        assert "Enter your code" not in (await member.log_in(member.email)).response.text
        entries = (await fresh.http.get("/api/audit")).json()["entries"]
        assert [entry["who"] for entry in entries if entry["action"] == "second_factor.reset"] == [fresh.email]
        token = [("csrf_token", fresh.http.cookies["csrf_token"])]
        assert (await fresh.post(address, token)).status == 409
        await protect(sessions, fresh.email)
        own_id = (await members_of(fresh))[fresh.email]["id"]
        assert (await fresh.post(f"{MEMBERS}/{own_id}/second-factor/reset", token)).status == 409


async def test_only_owners_change_members(site: Site, quick_gateway: str, sessions: Sessions) -> None:
    async with site_of(quick_gateway, sessions, "member", (site.account_id, site.key)) as member:
        own_id = (await members_of(site))[site.email]["id"]
        screen = await member.open(MEMBERS)
        assert not screen.main.select("form")
        token = [("csrf_token", member.http.cookies["csrf_token"]), ("role", "viewer"), ("email", "a@b.example")]
        for address in (f"{MEMBERS}/{own_id}/role", f"{MEMBERS}/{own_id}/remove", "/settings/invitations"):
            assert (await member.post(address, token)).status == 403
        async with httpx.AsyncClient(base_url=quick_gateway, headers={"X-API-Key": site.key}) as program:
            assert (await program.patch(f"/api/members/{own_id}", json={"role": "viewer"})).status_code == 403
            assert (await program.get("/api/members")).status_code == 200


async def test_another_accounts_members_and_invitations_are_not_found(site: Site, fresh: Site, guest: Site) -> None:
    await invite(site, guest.email)
    invitation_id = (await site.http.get("/api/invitations")).json()["invitations"][0]["id"]
    their_id = (await members_of(site))[site.email]["id"]
    csrf = {"X-CSRF-Token": fresh.http.cookies["csrf_token"]}
    answers = [
        await fresh.http.patch(f"/api/members/{their_id}", json={"role": "viewer"}, headers=csrf),
        await fresh.http.delete(f"/api/members/{their_id}", headers=csrf),
        await fresh.http.delete(f"/api/members/{their_id}/second-factor", headers=csrf),
        await fresh.http.post(f"/api/invitations/{invitation_id}/resend", headers=csrf),
        await fresh.http.delete(f"/api/invitations/{invitation_id}", headers=csrf),
        await fresh.http.delete("/api/members/%00", headers=csrf),
        await fresh.http.delete("/api/invitations/%00", headers=csrf),
        await fresh.http.delete("/api/sessions/%00", headers=csrf),
    ]
    assert [answer.status_code for answer in answers] == [404] * 8
