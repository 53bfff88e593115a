"""One page in a headless browser, driven over the DevTools protocol: what a person would see, click and type.

async with open_page(1600, 1000) as page:
    await page.goto(url)
    await page.until("document.querySelector('.chosen')")
    await page.screenshot(path)
    assert page.problems == []
"""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import websockets

from parts.browser import find_browser
from parts.processes import launch_command

START_TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.05
KEYS: Final = {"Escape": 27, "Enter": 13, "ArrowDown": 40, "ArrowUp": 38, "Tab": 9}
"""Keys without a character, by their DOM name, with their virtual key code."""


class PageError(RuntimeError):
    """The browser refused a command, or a script in the page threw."""


class Page:
    """Made by ``open_page``."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._session: str | None = None
        self.problems: list[str] = []
        """Troubles in the page: uncaught exceptions, console errors, failed requests."""

    async def listen(self) -> None:
        """Reads answers and events until the connection closes."""
        async for text in self._socket:
            message = json.loads(text)
            answer = self._waiting.pop(message.get("id"), None)
            if answer is not None and not answer.done():
                answer.set_result(message)
            elif "method" in message:
                self._note(message["method"], message["params"])

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol. Raises PageError."""
        number = next(self._ids)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        command = {"id": number, "method": method, "params": params}
        await self._socket.send(json.dumps(command | ({"sessionId": self._session} if self._session else {})))
        message = await answer
        if "error" in message:
            raise PageError(f"{method}: {message['error']['message']}")
        result: dict[str, Any] = message["result"]
        return result

    async def attach(self, width: int, height: int) -> None:
        """Opens an empty tab of that many pixels."""
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    async def goto(self, url: str) -> None:
        """Begins to load; wait for what should be seen with ``until``. Raises PageError where nothing answers."""
        result = await self.call("Page.navigate", url=url)
        if result.get("errorText"):
            raise PageError(f"{url}: {result['errorText']}")

    async def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; a promise is awaited. Raises PageError where it throws."""
        result = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise PageError(str(result["exceptionDetails"].get("exception", {}).get("description", script)))
        return result["result"].get("value")

    async def until(self, script: str, timeout_s: float = 30.0) -> Any:
        """Waits until the expression is truthy; returns its value. What throws, because the page is not so far, is not.

        Raises TimeoutError, naming the expression.
        """
        wrapped = (
            f"(() => {{ try {{ const v = {script}; return v instanceof Node || v }} catch {{ return false }} }})()"
        )
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        while True:
            value = await self.evaluate(wrapped)
            if value:
                return value
            if asyncio.get_running_loop().time() > deadline_s:
                raise TimeoutError(f"not within {timeout_s} s: {script}; problems: {self.problems}")
            await asyncio.sleep(POLL_S)

    async def text(self, selector: str) -> str:
        """The text of the first element that matches. Raises PageError where none does."""
        return str(await self.evaluate(f"document.querySelector({json.dumps(selector)}).textContent"))

    async def click(self, selector: str) -> None:
        """Clicks the middle of the first element that matches. Raises PageError where none does."""
        box = await self.evaluate(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            await self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], **button)

    async def press(self, key: str) -> None:
        """One key: a character, or a name of ``KEYS``."""
        code = KEYS.get(key, ord(key.upper()) if len(key) == 1 else 0)
        text = {"text": "\r"} if key == "Enter" else {"text": key} if key not in KEYS else {}
        await self.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
        await self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    async def write(self, selector: str, text: str) -> None:
        """Replaces the text of an input."""
        await self.click(selector)
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).select()")
        await self.call("Input.insertText", text=text)

    async def screenshot(self, path: Path) -> None:
        """A PNG of what is in sight."""
        result = await self.call("Page.captureScreenshot", format="png")
        await asyncio.to_thread(path.write_bytes, base64.b64decode(result["data"]))

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.problems.append(" ".join(str(one.get("value", one.get("description"))) for one in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")


@contextlib.asynccontextmanager
async def open_page(width: int = 1600, height: int = 1000) -> AsyncIterator[Page]:
    """Starts a browser of its own with one page; both end with the block. Raises PartsError, TimeoutError."""
    browser = await asyncio.to_thread(find_browser)
    with tempfile.TemporaryDirectory(prefix="tidemark-browser-", ignore_cleanup_errors=True) as profile:
        command = [
            str(browser.executable),
            *browser.flags,
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
            "about:blank",
        ]
        process = await asyncio.create_subprocess_exec(
            *launch_command(command, death_signal=signal.SIGKILL, uid=-1),
            env={**os.environ, **browser.environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            address = await _address(Path(profile) / "DevToolsActivePort", process)
            async with websockets.connect(address, max_size=None, ping_interval=None) as socket:
                page = Page(socket)
                listening = asyncio.create_task(page.listen())
                try:
                    await page.attach(width, height)
                    yield page
                finally:
                    listening.cancel()
                    await asyncio.gather(listening, return_exceptions=True)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _address(told: Path, process: asyncio.subprocess.Process) -> str:
    """Address at which the browser listens, from the file that it writes when it does."""
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            if process.returncode is not None:
                raise PageError(f"the browser ended at start with code {process.returncode}")
            if len(lines := _lines(told)) == 2:
                return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            await asyncio.sleep(POLL_S)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
