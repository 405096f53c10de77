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
    for text in (
        "169.254.169.254",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "fd00:ec2::254",
    )
)
# IANA's special-purpose address registries without the blocks that are globally reachable. Python
# 3.11's `is_global` misses some of them. The IETF protocol assignments (192.0.0.0/24, 2001::/23)
# are refused whole: what is reachable there are anycast addresses and identifiers, no web sites.
_SPECIAL: Final = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        *("2001::/23", "2001:db8::/32", "3fff::/20"),
    )
)
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")  # all that IANA has allocated
_COMPATIBLE: Final = IPv6Network("::/96")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_LOCAL_NAT64: Final = IPv6Network("64:ff9b:1::/48")
_ISATAP_MARKS: Final = (0x0000_5EFE, 0x0200_5EFE)
_UNSPECIFIED_OR_LOOPBACK: Final = 1
_LOW_32_BITS: Final = 0xFFFF_FFFF


def is_permitted(address: Address, opened: Sequence[Network] = ()) -> bool:
    """Tell whether the address and all addresses embedded in it are public or opened."""
    if any(translated in _METADATA for translated in _locally_translated(address)):
        return False
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


def _locally_translated(address: Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses that a local-use NAT64 address (RFC 8215) may represent.

    The length of the network's own prefix is not known: 48, 56, 64 or 96 bits (RFC 6052), of
    which the first three leave bits 64 to 71 zero.
    """
    if address not in _LOCAL_NAT64:
        return ()
    bits = int(address)
    parts = (
        (bits >> 64 & 0xFFFF) << 16 | bits >> 40 & 0xFFFF,
        (bits >> 64 & 0xFF) << 24 | bits >> 32 & 0xFF_FFFF,
        bits >> 24,
        bits,
    )
    return tuple(IPv4Address(part & _LOW_32_BITS) for part in parts)


def _is_public(address: Address) -> bool:
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and (isinstance(address, IPv4Address) or address in _GLOBAL_UNICAST)
        and not any(address in network for network in _SPECIAL)
    )
