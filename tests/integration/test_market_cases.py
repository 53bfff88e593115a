"""Situations that people meet, each made by a generator of its own, against a referee that shares nothing with us.

Generators, referee and a README of what is right are in ``cases/market_data`` beside the folder of ``TIDEMARK_DATA``.
"""

import csv
import importlib
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import pytest
from common.contracts.windows import NS
from ingest.domain.feed_date import session_midnight_ns
from tidemark.main import app
from typer.testing import CliRunner

DAY: Final = date(2024, 6, 3)
WINDOWS: Final = (NS, 60 * NS)
STOCKS: Final = ("AAPL", "MSFT", "NA", "ZZZ", "BRK.B", "FOO+", "BAR-A", "X")
BEST: Final = ("bid_e4", "bid_size", "ask_e4", "ask_size")


@dataclass(frozen=True)
class Case:
    """A generator and what is right of its day."""

    name: str
    code: int = 0
    said: str = ""
    arguments: tuple[str, ...] = ()
    is_equal: bool = True
    """Whether the referee's tables come out."""


CASES: Final = (
    Case("00_control"),
    Case("01_nul_padded_symbol"),
    Case("03_replace_after_partial"),
    Case("04_cross_with_nonprintable"),
    Case("05_breaks"),
    Case("06_no_directory", 1, "no directory message (R) names an instrument", is_equal=False),
    Case("07_two_days_one_file", 1, "day 2 begins with message 12, and its date is not known", is_equal=False),
    Case("09_dirty_orders"),
    Case("11_poisoned_clock", said="stamp_ahead at byte 124, message 6"),
    Case("12_backwards", 3, "1 unfinished_day", ("3000",)),
    Case("13_boundaries"),
    Case("14_daily_bar_winter", 3, "1 unfinished_day"),
    Case("15_dst_day", 3, "1 unfinished_day"),
    Case("16_pandas"),
    Case("21_many_members", arguments=("2000",)),
    Case("23_missing_R_some", 3, "2 unknown_locate", is_equal=False),
    Case("24_rare_types", 3, "1 unfinished_day"),
    Case("52_many_symbols", 3, "1 unfinished_day", ("500", "5")),
)
CONTAINERS: Final = {
    "plain.itch": (0, "anomalies: none"),
    "two_members.itch.gz": (0, "anomalies: none"),
    "padded_between.itch.gz": (0, "anomalies: none"),
    "trailing_zeros.itch.gz": (0, "anomalies: none"),
    "zipped.zip": (0, "anomalies: none"),
    "day.bz2": (0, "anomalies: none"),
    "begins_with_end_marker.itch": (0, "end_marker at byte 0"),
    "trailing_garbage.itch.gz": (3, "broken_archive at byte"),
    "zero_framed_with_new_type.itch": (3, "skipped_bytes at byte 7041, message 201: 23 bytes"),
    "truncated.itch.gz": (3, "the archive ends early (offset in the file)"),
    "one_byte_lost.itch": (3, "skipped_bytes at byte 14212, message 403"),
    "one_byte_flipped_length.itch": (3, "skipped_bytes at byte 14212, message 403"),
    "both_lines_in_one_file.itch": (3, "399 duplicate_trade"),
    "capture.pcap": (1, "a pcap capture: --feed pcap"),
    "raw_unframed.bin": (1, "without any framing: --feed itch-raw"),
    "soupbin.bin": (1, "SoupBinTCP packets: --feed soupbintcp"),
    "little_endian_length.bin": (1, "little-endian lengths"),
    "itch41.bin": (1, "an older version than 5.0"),
    "html.itch.gz": (1, "a web page"),
    "empty.itch": (1, "holds no message"),
    "empty.itch.gz": (1, "holds no message"),
    "only_end_markers.itch": (1, "neither framing"),
    "day.zst": (1, "broken_archive at byte 0"),
}
"""Exit code, and what is said."""
WHOLE: Final = {name for name, (code, _) in CONTAINERS.items() if code == 0} | {"trailing_garbage.itch.gz"}


@pytest.fixture(scope="module")
def cases() -> Path:
    where = Path(os.environ.get("TIDEMARK_DATA", "")).parent / "cases" / "market_data"
    if not (where / "referee.py").is_file():
        pytest.skip("there is no folder cases/market_data beside that of TIDEMARK_DATA")
    return where


@pytest.fixture(scope="module")
def referee(cases: Path) -> Any:
    sys.path.insert(0, str(cases))
    try:
        return importlib.import_module("referee")
    finally:
        sys.path.remove(str(cases))


@pytest.fixture(scope="module")
def itchgen(cases: Path) -> Any:
    """Builders of messages."""
    sys.path.insert(0, str(cases))
    try:
        return importlib.import_module("itchgen")
    finally:
        sys.path.remove(str(cases))


def generated(cases: Path, name: str, path: Path, *arguments: str) -> Path:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, cases / f"{name}.py", path, *arguments], env=environment, check=True)
    return path


