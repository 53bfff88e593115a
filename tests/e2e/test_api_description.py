"""The API of a fleet that asks nobody who he is, held to its description (``described``)."""

from pathlib import Path

import pytest
from tidemark.deployment import Deployment

from tests.e2e.described import check

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.timeout(240)
async def test_api_then_it_does_what_its_description_says(deployment: Deployment, tmp_path: Path) -> None:
    await check(deployment, tmp_path, examples=8, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("seed", [2, 3])
async def test_api_when_it_is_asked_more_then_it_still_does(deployment: Deployment, tmp_path: Path, seed: int) -> None:
    await check(deployment, tmp_path, examples=100, seed=seed)
