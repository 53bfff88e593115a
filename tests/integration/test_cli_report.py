"""``tidemark report`` on a real log: a day's positions and profit, and what is refused."""

import asyncio
import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from common.contracts.events import LedgerEntry
from common.contracts.topics import MD_MARKS, RISK_LEDGER
from common.contracts.values import E4
from common.fleet_topics import create_topics
from common.testing.orders import mark_row
from parts import LocalStack
from tidemark.main import app
from typer.testing import CliRunner

from tests.common.test_profit import Ledger

RUNNER = CliRunner(env={"COLUMNS": "250", "TERM": "dumb"})
DAY_NS = 86_400 * 10**9
DAY = 20_000
"""2024-10-04, in days since the epoch."""


def entries() -> list[LedgerEntry]:
    """Two days: 10 bought at 100, then 10 at 110 and 15 sold at 120."""
    ledger = Ledger()
    ledger.fund(10_000 * E4, GIFT=3)
    ledger.trade(10, 100 * E4)
    ledger.trade(10, 110 * E4)
    ledger.trade(-15, 120 * E4)
    times = (DAY - 1, DAY - 1, DAY, DAY)
    return [
        each.model_copy(update={"booked_ns": day * DAY_NS + 5}) for each, day in zip(ledger.entries, times, strict=True)
    ]


async def _fill(bootstrap: str) -> None:
    await create_topics(bootstrap, [RISK_LEDGER, MD_MARKS])
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for entry in entries():
            await producer.send_and_wait(RISK_LEDGER.name, RISK_LEDGER.schema.encode(entry), b"a")
        for symbol, price in (("ACME", 130), ("GIFT", 7)):
            row = mark_row(symbol, last_e4=price * E4)
            await producer.send_and_wait(MD_MARKS.name, MD_MARKS.schema.encode(row), symbol.encode())


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    with LocalStack({"kafka"}) as running:
        asyncio.run(_fill(running.addresses.kafka_bootstrap))
        yield running.addresses.kafka_bootstrap


def asked(bootstrap: str, *arguments: str) -> tuple[int, str]:
    ended = RUNNER.invoke(app, ["report", "--bootstrap", bootstrap, *arguments])
    return ended.exit_code, ended.output


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_day_then_what_was_held_bought_sold_realised_and_is_open(bootstrap: str, tmp_path: Path) -> None:
    code, text = asked(bootstrap, "--day", "2024-10-04", "--out", str(tmp_path))
    assert (code, text) == (0, "2 positions of 1 accounts on 2024-10-04\n")
    acme, gift = rows(tmp_path / "positions.csv")
    assert acme == {
        "day": "2024-10-04", "account_id": "a", "symbol": "ACME", "start_qty": "10", "bought_qty": "10",
        "sold_qty": "15", "end_qty": "5", "price_e4": str(130 * E4), "cost_fifo_e4": str(550 * E4),
        "cost_average_e4": str(525 * E4), "realised_fifo_e4": str(250 * E4), "realised_average_e4": str(225 * E4),
        "unrealised_fifo_e4": str(100 * E4), "unrealised_average_e4": str(125 * E4),
    }  # fmt: skip
    assert (gift["end_qty"], gift["unrealised_fifo_e4"]) == ("3", str(21 * E4))
    (account,) = rows(tmp_path / "accounts.csv")
    assert (account["start_cash_e4"], account["end_cash_e4"]) == (str(9_000 * E4), str(9_700 * E4))
    assert account["total_profit_e4"] == str((250 + 100 + 21) * E4)


def test_day_before_then_it_ends_with_what_the_next_begins_with(bootstrap: str, tmp_path: Path) -> None:
    assert asked(bootstrap, "--day", "2024-10-03", "--out", str(tmp_path))[0] == 0
    acme = rows(tmp_path / "positions.csv")[0]
    assert (acme["start_qty"], acme["end_qty"], acme["realised_fifo_e4"]) == ("0", "10", "0")


def test_prices_and_basis_of_files_then_they_count(bootstrap: str, tmp_path: Path) -> None:
    (tmp_path / "prices").write_text(f"symbol,price_e4\nGIFT,{9 * E4}\n")
    (tmp_path / "basis").write_text(f"symbol,price_e4\nGIFT,{8 * E4}\n")
    files = ["--prices", str(tmp_path / "prices"), "--basis", str(tmp_path / "basis")]
    code, text = asked(bootstrap, "--day", "2024-10-04", "--out", str(tmp_path), *files)
    assert code == 0 and "1 accounts hold something of which nobody said a price" in text
    acme, gift = rows(tmp_path / "positions.csv")
    assert (acme["price_e4"], acme["unrealised_fifo_e4"], gift["unrealised_fifo_e4"]) == ("", "", str(3 * E4))
    assert rows(tmp_path / "accounts.csv")[0]["total_profit_e4"] == ""


@pytest.mark.parametrize("text", ["", "symbol\nA\n", "symbol,price_e4\nA,1.5\n", "symbol,price_e4\nA,-1\n"])
def test_file_of_prices_that_is_none_then_refused_with_its_line(bootstrap: str, tmp_path: Path, text: str) -> None:
    (tmp_path / "prices").write_text(text)
    code, said = asked(bootstrap, "--prices", str(tmp_path / "prices"), "--out", str(tmp_path))
    assert code == 1 and str(tmp_path / "prices") in said and not (tmp_path / "positions.csv").exists()


def test_file_of_prices_that_is_not_there_then_said(bootstrap: str, tmp_path: Path) -> None:
    code, said = asked(bootstrap, "--prices", str(tmp_path / "none"), "--out", str(tmp_path))
    assert code == 1 and "cannot read" in said
