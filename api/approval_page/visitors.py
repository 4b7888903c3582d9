"""Who looks at an approval's page: whoever a link was made for, or whoever is logged in."""

from dataclasses import dataclass

from starlette.requests import Request

from activities.approval_links import ApprovalLinks
from api.deps import get_authenticator, get_sessions
from api.security.sessions import SESSION_COOKIE
from config.settings import Settings
from domain.approvals import Standing, Via, Voter
from domain.errors import NotFound, Unauthenticated
from storage.approvals import Approval, get_approval
from storage.users import User, find_user

NOTHING_HERE = NotFound("This link leads to no approval. Open it from the mail again: it may have been cut off.")
"""For ids that do not exist and links that are not ours alike: who guesses, learns nothing."""


@dataclass(frozen=True)
class Visitor:
    """`name` is an e-mail address. `token` is there if they came by their link; `account_id` if they are logged in.

    Nobody checks whose the addresses of users are, so a login stands for an approver in the approval's account only:
    there, owners say who is in. Elsewhere only the mailed link shows who one is.
    """

    name: str
    via: Via
    token: str | None = None
    account_id: str | None = None

    def may_see(self, approval: Approval, standing: Standing) -> bool:
        """Whoever was asked by now, by their link; and everybody of the account."""
        if self.account_id == approval.account_id:
            return True
        return self.token is not None and self.name in asked_by_now(approval, standing)

    def voter(self, request: Request, via: Via | None = None) -> Voter:
        host = request.client.host if request.client else None
        return Voter(self.name, via or self.via, address=host, agent=request.headers.get("user-agent"))


def asked_by_now(approval: Approval, standing: Standing) -> list[str]:
    """Also who may not decide because it is their own request: they are told so."""
    return [*approval.approvers, *(approval.escalate_to if standing.is_escalated else ())]


def make_links(settings: Settings) -> ApprovalLinks | None:
    """None without a secret key: there are no mails with links then, either."""
    if settings.secret_key is None:
        return None
    return ApprovalLinks(settings.secret_key.get_secret_value(), settings.base_url)


async def visitor_of(request: Request, approval_id: str, token: str | None) -> Visitor | None:
    """None for somebody unknown, without a link. Raises NotFound for a link that is not ours.

    A link goes before a session: it says in whose name to decide. If the session is of the same person, in the
    approval's account, it is the better proof.
    """
    user = await _user_of(request)
    if token is None:
        return Visitor(user.email, Via.SESSION, None, user.account_id) if user is not None else None
    links: ApprovalLinks | None = request.app.state.approval_links
    name = links.approver(approval_id, token) if links is not None else None
    if name is None:
        raise NOTHING_HERE
    if user is not None and user.email == name and await _is_of_its_account(request, approval_id, user):
        return Visitor(name, Via.SESSION, token, user.account_id)
    return Visitor(name, Via.LINK, token)


async def _is_of_its_account(request: Request, approval_id: str, user: User) -> bool:
    async with get_sessions(request)() as session:
        approval = await get_approval(session, approval_id)
    return approval is not None and approval.account_id == user.account_id


async def _user_of(request: Request) -> User | None:
    cookie = request.cookies.get(SESSION_COOKIE)
    if not cookie:
        return None
    try:
        principal = await get_authenticator(request).authenticate_session(cookie)
    except Unauthenticated:
        return None
    assert principal.user_id is not None
    async with get_sessions(request)() as session:
        return await find_user(session, principal.user_id)
