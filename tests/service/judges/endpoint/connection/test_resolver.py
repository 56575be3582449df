"""No judge is called at a link-local address, however it is spelled or looked up."""

import subprocess
import sys
from socket import AF_INET, AddressFamily

import pytest
from aiohttp import ClientSession, TCPConnector, ThreadedResolver
from aiohttp.abc import ResolveResult
from aiohttp.client_exceptions import ClientConnectorError
from pydantic import ValidationError

from podium_service.errors import JudgeUnavailable
from podium_service.judges.endpoint.connection.resolver import LinkLocalGuard
from podium_service.judges.endpoint.patience import Patience
from podium_service.judges.settings import LLMJudge
from tests.service.judges.builders import endpoint_at

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "2852039166", "0xA9FEA9FE", "0251.0376.0251.0376", "169.254.43518",
     "[fe80::1]", "[febf::1]", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[::a9fe:a9fe]",
     "[::ffff:0:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b::169.254.169.254]",
     "[2002:a9fe:a9fe::]", "[2002:a9fe:a9fe::1]", "[2001:0:102:304::5601:5601]",
     "\uff11\uff16\uff19.254.169.254"],
)  # fmt: skip
def test_a_judge_at_a_link_local_address_is_refused(host: str) -> None:
    with pytest.raises(ValidationError, match="is link-local: no judge is asked there"):
        LLMJudge.model_validate({"model": "m", "base_urls": [f"http://{host}/v1"]})


@pytest.mark.parametrize(
    "host",
    ["10.0.0.1", "127.0.0.1", "[fd00::1]", "[::1]", "[64:ff9b::a00:1]", "[2002:a00:1::1]",
     "[2001:db8::a9fe:a9fe]", "judge.example"],
)  # fmt: skip
def test_a_judge_at_another_address_is_accepted(host: str) -> None:
    LLMJudge.model_validate({"model": "m", "base_urls": [f"http://{host}/v1"]})


def give_all_hosts(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Make all hosts resolve to one address."""

    async def resolve(
        self: ThreadedResolver, host: str, port: int = 0, family: AddressFamily = AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
        ]

    monkeypatch.setattr(ThreadedResolver, "resolve", resolve)


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fe80::1%eth0"],
)
async def test_a_host_name_at_a_link_local_address_is_not_connected_to(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_all_hosts(monkeypatch, address)
    connector = TCPConnector(resolver=LinkLocalGuard())
    async with ClientSession(connector=connector) as http:
        with pytest.raises(ClientConnectorError) as caught:
            await http.get("http://judge.example/v1")
    assert f"judge.example is at {address}, which is link-local" in str(caught.value.__cause__)


async def test_a_host_name_at_another_address_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    give_all_hosts(monkeypatch, "10.0.0.1")
    [resolved] = await LinkLocalGuard().resolve("judge.example", 80)
    assert resolved["host"] == "10.0.0.1"


async def test_no_call_is_made_to_a_host_at_a_link_local_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    give_all_hosts(monkeypatch, "169.254.169.254")
    endpoint = endpoint_at("http://judge.example/v1")
    with pytest.raises(JudgeUnavailable, match=r"judge\.example is at 169.*link-local: not asked"):
        await endpoint.complete({"model": "m", "messages": []}, Patience(5.0))
    await endpoint.aclose()


def test_reading_a_judges_file_imports_no_http_client() -> None:
    code = (
        "import sys, podium_service.judges.judges_file; "
        "print(sorted({'openai', 'aiohttp', 'httpx2'} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", code]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert finished.stdout == "[]\n"
