"""Ports: taken ones are named with their remedy, zeros become free ones."""

import socket

import pytest

from cli.errors import CommandError
from cli.ports import claim_ports

FLAG = ("--port", "PINGPULSE_PORT")


@pytest.mark.parametrize("bound_to", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_is_named_with_its_flag(bound_to: str) -> None:
    with socket.socket() as taken:
        taken.bind((bound_to, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CommandError) as caught:
            claim_ports(("127.0.0.1", port, *FLAG))
    assert str(caught.value) == (
        f"Port {port} on 127.0.0.1 is taken: stop what listens there, or choose another with --port "
        "(or PINGPULSE_PORT)."
    )


def test_zeros_become_different_free_ports() -> None:
    ports = claim_ports(*[("127.0.0.1", 0, *FLAG)] * 3)
    assert len(set(ports)) == 3
    assert claim_ports(("127.0.0.1", ports[0], *FLAG)) == [ports[0]]


def test_the_same_port_twice_is_refused() -> None:
    [port] = claim_ports(("127.0.0.1", 0, *FLAG))
    with pytest.raises(CommandError, match="--temporal-port"):
        claim_ports(("127.0.0.1", port, *FLAG), ("127.0.0.1", port, "--temporal-port", "PINGPULSE_TEMPORAL_PORT"))


@pytest.mark.parametrize(
    ("host", "message"), [("no.such.host.invalid", "is not known here"), ("192.0.2.1", "Cannot listen on 192.0.2.1")]
)
def test_hosts_that_are_not_ours(host: str, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        claim_ports((host, 0, *FLAG))
