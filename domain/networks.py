"""Which addresses outgoing requests may go to."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Network = IPv4Network | IPv6Network

_NAT64: Final = ip_network("64:ff9b::/96")

# What Python's own tables miss, or miss in some versions.
_NEVER_PUBLIC: Final[tuple[Network, ...]] = tuple(
    ip_network(network)
    for network in (
        "100.64.0.0/10",  # between providers and their customers; one cloud has its metadata here
        "168.63.129.16/32",  # Azure's own services, seen from inside
        "192.0.0.0/24",  # protocol assignments; one cloud has its metadata here
        "192.88.99.0/24",  # relays of 6to4
        "::/96",  # IPv4 in its first, long deprecated guise
        "64:ff9b:1::/48",  # NAT64 of private networks
        "2001::/23",  # Teredo and other protocol assignments
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fec0::/10",  # site-local
    )
)


def parse_networks(text: str) -> tuple[Network, ...]:
    """Networks and addresses, by comma. Raises ValueError, whose message names the one that is wrong."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


@dataclass(frozen=True)
class Reach:
    """What may be reached: public addresses, and the networks that the operator allows."""

    allowed: tuple[Network, ...] = ()

    @classmethod
    def of(cls, networks: Iterable[str]) -> "Reach":
        return cls(tuple(ip_network(network) for network in networks))

    def admits(self, address: str) -> bool:
        """Whether a connection to `address` may be made. What is no IP address is not admitted."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        target = _target(parsed)
        if any(target in network or parsed in network for network in self.allowed):
            return True
        return _is_public(target)


def _target(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Where packets to `address` end: some IPv6 addresses only wrap an IPv4 address."""
    if isinstance(address, IPv6Address):
        if (wrapped := address.ipv4_mapped or address.sixtofour) is not None:
            return wrapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in network for network in _NEVER_PUBLIC)
    )
