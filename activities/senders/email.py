"""E-mail: the words as plain text and as HTML."""

from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from html import escape
from typing import Final

from activities.mail import Mailer
from activities.senders.base import Envelope, Receipt, Sender, Undeliverable
from activities.senders.wording import color_of, lines_below, links_of, one_line

_MAX_SUBJECT: Final = 200


def email_sender(mailer: Mailer, sender: str) -> Sender:
    """`sender` is what From says, such as `PingPulse <pingpulse@example.com>`; the channel has one recipient."""

    async def send(envelope: Envelope) -> Receipt:
        return await mailer.send(envelope.account_id, email_message(envelope, sender))

    return send


def email_message(envelope: Envelope, sender: str) -> EmailMessage:
    """Raises Undeliverable for what is no address."""
    return make_mail(
        sender,
        envelope.address,
        envelope.text.headline,
        message_id=envelope.message_id,
        at=envelope.created_at,
        plain=_plain(envelope),
        html=_html(envelope),
    )


def make_mail(
    sender: str, recipient: str, subject: str, *, message_id: str, at: datetime, plain: str, html: str
) -> EmailMessage:
    """A mail that is the same at every attempt, `Message-ID` and `Date` included; nobody's automatic answer is asked
    for. Raises Undeliverable for what is no address."""
    from_name, from_address = parseaddr(sender)
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = one_line(subject, _MAX_SUBJECT)
    try:
        mail["From"] = Address(from_name, addr_spec=from_address)
        mail["To"] = Address(addr_spec=_with_ascii_domain(recipient))
    except Exception:  # its parser fails in many ways
        raise Undeliverable("The address is not an e-mail address.") from None
    mail["Date"] = format_datetime(at)
    mail["Message-ID"] = f"<{message_id}@{from_address.rpartition('@')[2] or 'pingpulse'}>"
    mail["Auto-Submitted"] = "auto-generated"
    # What Exchange goes by.
    mail["X-Auto-Response-Suppress"] = "All"
    mail.set_content(plain)
    mail.add_alternative(html, subtype="html")
    return mail


def _with_ascii_domain(address: str) -> str:
    # Few servers understand other letters in an address; in its domain they need not.
    name, at, domain = address.rpartition("@")
    return name + at + domain.encode("idna").decode("ascii")


def _plain(envelope: Envelope) -> str:
    text = envelope.text
    below = [*(f"- {line}" for line in lines_below(text)), ""]
    for says, url in links_of(envelope):
        below += [f"{says}:", url, ""]
    return "\n".join([text.headline, "", *below, "-- ", f"PingPulse, {envelope.base_url}", ""])


def _html(envelope: Envelope) -> str:
    text = envelope.text
    items = "".join(f'<li style="margin:0 0 6px">{_lines(line)}</li>' for line in lines_below(text))
    below = f'<ul style="margin:12px 0 0;padding-left:20px">{items}</ul>' if items else ""
    for says, url in links_of(envelope):
        below += f'<p style="margin:12px 0 0"><a href="{escape(url)}" style="color:#1d4ed8">{escape(says)}</a></p>'
    return f"""\
<!doctype html>
<html lang="en">
<body style="margin:0;padding:24px;background:#f4f5f7;font:15px/1.5 system-ui,sans-serif;color:#1f2933">
<div style="max-width:600px;margin:0 auto;background:#fff;border-radius:6px;border-top:4px solid \
#{color_of(text):06x};padding:20px 24px">
<p style="margin:0;font-weight:600">{_lines(text.headline)}</p>
{below}
</div>
<p style="max-width:600px;margin:12px auto 0;font-size:13px;color:#7b8794">\
<a href="{escape(envelope.base_url)}" style="color:#7b8794">PingPulse</a> told you through the channel \
{escape(envelope.channel_name)}.</p>
</body>
</html>
"""


def _lines(text: str) -> str:
    return escape(text).replace("\n", "<br>")
