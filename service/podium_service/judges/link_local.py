"""Tell whether an address is link-local, where no judge may be asked.

Clouds serve an instance's credentials at such addresses, so a URL from outside must not lead there.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

# IPv6 networks whose last 32 bits are an IPv4 address: compatible, mapped, SIIT and NAT64.
_HOLD_IPV4 = tuple(
    IPv6Network(f"{prefix}/96") for prefix in ("::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::")
)


def is_link_local(host: str) -> bool:
    """Tell whether `host` is a link-local address, as itself or inside an IPv6 address."""
    try:
        address = ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    embedded = _embedded_ipv4(address) if isinstance(address, IPv6Address) else ()
    return address.is_link_local or any(each.is_link_local for each in embedded)


def _embedded_ipv4(address: IPv6Address) -> Iterator[IPv4Address]:
    """Yield the IPv4 addresses to which a gateway may translate an IPv6 address."""
    if any(address in network for network in _HOLD_IPV4):
        yield IPv4Address(int(address) & 0xFFFFFFFF)
    if address.sixtofour:
        yield address.sixtofour
    yield from address.teredo or ()
