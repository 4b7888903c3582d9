"""Sends one message with apprise, in a process of its own: `python -P -m activities.senders.apprise_process`.

apprise resolves, connects and follows redirects by itself, with a dozen libraries. In here it may do so, but every
address is checked where Python resolves and where it connects, and neither programs nor files can be reached by what
somebody writes into a URL. Takes a job as JSON on standard input and answers on standard output.
"""

import ipaddress
import json
import logging
import mimetypes
import os
import re
import resource
import signal
import socket
import ssl
import sys
from contextlib import suppress
from typing import Any, Final

from domain.networks import Reach

_RUNS_PROGRAMS: Final = (
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn",
)  # fmt: skip
_LIFETIME_SECONDS: Final = 60
_CPU_SECONDS: Final = 25
_MEMORY_BYTES: Final = 1 << 30
"""Of address space. apprise with all its services loaded takes about 200 MB of it."""

_TALKS: Final = ("socket.connect", "socket.sendto", "socket.sendmsg")


class Refused(PermissionError):
    """An OSError, which every library takes for a failed connection or a missing file."""


class Fence:
    """Once up, it stays up for the life of the process. `refusals` is what it has stopped."""

    def __init__(self, reach: Reach) -> None:
        self.refusals: list[str] = []
        self.unresolved: list[str] = []
        self._reach = reach
        self._getaddrinfo = socket.getaddrinfo
        self._readable = _readable()

    def raise_up(self) -> None:
        # What is resolved here is what is connected to: a second answer of the name server has no chance.
        socket.getaddrinfo = self._resolve
        sys.addaudithook(self._audit)

    def _resolve(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            found = self._getaddrinfo(host, port, *args, **kwargs)
        except OSError:
            self.unresolved.append(str(host))
            raise
        for *_, address in found:
            self._check(str(host), str(address[0]))
        return found

    def _check(self, host: str, address: str) -> None:
        if not self._reach.admits(address):
            self.refusals.append(f"{host}\n{address}")
            raise Refused(f"{address} may not be reached")

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _TALKS:
            address = args[1]
            if address is None:  # to where the socket is connected
                return
            if not isinstance(address, tuple) or not _is_address(address[0]):
                raise Refused("only addresses that were resolved before may be reached")
            self._check(str(address[0]), str(address[0]))
        elif event in _RUNS_PROGRAMS:
            raise Refused("no programs may be run")
        elif event == "open" and isinstance(args[0], str | bytes):
            path = os.path.realpath(os.fsdecode(args[0]))
            if not path.startswith(self._readable):
                raise Refused("no files may be opened")


def _is_address(host: object) -> bool:
    try:
        ipaddress.ip_address(str(host))
    except ValueError:
        return False
    return True


def _readable() -> tuple[str, ...]:
    """Where libraries have their own files: code, certificates, time zones."""
    # Not all of /etc/ssl, where private keys may be.
    directories = [sys.prefix, sys.base_prefix, "/usr/share/zoneinfo", "/usr/share/ca-certificates", "/etc/ssl/certs"]
    certificates = (os.environ.get("SSL_CERT_FILE"), os.environ.get("REQUESTS_CA_BUNDLE"))
    files = [*certificates, ssl.get_default_verify_paths().cafile, "/etc/localtime", "/dev/null"]
    files += map(str, mimetypes.knownfiles)
    roots = [os.path.realpath(path) + os.sep for path in directories]
    return tuple(roots + [os.path.realpath(path) for path in files if path])


def _limit() -> None:
    """apprise reads an answer to its end, and some receiver's may have none."""
    # With soft and hard alike it is killed; a mere SIGXCPU would dump a core, which has the secrets of the URL.
    for limit, most in ((resource.RLIMIT_AS, _MEMORY_BYTES), (resource.RLIMIT_CPU, _CPU_SECONDS)):
        # macOS does not let everything be limited, and a lower limit may be set already.
        with suppress(ValueError, OSError):
            resource.setrlimit(limit, (most, most))


class _LastWord(logging.Handler):
    """The last warning: apprise says there why it failed, without secrets. `is_exhausted`: memory did not suffice."""

    text = ""
    is_exhausted = False

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()[:300]
        # apprise catches whatever a service raises, and tells of it without saying what it was.
        self.is_exhausted |= isinstance(sys.exc_info()[1], MemoryError)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """`outcome` is sent, invalid, exhausted, refused, unresolved or failed; see `activities.senders.apprise`."""
    import apprise

    last_word = _LastWord(logging.WARNING)
    logger = logging.getLogger("apprise")
    logger.addHandler(last_word)
    logger.propagate = False
    fence = Fence(Reach.of(job["allowed"]))
    fence.raise_up()
    asset = apprise.AppriseAsset(
        app_id="PingPulse",
        app_desc="PingPulse",
        app_url=job["base_url"],
        http_redirects=False,
        storage_mode="memory",
        async_mode=False,
        pgp_autogen=False,
        pem_autogen=False,
    )
    service = apprise.Apprise.instantiate(job["url"], asset=asset)
    if service is None:
        return {"outcome": "invalid"}
    sender = apprise.Apprise(asset=asset)
    sender.add(service)
    if sender.notify(body=job["body"], title=job["title"], notify_type=job["type"], body_format="text"):
        return {"outcome": "sent"}
    if last_word.is_exhausted:
        return {"outcome": "exhausted"}
    if fence.refusals:
        host, address = fence.refusals[-1].split("\n")
        return {"outcome": "refused", "host": host, "address": address}
    if fence.unresolved:
        return {"outcome": "unresolved", "detail": fence.unresolved[-1]}
    status = re.search(r"\berror=([1-5]\d\d)\b", last_word.text)
    return {"outcome": "failed", "detail": last_word.text, "status": int(status[1]) if status else None}


def main() -> None:
    _limit()
    # If the worker is killed, nobody else ends this.
    signal.alarm(_LIFETIME_SECONDS)
    job = json.load(sys.stdin)
    # Standard output is for the answer alone, whatever a library prints.
    answer, sys.stdout = sys.stdout, sys.stderr
    json.dump(run(job), answer)
    answer.flush()


if __name__ == "__main__":
    main()
