"""Real servers that are told: HTTP, with and without TLS, and SMTP."""

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import orjson
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Received:
    """A request as it came. Names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    peer: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """`hangs` before the answer, `stalls` in the middle of its body, or `drops` the connection. Goes on with
    `further_bytes` behind the body, whose length it does not tell then."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    hangs: bool = False
    stalls: bool = False
    drops: bool = False
    further_bytes: int = 0


@dataclass
class HttpReceiver:
    """Keeps what it receives, and answers each request with the next of `answers`, the last one for ever."""

    port: int = 0
    scheme: str = "http"
    received: list[Received] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=lambda: [Answer()])
    names: list[str | None] = field(default_factory=list)
    """What each TLS client called the server."""
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; false when the connection is at its end."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        peer = str(writer.get_extra_info("peername")[0])
        self.received.append(Received(method, target, headers, body, peer))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer.drops:
            return False
        if answer.hangs:
            await asyncio.Event().wait()
        length = [] if answer.further_bytes else [f"Content-Length: {len(answer.body)}"]
        lines = [f"HTTP/1.1 {answer.status} Some", *length]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        body = answer.body[: len(answer.body) // 2] if answer.stalls else answer.body
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()
        if answer.stalls:
            await asyncio.Event().wait()
        for _ in range(0, answer.further_bytes, _BLOCK_BYTES):
            writer.write(bytes(_BLOCK_BYTES))
            await writer.drain()
        return not answer.further_bytes

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def http_receiver(tls: ssl.SSLContext | None = None) -> AsyncIterator[HttpReceiver]:
    receiver = HttpReceiver(scheme="http" if tls is None else "https")
    if tls is not None:
        tls.sni_callback = lambda _connection, name, _context: receiver.names.append(name)
    server = await asyncio.start_server(receiver._serve, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        await receiver.stop()


@dataclass(frozen=True)
class Authority:
    """A certificate authority of one's own; `ca_file` is what clients are to believe."""

    ca_file: Path
    _key: ec.EllipticCurvePrivateKey
    _certificate: x509.Certificate

    def server_context(self, *names: str) -> ssl.SSLContext:
        """For a server that is called so."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(names[0], self._certificate.subject, key)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        path = self.ca_file.with_name(f"{names[0]}.pem")
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + _pem(key))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(path)
        return context

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca_file)


def make_authority(directory: Path) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tests")])
    certificate = (
        _builder("Tests", name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = directory / "ca.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(path, key, certificate)


def _builder(name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@dataclass
class SmtpReceiver:
    """Keeps mail. `rcpt`, `sender` and `data` are answers in place of a 250."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    logins: list[str | None] = field(default_factory=list)
    rcpt: str = ""
    sender: str = ""
    data: str = ""

    async def handle_MAIL(self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        if self.sender:
            return self.sender
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        if self.rcpt:
            return self.rcpt
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:
        if self.data:
            return self.data
        mail = message_from_bytes(envelope.content, _class=EmailMessage, policy=policy.default)
        self.mails.append(mail)
        assert server.transport is not None
        self.encrypted.append(server.transport.get_extra_info("sslcontext") is not None)
        self.logins.append(session.auth_data.login.decode() if session.auth_data else None)
        return "250 OK, kept"


@asynccontextmanager
async def smtp_receiver(
    *,
    starttls: ssl.SSLContext | None = None,
    tls: ssl.SSLContext | None = None,
    login: tuple[str, str] | None = None,
) -> AsyncIterator[SmtpReceiver]:
    """With `login`, it takes mail only from who knows it; with `starttls`, only after that."""
    receiver = SmtpReceiver()
    loop = asyncio.get_running_loop()

    def authenticate(_server: SMTP, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        right = (data.login.decode(), data.password.decode()) == login
        return AuthResult(success=right, handled=False, auth_data=data)

    def connection() -> SMTP:
        with warnings.catch_warnings():
            # It knows of no TLS but STARTTLS, and warns of logins without it.
            warnings.simplefilter("ignore", UserWarning)
            return SMTP(
                receiver,
                loop=loop,
                hostname="mail.example",
                tls_context=starttls,
                require_starttls=starttls is not None,
                authenticator=authenticate,
                auth_required=login is not None,
                auth_require_tls=starttls is not None,
            )

    server = await loop.create_server(connection, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
