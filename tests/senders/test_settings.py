"""The settings of what leaves the house."""

from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import SecretStr

from activities.mail import NoMailer, SmtpServer
from activities.outgoing import Outgoing
from activities.senders.registry import make_senders
from cli.environment import load_settings
from cli.errors import CommandError
from config.clock import utc_now
from config.settings import Settings
from domain.channels import ChannelKind


def test_networks_are_read_from_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().outgoing_networks == ()
    monkeypatch.setenv("PINGPULSE_OUTGOING_ALLOW", "10.0.0.0/8, fd00::/8")
    assert load_settings().outgoing_networks == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("OUTGOING_ALLOW", "127.0.0.0/8,10.0.0.1/8", "10.0.0.1/8 has host bits set"),
        ("OUTGOING_ALLOW", "intranet", "'intranet' does not appear to be an IPv4 or IPv6 network"),
        ("SMTP_FROM", "PingPulse", "must be an e-mail address"),
        ("SMTP_SECURITY", "ssl", "'starttls', 'tls' or 'none'"),
        ("SMTP_PORT", "0", "greater than or equal to 1"),
    ],
)
def test_what_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str) -> None:
    monkeypatch.setenv(f"PINGPULSE_{variable}", value)
    with pytest.raises(CommandError) as caught:
        load_settings()
    assert f"PINGPULSE_{variable}: " in str(caught.value)
    assert says in str(caught.value)


def test_a_mail_server_is_there_when_it_has_a_host() -> None:
    assert Settings(_env_file=None).smtp is None
    settings = Settings(
        _env_file=None,
        smtp_host="mail.example",
        smtp_port=465,
        smtp_username="pulse",
        smtp_password=SecretStr("s3cret"),
        smtp_security="tls",
        smtp_ca_file=Path("ca.pem"),
    )
    assert settings.smtp == SmtpServer("mail.example", 465, "pulse", "s3cret", "tls", Path("ca.pem"))
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in repr(settings.smtp)


async def test_every_kind_of_channel_has_a_sender() -> None:
    outgoing = Outgoing((), utc_now)
    assert set(make_senders(outgoing, NoMailer(), "PingPulse <a@b.c>", utc_now)) == set(ChannelKind)
    await outgoing.aclose()
