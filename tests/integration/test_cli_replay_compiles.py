"""The first replay on a machine says that it compiles, since it is silent for a minute meanwhile; later ones do not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ingest.domain.exchange import ExchangeOptions, exchange_chunks

DAY = "2024-03-15"
SAID = "compiling the kernels, which happens once and takes about a minute"


def replay(kernels: Path, feed: Path) -> tuple[int, str]:
    """Exit code and standard error of a process of its own, whose kernels are kept in ``kernels``."""
    command = [sys.executable, "-m", "tidemark.main", "replay", str(feed), "--offline", "--date", DAY]
    ran = subprocess.run(
        [*command, "--bars", "1s", "--out", str(feed.parent / "out")],
        env={**os.environ, "NUMBA_CACHE_DIR": str(kernels), "COLUMNS": "200", "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode, ran.stderr


def test_replay_when_nothing_is_compiled_then_it_says_so_before_it_reads_the_feed(tmp_path: Path) -> None:
    feed = tmp_path / f"{DAY}.itch"
    feed.write_bytes(b"")
    code, said = replay(tmp_path / "kernels", feed)
    assert code == 1
    first, *_, last = [line for line in said.splitlines() if line.strip()]
    assert first == SAID
    assert "holds no message" in last


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_replay_when_an_earlier_one_has_compiled_then_it_says_nothing_of_it(tmp_path: Path) -> None:
    feed = tmp_path / f"{DAY}.itch"
    feed.write_bytes(b"".join(exchange_chunks(ExchangeOptions(symbols=2, rate=200, messages=2_000))))
    code, said = replay(tmp_path / "kernels", feed)
    assert code == 0, said
    assert said.count(SAID) == 1
    code, said = replay(tmp_path / "kernels", feed)
    assert code == 0, said
    assert SAID not in said