def replay(path: Path, out: Path, *more: str) -> tuple[int, str]:
    bars = ",".join(f"{window_ns // NS}s" for window_ns in WINDOWS)
    called = ["replay", "--offline", str(path), "--date", DAY.isoformat(), "--out", str(out), "--bars", bars, *more]
    result = CliRunner(env={"COLUMNS": "400", "TERM": "dumb"}).invoke(app, called)
    assert "Traceback" not in result.stderr
    return result.exit_code, " ".join(result.stderr.split())


def best(path: Path) -> list[tuple[Any, ...]]:
    with path.open(newline="") as file:
        return [
            (int(row["message_index"]), row["symbol"], *(int(row[name]) for name in BEST))
            for row in csv.DictReader(file)
        ]


def assert_equal_to_the_referee(referee: Any, path: Path, out: Path) -> None:
    bars, changes = referee.run(str(path), session_midnight_ns(DAY), WINDOWS)
    assert referee.tidemark_bars(str(out / "bars.csv")) == bars
    assert best(out / "bbo.csv") == changes


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_day_when_replayed_then_the_referees_tables_or_what_is_wrong_is_said(
    case: Case, cases: Path, referee: Any, tmp_path: Path
) -> None:
    path = generated(cases, case.name, tmp_path / "day.itch", *case.arguments)
    code, errors = replay(path, tmp_path / "out")
    assert (code, case.said in errors) == (case.code, True), errors
    if case.is_equal:
        assert_equal_to_the_referee(referee, path, tmp_path / "out")
    else:
        assert case.code, "a table that is not the referee's has to be told of"


@pytest.mark.parametrize("name", CONTAINERS)
def test_container_when_replayed_then_whole_or_what_is_wrong_is_said(
    name: str, containers: Path, referee: Any, tmp_path: Path
) -> None:
    wanted, said = CONTAINERS[name]
    code, errors = replay(containers / name, tmp_path / "out")
    assert (code, said in errors) == (wanted, True), errors
    if name in WHOLE:
        assert_equal_to_the_referee(referee, containers / "plain.itch", tmp_path / "out")


@pytest.fixture(scope="module")
def containers(cases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generated(cases, "20_containers", tmp_path_factory.mktemp("containers"))


@pytest.mark.parametrize(
    ("disorder", "loss"), [(0.0, 0.0), (0.03, 0.0), (0.0, 0.1)], ids=["dirty", "shuffled", "gapped"]
)
@pytest.mark.parametrize("seed", range(20))
def test_day_when_its_messages_are_dirty_shuffled_or_missing_then_the_referees_tables(
    seed: int, disorder: float, loss: float, referee: Any, itchgen: Any, tmp_path: Path
) -> None:
    random_ = random.Random(seed)
    body = [one for one in dirty_messages(itchgen, random_, disorder) if random_.random() >= loss]
    path = tmp_path / "day.itch"
    path.write_bytes(itchgen.framed(*itchgen.day(*body, stocks=STOCKS)))
    assert replay(path, tmp_path / "out")[0] == 0
    assert_equal_to_the_referee(referee, path, tmp_path / "out")


def dirty_messages(gen: Any, random_: random.Random, disorder: float) -> list[bytes]:
    """Orders and trades of every kind, of unknown references, wrong stocks and impossible sizes. With ``disorder`` each
    stock has a clock of its own, which goes back now and then.
    """
    clocks, refs, made, match = [gen.OPEN] * len(STOCKS), [1], list[bytes](), 1
    for _ in range(random_.randrange(50, 600)):
        stock = random_.randrange(len(STOCKS))
        clock = stock if disorder else 0
        clocks[clock] += random_.randrange(2 * NS)
        stamp = clocks[clock] - (random_.randrange(90 * NS) if random_.random() < disorder else 0)
        ref = random_.choice(refs) if random_.random() < 0.9 else random_.randrange(1_000)
        shares = random_.choice((0, 1, 10, 100, 100, 250, 10**6))
        price = random_.choice((0, 1, 999_900 + random_.randrange(40) * 100, 1_000_000, 2**32 - 1))
        fresh = random_.randrange(1, 900)
        side, printable = random_.choice("BS"), random_.choice("YN")
        name, wrong = STOCKS[stock], random_.randrange(1, len(STOCKS) + 1)
        order, print_ = (fresh, side, shares, name, price), (shares, name, price, match)
        fields: dict[str, tuple[Any, ...]] = {
            "A": order,
            "F": order,
            "E": (ref, shares, match),
            "C": (ref, shares, match, printable, price),
            "X": (ref, shares),
            "D": (ref,),
            "U": (ref, fresh, shares, price),
            "P": print_,
            "Q": print_,
            "B": (random_.randrange(1, match + 2),),
        }
        kind = random_.choices("AFECXDUPQB", (36, 9, 15, 8, 7, 7, 8, 5, 2, 3))[0]
        locate, stamp = (wrong if kind == "B" else stock + 1), max(gen.OPEN, stamp)
        made.append(getattr(gen, kind)(locate, stamp, *fields[kind]))
        refs += [fresh] if kind in "AFU" else []
        match += kind in "ECPQ"
    return made
