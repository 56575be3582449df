"""Names of judges' hosts -> addresses, but none that is link-local: the metadata services of clouds
live there, and hand out credentials to whoever asks from inside."""

from socket import AF_INET, AddressFamily

from aiohttp import ClientSession, DefaultResolver, DummyCookieJar, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

# Private to the openai client, which offers no other way to give its transport a resolver: an
# upgrade may move it, and tests/service/judges/endpoint/test_resolver.py says so then.
from openai._vendor.httpx_aiohttp import AiohttpTransport

from podium_service.judges.link_local import is_link_local


def guarded_transport(max_connections: int, keepalive_s: float) -> AiohttpTransport:
    """What the openai client sends through: its own transport, with our resolver."""

    def session() -> ClientSession:
        connector = TCPConnector(
            limit=max_connections,
            keepalive_timeout=keepalive_s,
            ssl=transport.ssl_context,
            resolver=NoLinkLocal(),
        )
        return ClientSession(connector=connector, cookie_jar=DummyCookieJar())

    transport = AiohttpTransport(client=session, trust_env=False)
    return transport


def session_of(transport: AiohttpTransport) -> ClientSession:
    """What a transport sends through, opened by whoever sends first."""
    if not isinstance(transport.client, ClientSession):
        transport.client = transport.get_client()
    return transport.client


class NoLinkLocal(AbstractResolver):
    """Another resolver, whose answers are looked at. Literal addresses never come here: the judges
    file is refused if it holds one."""

    def __init__(self, resolver: AbstractResolver | None = None) -> None:
        self._resolver = resolver or DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host.

        Raises:
            OSError: If one of them is link-local, or there are none.
        """
        found = await self._resolver.resolve(host, port, family)
        for each in found:
            if is_link_local(each["host"]):
                raise OSError(f"{host} is at {each['host']}, which is link-local: not asked")
        return found

    async def close(self) -> None:
        await self._resolver.close()
