"""The dashboard's page may run its own script, and speak to push, the orders API and the issuer; nothing else."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from common.contracts.rights import Role
from common.testing.access import ISSUER, IssuerForTests
from push.settings import built_dashboard

ORDERS = "http://127.0.0.1:8401"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    directory = tmp_path / "static"
    (directory / "assets").mkdir(parents=True)
    (directory / "index.html").write_text("<!doctype html><title>x</title>", "utf-8")
    (directory / "assets" / "index-1.js").write_text("", "utf-8")
    return directory


async def test_page_then_its_policy_lets_it_speak_to_ours_and_nobody_else(
    start_push: Any, redis: Any, issuer: IssuerForTests, page: Path
) -> None:
    push = await start_push(access=issuer.access, static_dir=page, orders_url=f"{ORDERS}/")
    async with httpx.AsyncClient(base_url=push.url) as http:
        for path in ("/", "/assets/index-1.js"):
            said = (await http.get(path)).headers["Content-Security-Policy"]
            policy = dict(part.strip().split(" ", 1) for part in said.split(";"))
            assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
            assert policy["frame-ancestors"] == "'none'"
            assert policy["script-src"] == policy["style-src"] == "'self'"
            host = f"127.0.0.1:{push.process.port}"
            assert policy["connect-src"].split() == ["'self'", f"ws://{host}", f"wss://{host}", ORDERS, ISSUER]
            assert "unsafe" not in said


async def test_answer_to_an_identity_then_no_cache_keeps_it(
    start_push: Any, redis: Any, issuer: IssuerForTests
) -> None:
    push = await start_push(access=issuer.access)
    headers = {"Authorization": f"Bearer {issuer.token(Role.OPERATOR)}"}
    async with httpx.AsyncClient(base_url=push.url, headers=headers) as http:
        assert (await http.get("/v1/me")).headers["Cache-Control"] == "no-store"


@pytest.mark.skipif(not (built_dashboard() / "index.html").exists(), reason="the dashboard is not built: make web")
def test_built_page_then_it_has_no_script_or_style_of_its_own_text() -> None:
    text = (built_dashboard() / "index.html").read_text("utf-8")
    assert not re.findall(r"<script(?![^>]*\bsrc=)", text)
    assert not re.findall(r"<style|\bstyle=|\bon[a-z]+=", text)
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", text)
