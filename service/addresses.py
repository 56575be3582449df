"""Literal addresses -> whether a judge may be asked there."""

from ipaddress import IPv6Address, ip_address


def is_link_local(host: str) -> bool:
    """Whether it is a literal address that is link-local, as itself or mapped into IPv6."""
    try:
        address = ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_link_local
