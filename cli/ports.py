"""TCP ports: is one taken, which are free."""

import errno
import random
import socket
from contextlib import ExitStack

from cli.errors import CommandError

# Below the range from which the system takes ports for outgoing connections, and for servers that ask for
# any: one of those would be gone again before our server, seconds later, listens on it.
_FREE_PORTS = range(15_000, 32_000)
_TRIES = 100


def claim_ports(*wanted: tuple[str, int, str, str]) -> list[int]:
    """Check all of `(host, port, flag, variable)` at once; a port of 0 becomes a free one.

    Raises CommandError for the first that cannot be listened on.
    """
    with ExitStack() as held:
        # Held together until all are known, so that no two can be the same.
        return [
            _claim_free(held, host) if port == 0 else _claim(held, host, port, *names) for host, port, *names in wanted
        ]


def _claim_free(held: ExitStack, host: str) -> int:
    for port in random.sample(_FREE_PORTS, _TRIES):
        try:
            return _listen(held, host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise CommandError(
                    f"Cannot listen on {host} ({error.strerror}): set --host (or PINGPULSE_HOST)."
                ) from error
    raise CommandError(f"No free port found on {host} in {_TRIES} tries: name one.")


def _claim(held: ExitStack, host: str, port: int, flag: str, variable: str) -> int:
    remedy = f"choose another with {flag} (or {variable})"
    try:
        return _listen(held, host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CommandError(f"Port {port} on {host} is taken: stop what listens there, or {remedy}.") from error
        if error.errno == errno.EACCES:
            raise CommandError(f"Port {port} on {host} needs privileges: {remedy}.") from error
        raise CommandError(f"Cannot listen on {host} port {port} ({error.strerror}): {remedy}.") from error


def _listen(held: ExitStack, host: str, port: int) -> int:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise CommandError(f"The host {host} is not known here: set --host (or PINGPULSE_HOST).") from error
    listener = held.enter_context(socket.socket(family, kind))
    # As servers do: without it, a port would look taken for a minute after a stop.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    # Two sockets that only bind may share a port that way; one that listens is refused.
    listener.listen(1)
    return port
