"""Keep judge calls away from link-local addresses, whatever name a judge's host has.

The metadata services of clouds live at such addresses, and give credentials to any caller inside.
"""

from socket import AF_INET, AddressFamily

from aiohttp import ThreadedResolver
from aiohttp.abc import ResolveResult

from podium_service.judges.link_local import is_link_local


class LinkLocalGuard(ThreadedResolver):
    """A resolver that refuses hosts at link-local addresses.

    Literal addresses never come here, because the judges file is refused if it holds such a one.
    """

    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host.

        Raises:
            OSError: If one of them is link-local, or there are none.
        """
        addresses = await super().resolve(host, port, family)
        for each in addresses:
            if is_link_local(each["host"]):
                raise OSError(f"{host} is at {each['host']}, which is link-local: not asked")
        return addresses
