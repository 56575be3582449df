"""Literal addresses -> whether a judge may be asked there."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

# Whose last 32 bits are an IPv4 address: compatible, mapped, translated (SIIT), NAT64.
_HOLD_IPV4 = tuple(
    IPv6Network(f"{prefix}/96") for prefix in ("::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::")
)


def is_link_local(host: str) -> bool:
    """Whether it is a literal address that is link-local, as itself or inside an IPv6 address."""
    try:
        address = ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    inside = _ipv4_inside(address) if isinstance(address, IPv6Address) else ()
    return address.is_link_local or any(each.is_link_local for each in inside)


def _ipv4_inside(address: IPv6Address) -> Iterator[IPv4Address]:
    """Where a gateway on the way may take it."""
    if any(address in network for network in _HOLD_IPV4):
        yield IPv4Address(int(address) & 0xFFFFFFFF)
    if address.sixtofour:
        yield address.sixtofour
    yield from address.teredo or ()
