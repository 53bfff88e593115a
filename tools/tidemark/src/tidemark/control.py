"""The channel between a command and the process that supervises the fleet: a Unix socket, one JSON line each way."""

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tidemark.errors import ControlError as ControlError

LINE_BYTES_MAX: Final = 1 << 20
ANSWER_TIMEOUT_S: Final = 180.0

Request = dict[str, Any]
Answer = dict[str, Any]
Handler = Callable[[Request], Awaitable[Answer]]


class ControlServer:
    """Answers requests while the context is open. What a handler raises is the answer's ``error``."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        # A socket's path holds 107 bytes at most, and a state directory may lie deep.
        self._directory = Path(tempfile.mkdtemp(prefix="tidemark-"))
        self.path = self._directory / "control"
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self.path, limit=LINE_BYTES_MAX)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = json.loads(await reader.readline())
            try:
                answer = {"ok": True, **await self._handler(request)}
            except Exception as error:  # whoever asked hears of it; the supervisor goes on
                answer = {"ok": False, "error": str(error)}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (ValueError, ConnectionError):
            pass  # whoever asked is gone or spoke nonsense; nothing of ours depends on it
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def ask(path: str, request: Request, timeout_s: float = ANSWER_TIMEOUT_S) -> Answer:
    """Sends one request and returns the answer. Raises ControlError."""
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=LINE_BYTES_MAX)
    except OSError as error:
        raise ControlError(f"the fleet's supervisor does not answer on {path}: {error}") from error
    try:
        writer.write(json.dumps(request).encode() + b"\n")
        await writer.drain()
        line = await asyncio.wait_for(reader.readline(), timeout_s)
    except (OSError, TimeoutError) as error:
        raise ControlError(f"the fleet's supervisor gave no answer to {request.get('command')}: {error}") from error
    finally:
        writer.close()
    if not line:
        raise ControlError(f"the fleet's supervisor ended while it was asked to {request.get('command')}")
    answer: Answer = json.loads(line)
    if not answer.pop("ok", False):
        raise ControlError(str(answer.get("error", "refused without a word")))
    return answer
