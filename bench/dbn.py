"""DBN decode: MBO records per CPU-second, beside Databento's own decoder on the same bytes.

    python -m bench dbn [--records 2000000] [--rounds 5] [--json]

The records are made here: adds, cancels, modifies and trades of 200 instruments. This project counts bytes to ticks
that can be committed; the referee's is bytes to its record objects, which is what its Python package offers, for a
tenth of the records. Processor time of this process, best and median of the rounds.
"""

import argparse
import json
import statistics
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import databento_dbn
import numpy as np
from common.feeds import FeedReader
from ingest.domain.anomalies import Report
from ingest.domain.instruments import InstrumentRegistry
from ingest.feeds.databento import read
from ingest.feeds.reading import Reading

INSTRUMENTS: Final = 200
CHUNK_BYTES: Final = 1 << 20
REFEREE_SHARE: Final = 10
RECORD: Final = np.dtype(
    [
        *(("length", "u1"), ("rtype", "u1"), ("publisher", "<u2"), ("instrument", "<u4"), ("ts_event", "<u8")),
        *(("order_id", "<u8"), ("price", "<i8"), ("size", "<u4"), ("flags", "u1"), ("channel", "u1")),
        *(("action", "u1"), ("side", "u1"), ("ts_recv", "<u8"), ("delta", "<i4"), ("sequence", "<u4")),
    ]
)


def made(count: int) -> bytes:
    """A file of so many records."""
    random = np.random.default_rng(1)
    records = np.zeros(count, RECORD)
    records["length"], records["rtype"], records["publisher"] = RECORD.itemsize // 4, 160, 1
    records["instrument"] = random.integers(1, INSTRUMENTS + 1, count)
    records["ts_event"] = 1_715_126_400_000_000_000 + 1_000 * np.arange(count, dtype=np.uint64)
    records["ts_recv"] = records["ts_event"]
    records["order_id"] = random.integers(1, 1 << 40, count)
    records["price"] = 250_000_000 * random.integers(20_000, 21_000, count)
    records["size"] = random.integers(1, 100, count)
    records["action"] = random.choice(np.frombuffer(b"AAAAACCCCMMT", np.uint8), count)
    records["side"] = random.choice(np.frombuffer(b"AB", np.uint8), count)
    body = b"GLBX.MDP3".ljust(16, b"\0") + struct.pack("<HQQQBBBH", 0, 0, (1 << 63) - 1, 0, 0, 1, 0, 71)
    body = body.ljust(100, b"\0") + bytes(20)
    return struct.pack("<3sBI", b"DBN", 2, len(body)) + body + records.tobytes()


class InMemory(Reading):
    """A reading whose source lies in memory."""

    def __init__(self, data: bytes) -> None:
        reader = FeedReader("dbn", "", read)
        super().__init__(reader, ("-",), options={}, day=None, registry=InstrumentRegistry(), report=Report())
        self._data = data

    def chunks(self, _source: str) -> Iterator[bytes]:
        for at in range(0, len(self._data), CHUNK_BYTES):
            yield self._data[at : at + CHUNK_BYTES]


def decoded(data: bytes) -> int:
    """Records that this project's decoder made ticks of."""
    reading = InMemory(data)
    for _ in reading:
        pass
    if reading.report.counts:
        raise SystemExit(f"the records did not decode: {dict(reading.report.counts)}")
    return reading.report.messages


def refereed(data: bytes) -> int:
    """Records that Databento's package made objects of."""
    decoder: Any = databento_dbn.DBNDecoder()
    decoder.write(data)
    return len(decoder.decode()) - 1


def rates(work: Callable[[bytes], int], data: bytes, rounds: int) -> list[float]:
    """Records per CPU-second of each round."""
    found = []
    for _ in range(rounds):
        began = time.process_time()
        count = work(data)
        found.append(count / (time.process_time() - began))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines for people")
    options = parser.parse_args()
    decoded(made(1_000))
    figures = {
        "tidemark": rates(decoded, made(options.records), options.rounds),
        "databento-dbn": rates(refereed, made(options.records // REFEREE_SHARE), options.rounds),
    }
    if options.json:
        print(json.dumps({name: {"best": max(of), "median": statistics.median(of)} for name, of in figures.items()}))
        return
    for name, of in figures.items():
        print(f"{name:>14}: {max(of) / 1e6:6.1f} M records per CPU-second, median {statistics.median(of) / 1e6:.1f} M")


if __name__ == "__main__":
    main()
