"""A server between callers and a gateway, which passes everything on and keeps it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import orjson


@dataclass(frozen=True)
class Exchange:
    """A request as it came, and the status of the answer."""

    method: str
    path: str
    params: Mapping[str, str]
    body: Any
    user_agent: str
    status: int


class Recorder(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, gateway_url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.exchanges: list[Exchange] = []
        self.gateway = httpx.Client(base_url=gateway_url, timeout=30)

    @property
    def address(self) -> str:
        """Host and port"""
        return f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Recorder
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        kept = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        answer = self.server.gateway.request(self.command, self.path, content=body, headers=kept)
        target = urlsplit(self.path)
        self.server.exchanges.append(
            Exchange(
                self.command,
                target.path,
                dict(parse_qsl(target.query, keep_blank_values=True)),
                orjson.loads(body) if body else None,
                self.headers.get("user-agent", ""),
                answer.status_code,
            )
        )
        self.send_response_only(answer.status_code)
        for name in ("content-type", "location"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.send_header("content-length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        """Nothing: what came is kept."""


@contextmanager
def recording(gateway_url: str) -> Iterator[Recorder]:
    recorder = Recorder(gateway_url)
    thread = Thread(target=recorder.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield recorder
    finally:
        recorder.shutdown()
        thread.join(10)
        recorder.server_close()
        recorder.gateway.close()
