"""The mail catcher, to look at: what would have been sent if there were a mail server."""

import re
from email.message import EmailMessage
from html import escape
from itertools import cycle
from typing import Final
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from activities.invitation_links import PREFIX
from activities.mail import MailCatcher
from api.deps import PrincipalDep, SettingsDep
from api.security import Principal
from config.clock import utc_now
from config.settings import Settings
from domain.errors import Forbidden, NotFound

router = APIRouter(prefix="/dev/mail", tags=["operations"], include_in_schema=False)

SHOWN: Final = 200
_HEADERS: Final = ("Date", "From", "To", "Subject", "Message-ID")
_SECURITY: Final = {
    # The mail's own HTML, in its frame, inherits all of this: it can neither run nor fetch anything. `base-uri` is
    # about the address of a base only, not about its target.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

_SANDBOX: Final = "allow-popups allow-popups-to-escape-sandbox"
"""The mail's links open pages that are like any other; nothing else in it does anything."""

_IN_NEW_TABS: Final = '<base target="_blank">'
_INVITATION: Final = re.compile(re.escape(PREFIX) + r"[\w.\-]{20,}")
_FOR_OWNERS: Final = (
    "<p>Whoever has the link of an invitation can join in the invited person's place: only owners who are logged in "
    "see what it says.</p>"
)
_URL: Final = re.compile(r"(https?://[^\s<>\"]*[^\s<>\"'.,;:!?)\]}])")


@router.get("")
async def list_mail(request: Request, principal: PrincipalDep, settings: SettingsDep) -> HTMLResponse:
    """The mail of the caller's account, newest first."""
    _ensure_may_read(principal)
    kept = await _catcher(settings).newest(principal.account_id, SHOWN)
    key = _key(request)
    rows = "".join(
        f'<tr><td><a href="/dev/mail/{quote(one.name)}{key}">{_header(one.mail, "Subject") or "(empty)"}</a></td>'
        f"<td>{_header(one.mail, 'To')}</td><td>{_header(one.mail, 'Date')}</td></tr>"
        for one in kept
    )
    table = f"<table><thead><tr><th>Subject<th>To<th>Date</thead><tbody>{rows}</tbody></table>"
    note = "<p>No mail yet. What would be sent by e-mail is shown here while no mail server is set.</p>"
    return _page("Mail", f"<h1>Mail</h1>{table if kept else note}")


@router.get("/{name}")
async def show_mail(name: str, request: Request, principal: PrincipalDep, settings: SettingsDep) -> HTMLResponse:
    _ensure_may_read(principal)
    mail = await _catcher(settings).read(principal.account_id, name)
    if mail is None:
        raise NotFound("There is no such mail; it may have made room for newer ones.")
    headers = "".join(f"<tr><th>{header}<td>{_header(mail, header)}" for header in _HEADERS)
    top = f'<p><a href="/dev/mail{_key(request)}">All mail</a></p><table class="headers">{headers}</table>'
    if _is_invitation(mail) and not _is_owner(principal):
        return _page(str(mail["Subject"] or "Mail"), top + _FOR_OWNERS)
    frame = (
        f'<h2>HTML</h2><iframe sandbox="{_SANDBOX}" referrerpolicy="no-referrer" title="The mail as HTML" '
        f'srcdoc="{escape(_IN_NEW_TABS + html)}"></iframe>'
        if (html := _body(mail, "html"))
        else ""
    )
    return _page(
        str(mail["Subject"] or "Mail"),
        f"{top}<h2>Text</h2><pre>{_linked(_body(mail, 'plain'))}</pre>{frame}",
    )


def _ensure_may_read(principal: Principal) -> None:
    """Raises Forbidden. The links and codes of approvers are in there, which are not for everybody who may look."""
    if principal.role == "viewer":
        raise Forbidden("A viewer does not see the account's mail: whoever has an approver's link may decide.")


def _is_owner(principal: Principal) -> bool:
    """Who is logged in as one. A key stands for a member."""
    return principal.session_id is not None and principal.role == "owner"


def _is_invitation(mail: EmailMessage) -> bool:
    return any(_INVITATION.search(_body(mail, kind)) for kind in ("plain", "html"))


def _catcher(settings: Settings) -> MailCatcher:
    if settings.smtp_host is not None:
        raise NotFound("E-mail goes out through PINGPULSE_SMTP_HOST; nothing is kept here.")
    if settings.mail_dir is None:
        raise NotFound("The mail catcher is off: set PINGPULSE_MAIL_DIR, for gateway and worker alike.")
    return MailCatcher(settings.mail_dir, utc_now)


def _key(request: Request) -> str:
    """A key in the address goes along to the next page: there is no other login then."""
    key = request.query_params.get("key")
    return f"?key={escape(quote(key))}" if key else ""


def _header(mail: EmailMessage, name: str) -> str:
    return escape(str(mail[name] or ""))


def _body(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    return str(part.get_content()) if part is not None else ""


def _linked(text: str) -> str:
    """Plain text as HTML, with its web addresses as links."""
    parts = map(escape, _URL.split(text))
    return "".join(
        f'<a href="{part}" target="_blank" rel="noreferrer noopener">{part}</a>' if is_url else part
        for part, is_url in zip(parts, cycle((False, True)), strict=False)
    )


def _page(title: str, content: str) -> HTMLResponse:
    return HTMLResponse(_PAGE.format(title=escape(title), style=_STYLE, content=content), headers=_SECURITY)


_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · PingPulse</title>
<style>{style}</style>
</head>
<body><main>{content}</main></body>
</html>
"""

_STYLE: Final = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 15%, transparent) }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem }
h1 { font-size: 1.4rem } h2 { font-size: 1rem; margin: 2rem 0 .5rem }
table { width: 100%; border-collapse: collapse; overflow-wrap: anywhere }
th, td { text-align: left; vertical-align: top; padding: .45rem .75rem .45rem 0; border-bottom: 1px solid var(--line) }
th { font-weight: 600; opacity: .65 } .headers th { width: 7rem }
pre { white-space: pre-wrap; overflow-wrap: anywhere; padding: 1rem; border: 1px solid var(--line); border-radius: 6px }
iframe { width: 100%; height: 60vh; border: 1px solid var(--line); border-radius: 6px; background: #fff }
"""
