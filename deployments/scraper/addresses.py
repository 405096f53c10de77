"""Address filter against server-side request forgery (SSRF)."""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Metadata services of clouds, which return credentials; no setting opens them.
_METADATA: Final = frozenset(
    ip_address(text)
    for text in ("169.254.169.254", "168.63.129.16", "100.100.100.200", "fd00:ec2::254")
)
# Not globally reachable in IANA's registries, but global for Python 3.11.
_SPECIAL: Final = tuple(
    ip_network(text) for text in ("64:ff9b:1::/48", "3fff::/20", "5f00::/16", "192.88.99.0/24")
)
_COMPATIBLE: Final = IPv6Network("::/96")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_ISATAP_MARKS: Final = (0x0000_5EFE, 0x0200_5EFE)
_UNSPECIFIED_OR_LOOPBACK: Final = 1
_LOW_32_BITS: Final = 0xFFFF_FFFF


def is_permitted(address: Address, opened: Sequence[Network] = ()) -> bool:
    """Tell whether the address and all addresses embedded in it are public or opened."""
    return all(_is_permitted(hop, opened) for hop in unwrapped(address))


def unwrapped(address: Address) -> tuple[Address, ...]:
    """Return every address that a packet to this one can reach.

    IPv4-mapped and -compatible (RFC 4291) and NAT64 (RFC 6052) addresses represent an IPv4
    address; 6to4 (RFC 3056), Teredo (RFC 4380) and ISATAP (RFC 5214) addresses tunnel to one.
    """
    if isinstance(address, IPv4Address):
        return (address,)
    low = IPv4Address(int(address) & _LOW_32_BITS)
    compatible = address in _COMPATIBLE and int(address) > _UNSPECIFIED_OR_LOOPBACK
    if address.ipv4_mapped is not None or compatible or address in _NAT64:
        return (low,)
    if address.sixtofour is not None:
        return (address, address.sixtofour)
    if address.teredo is not None:
        return (address, *address.teredo)
    if int(address) >> 32 & _LOW_32_BITS in _ISATAP_MARKS:
        return (address, low)
    return (address,)


def _is_permitted(address: Address, opened: Sequence[Network]) -> bool:
    if address in _METADATA:
        return False
    return _is_public(address) or any(address in network for network in opened)


def _is_public(address: Address) -> bool:
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not (isinstance(address, IPv6Address) and address.is_site_local)
        and not any(address in network for network in _SPECIAL)
    )
