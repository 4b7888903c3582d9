"""Every setting of PingPulse: one `PINGPULSE_…` variable each, read from the environment or `.env`."""

from email.utils import parseaddr
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from activities.mail import SmtpServer
from domain.networks import Network, parse_networks


class Settings(BaseSettings):
    """Read once per process and passed down as arguments; nothing below `config` imports it."""

    model_config = SettingsConfigDict(
        env_prefix="PINGPULSE_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        # `NAME=` in a copied .env.example, or from compose's `${NAME:-}`, means that it is not set.
        env_ignore_empty=True,
    )

    host: str = Field("127.0.0.1", description="Address the gateway listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port the gateway listens on; 0 takes a free one.")
    public_url: str | None = Field(None, description="Address callers use, when it differs from host and port.")
    data_dir: Path = Field(Path(".pingpulse"), description="Where `pingpulse up` keeps its data.")

    database_url: SecretStr | None = Field(
        None, description="External Postgres, as postgresql://user:password@host/database."
    )
    database_pool_size: int = Field(10, ge=2, description="Connections a process keeps to Postgres.")

    temporal_address: str | None = Field(None, description="External Temporal, as host:port.")
    temporal_namespace: str = Field("default", description="Temporal namespace.")
    temporal_task_queue: str = Field("pingpulse", description="Temporal task queue.")
    temporal_api_key: SecretStr | None = Field(None, description="Temporal Cloud API key; implies TLS.")
    temporal_tls: bool = Field(False, description="Speak TLS to Temporal.")
    temporal_port: int = Field(7233, ge=0, le=65535, description="Port of the dev server that `up` starts.")
    temporal_ui_port: int = Field(8233, ge=0, le=65535, description="Port of the dev server's UI.")

    temporal_ui_url: str | None = Field(None, description="Temporal's own pages, for links to them; `up` sets it.")

    secret_key: SecretStr | None = Field(
        None,
        description="Signs sessions, encrypts channels; 32 characters or more, the same in all gateways and workers.",
    )
    session_hours: int = Field(24 * 14, ge=1, description="Hours until a login expires.")
    cookie_secure: bool = Field(False, description="Send cookies over HTTPS only; set it behind TLS.")

    trusted_proxies: str | None = Field(
        None, description="Reverse proxies whose X-Forwarded-For and -Proto are believed: addresses, by comma."
    )
    shutdown_seconds: float = Field(
        5.0, ge=0, description="How long a stopping gateway or worker lets work under way finish."
    )

    pings_per_minute: int = Field(6000, ge=1, description="Pings a minute and API key.")
    requests_per_minute: int = Field(1200, ge=1, description="JSON API requests a minute and API key or user.")
    letters_per_minute: int = Field(
        300, ge=1, description="Mails a minute and account that new approvals send: one to each approver."
    )
    failed_logins_per_minute: int = Field(10, ge=1, description="Failed logins a minute, per e-mail and per address.")

    courier_window_seconds: float = Field(
        1.0, gt=0, description="A subject's pings within this many seconds travel in one Temporal signal."
    )
    courier_concurrency: int = Field(32, ge=1, description="Calls to Temporal in flight; more if it is far away.")
    courier_memory: int = Field(20_000, ge=100, description="Undelivered pings a process holds in memory.")
    verdict_timeout_seconds: float = Field(5.0, gt=0, description="How long a strict ping waits for its verdict.")
    tree_timeout_seconds: float = Field(2.0, gt=0, description="How long /tree waits for Temporal.")

    outgoing_allow: str | None = Field(
        None,
        description="Networks that alerts may reach besides the public internet, by comma: 10.0.0.0/8,fd00::/8.",
    )

    smtp_host: str | None = Field(None, description="Mail server that e-mail goes through.")
    smtp_port: int = Field(587, ge=1, le=65535, description="Its port; 465 goes with `tls`.")
    smtp_username: str | None = Field(None, description="Login at the mail server, if it wants one.")
    smtp_password: SecretStr | None = Field(None, description="Password at the mail server.")
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="How the connection is encrypted: `starttls`, `tls` from the start, or `none`."
    )
    smtp_from: str = Field("PingPulse <pingpulse@localhost>", description="Sender of e-mail.")
    smtp_ca_file: Path | None = Field(None, description="Certificates of a private authority of the mail server.")
    mail_dir: Path | None = Field(
        None, description="Without a mail server, e-mail is kept here and shown at /dev/mail; `up` sets it."
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe line logged.")
    log_format: Literal["console", "json"] = Field("console", description="Shape of log lines.")

    @field_validator("outgoing_allow")
    @classmethod
    def _are_networks(cls, text: str | None) -> str | None:
        # The message of the failed parse names the one network that is wrong.
        parse_networks(text or "")
        return text

    @field_validator("smtp_from")
    @classmethod
    def _is_a_sender(cls, text: str) -> str:
        if "@" not in parseaddr(text)[1]:
            raise ValueError("must be an e-mail address, or a name with one: PingPulse <pingpulse@example.com>")
        return text

    @property
    def outgoing_networks(self) -> tuple[Network, ...]:
        """What `outgoing_allow` says."""
        return parse_networks(self.outgoing_allow or "")

    @property
    def smtp(self) -> SmtpServer | None:
        """The mail server, if there is one."""
        if self.smtp_host is None:
            return None
        return SmtpServer(
            self.smtp_host,
            self.smtp_port,
            self.smtp_username,
            self.smtp_password.get_secret_value() if self.smtp_password else None,
            self.smtp_security,
            self.smtp_ca_file,
        )

    @property
    def base_url(self) -> str:
        """The address to print in examples and links, without a trailing slash."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host = "localhost" if self.host in ("0.0.0.0", "127.0.0.1", "::", "::1") else self.host
        return f"http://{host}:{self.port}"
