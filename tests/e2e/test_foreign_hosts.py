"""Every server of the fleet: a name that is not its own is refused, and nothing of it may be shown in a frame."""

import asyncio
from urllib.parse import urlsplit

import httpx
import pytest
import websockets
from streams.service.http.answers import SECURITY_HEADERS
from tidemark.deployment import Deployment
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

pytestmark = pytest.mark.asyncio(loop_scope="module")
FOREIGN = "evil.example"


async def test_server_when_host_is_foreign_then_421_by_every_one_of_them(deployment: Deployment) -> None:
    async with httpx.AsyncClient() as http:
        for service in deployment.fleet.names:
            url = deployment.url(service)
            for path in ("/health/ready", "/metrics", "/"):
                refused = await http.get(url + path, headers={"Host": f"{FOREIGN}:{urlsplit(url).port}"})
                assert refused.status_code == 421, (service, path)
                assert refused.headers["Content-Type"] == "application/problem+json"
            assert (await http.get(f"{url}/health/live")).status_code == 200, service


async def test_answer_then_no_server_lets_it_be_framed(deployment: Deployment) -> None:
    async with httpx.AsyncClient() as http:
        for service in deployment.fleet.names:
            for path in ("/", "/nothing", "/health/live", "/docs", "/config.json"):
                answer = await http.get(deployment.url(service) + path)
                for name, value in SECURITY_HEADERS:
                    assert value.decode() in answer.headers[name.decode()], (service, path)


async def test_websocket_when_host_is_foreign_then_refused_whatever_its_origin(deployment: Deployment) -> None:
    address = urlsplit(deployment.url("push"))
    for origin in (None, Origin(f"http://{FOREIGN}")):
        with pytest.raises(InvalidStatus) as refused:
            async with websockets.connect(
                f"ws://{FOREIGN}:{address.port}/ws", host=address.hostname, origin=origin, proxy=None
            ):
                await asyncio.sleep(0)
        assert refused.value.response.status_code == 421
