"""Two releases of risk share its partitions under load, and are exchanged for one another one at a time, both ways.

Each worker keeps its name and its stores, so each release also opens what the other has written.
"""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from streams.process.build_info import version_of

from tests.e2e.exchanged_workers import ROOT, TODAY, WORKERS, gate, installed, warmed

OLDER = "5da3674"
"""The tree of release 0.2.0, the oldest that can run beside today's.

That of 0.1.0, commit c40455c, cannot, by its schemas: orders writes execution reports and commands of version 2, of
which it reads version 1, and rows of today's gate hold reasons that it does not know. docs/releases.md says so, too.
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the older release of risk with the dependencies of its own lock."""
    directory = tmp_path_factory.mktemp("older")
    archive = subprocess.run(["git", "archive", OLDER], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"commit {OLDER} is not in this history: fetch all of it")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # since Python 3.11.4
        tar.extractall(directory)
    return warmed(installed(directory))


async def test_releases_side_by_side_when_exchanged_one_at_a_time_both_ways_then_every_order_is_answered_once(
    older: Path, tmp_path: Path
) -> None:
    today = version_of("risk")
    async with gate(older, tmp_path) as workers:
        async with workers.traded_with():
            await workers.until_all_decide(2, 2)
            for name, python, mixture in (
                ("risk-1", TODAY, [today, None]),
                ("risk-2", TODAY, [today, today]),
                ("risk-1", older, [None, today]),
                ("risk-2", older, [None, None]),
            ):
                await workers.exchange(name, python)
                await workers.until_ready(name)
                assert await workers.versions() == mixture
                await workers.until_all_decide(2, 2)
        report = await workers.audited()
    assert report.violations == 0, report.as_dict()
    assert report.orders_accepted
    assert report.fills
    assert [workers.deployment.fleet.deaths(worker) for worker in WORKERS] == [0, 0]
