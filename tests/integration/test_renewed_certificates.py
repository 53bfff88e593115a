"""A context whose files change: what the other end sees of it, over real sockets on both of our event loops."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop
from streams.process.certificates import RenewedContext
from tidemark.authority import Authority

HOST = "127.0.0.1"
LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path)
    made.issue([HOST])
    return made


def server_context(authority: Authority) -> RenewedContext:
    files = [authority.file("redis", name) for name in ("server.pem", "server.key", "ca.pem")]

    def make() -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(files[2]))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(files[0], files[1])
        return context

    return RenewedContext.of(files, make, server=True)


def client_context(authority: Authority) -> RenewedContext:
    files = [authority.file("risk", name) for name in ("certificate.pem", "key.pem", "ca.pem")]

    def make() -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(files[2]))
        context.load_cert_chain(files[0], files[1])
        return context

    return RenewedContext.of(files, make)


@asynccontextmanager
async def serving(context: ssl.SSLContext, seen: list[bytes]) -> AsyncIterator[int]:
    """Its port. ``seen``: certificates of who came."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        writer.write(await reader.read(1))
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def shown(port: int, context: ssl.SSLContext) -> bytes:
    """Certificate of the server. Raises ssl.SSLError, OSError."""
    reader, writer = await asyncio.open_connection(HOST, port, ssl=context)
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.write(b"x")
    assert await reader.read(1) == b"x"
    writer.close()
    return found


def leaf(path: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(path.read_text())


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_files_when_they_are_replaced_then_the_next_connection_has_them_at_both_ends(
    authority: Authority, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def both() -> None:
        seen: list[bytes] = []
        client = client_context(authority)
        async with serving(server_context(authority), seen) as port:
            for _ in range(2):
                assert await shown(port, client) == leaf(authority.file("redis", "server.pem"))
                assert seen[-1] == leaf(authority.file("risk", "certificate.pem"))
                authority.issue([HOST])
        assert seen[0] != seen[1]

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(both())


async def test_files_when_they_do_not_fit_together_then_the_ones_before_serve_until_they_do(
    authority: Authority,
) -> None:
    client, key = client_context(authority), authority.file("redis", "server.key")
    async with serving(server_context(authority), []) as port:
        first = await shown(port, client)
        kept = key.read_bytes()
        authority.issue([HOST])
        fitting = key.read_bytes()
        for unfit in (kept, b"", b"no key"):
            key.write_bytes(unfit)
            assert await shown(port, client) == first
        key.unlink()
        assert await shown(port, client) == first
        key.write_bytes(fitting)
        assert await shown(port, client) == leaf(authority.file("redis", "server.pem")) != first


async def test_authority_when_it_is_another_then_who_is_of_the_one_before_is_refused(authority: Authority) -> None:
    """What was believed is not believed for ever: the files say who is."""
    client = client_context(authority)
    other = Authority(authority.directory / "other")
    other.issue([HOST])
    async with serving(server_context(authority), []) as port:
        assert await shown(port, client)
        authority.file("redis", "ca.pem").write_bytes(other.file("redis", "ca.pem").read_bytes())
        with pytest.raises((OSError, AssertionError)):  # in TLS 1.3 the client hears of it with its first read
            await shown(port, client)


def test_files_when_one_is_not_there_at_the_start_then_it_does_not_start(authority: Authority) -> None:
    authority.file("redis", "server.key").unlink()
    with pytest.raises(OSError, match=r"server\.key"):
        server_context(authority)
