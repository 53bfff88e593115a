"""A real browser: a page of another origin that puts the dashboard into a frame gets nothing to click on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from common.runtime.web import WebServer
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from parts.page import open_page

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


async def test_dashboard_in_a_frame_of_another_origin_then_the_browser_does_not_show_it(
    start_push: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_text("<h1>dashboard</h1>", encoding="utf-8")
    push = await start_push(static_dir=tmp_path)
    evil = FastAPI()

    @evil.get("/")
    async def page() -> HTMLResponse:
        return HTMLResponse(f"<h1>prize</h1><iframe src={json.dumps(push.url + '/')}></iframe>")

    server = WebServer(evil, "127.0.0.1", 0)
    await server.start()
    try:
        async with open_page() as browser:
            await browser.goto(f"{push.url}/")
            await browser.until("document.querySelector('h1').textContent == 'dashboard'")
            await browser.goto(f"http://localhost:{server.port}/")
            await browser.until("document.querySelector('h1').textContent == 'prize'")
            await browser.until("performance.getEntriesByType('navigation')[0].loadEventEnd > 0")
            tree = await browser.call("Page.getFrameTree")
            (frame,) = [child["frame"] for child in tree["frameTree"]["childFrames"]]
            assert frame.get("unreachableUrl") == f"{push.url}/"
            assert frame["url"].startswith("chrome-error:")
    finally:
        await server.stop()
