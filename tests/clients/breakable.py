"""A real server in front of a gateway, which can be broken and mended."""

import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import httpx

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "host"}


@dataclass(frozen=True)
class Fault:
    """What becomes of a request: it is answered with a status of its own, `loses` the gateway's answer, which has
    taken it, or `hangs` until the server is gone."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    loses: bool = False
    hangs: bool = False


@dataclass(frozen=True)
class Seen:
    """A request as it came. Names of headers are in lower case; `at` is in seconds of the monotonic clock."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def key(self) -> str:
        return self.headers["idempotency-key"]

    @property
    def stage(self) -> str:
        return self.query["stagePath"][0]


class Breakable:
    """Passes requests on to `target`, except for those that meet one of `faults`."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._http = httpx.Client(base_url=target, timeout=90)
        self._connections: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None
        self._gone = threading.Event()
        self._port = 0
        self.faults: deque[Fault] = deque()
        self.seen: list[Seen] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def mend(self) -> None:
        """Takes connections, at the same address as ever."""
        self._gone.clear()
        breakable = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                breakable._connections.add(self.connection)

            def finish(self) -> None:
                breakable._connections.discard(self.connection)
                with suppress(OSError):
                    super().finish()

            def do_GET(self) -> None:
                breakable._handle(self)

            do_POST = do_GET

            def log_message(self, format: str, *arguments: object) -> None:
                """Nothing is printed."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A connection that broke, which is what this server is for."""

        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def break_(self) -> None:
        """Refuses connections, and ends those there are."""
        self._gone.set()
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.break_()
        self._http.close()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        parts = urlsplit(handler.path)
        self.seen.append(Seen(handler.command, parts.path, parse_qs(parts.query), headers, body, time.monotonic()))
        fault = self.faults.popleft() if self.faults else Fault()
        if fault.hangs:
            self._gone.wait(60)
            handler.close_connection = True
            return
        status, answered, content = fault.status, dict(fault.headers), fault.body
        if not status:
            passed = {name: value for name, value in headers.items() if name not in HOP_BY_HOP}
            answer = self._http.request(handler.command, handler.path, content=body, headers=passed)
            status, content = answer.status_code, answer.content
            answered = {name: value for name, value in answer.headers.items() if name not in HOP_BY_HOP}
            answered.pop("content-encoding", None)
        if fault.loses:
            handler.close_connection = True
            return
        handler.send_response(status)
        for name, value in answered.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)


@contextmanager
def breakable(target: str, *, works: bool = True) -> Iterator[Breakable]:
    server = Breakable(target)
    server.mend()
    try:
        if not works:
            server.break_()
        yield server
    finally:
        server.close()
