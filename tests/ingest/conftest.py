"""Builders for feed tests: messages from the specification's table, streams, files, and the reference data."""

import gzip
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from common.contracts.ticks import TickKind
from hypothesis import settings
from ingest.domain.anomalies import Report
from ingest.domain.framing import Framer
from ingest.domain.instruments import InstrumentRegistry
from ingest.domain.itch import Decoder
from ingest.domain.itch_spec import MESSAGES

settings.register_profile("ingest", deadline=None)  # the first example compiles the kernels
settings.load_profile("ingest")

Message = Callable[..., bytes]
Stream = Callable[..., bytes]


@pytest.fixture(autouse=True, scope="session")
def quiet_logs() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Exchange data with ground truth; its venues own it, so it is not part of the repository."""
    where = os.environ.get("TIDEMARK_DATA", "")
    if not where or not Path(where).is_dir():
        pytest.skip("TIDEMARK_DATA does not name a folder with exchange data")
    return Path(where)


@pytest.fixture(scope="session")
def message() -> Message:
    """``message(kind, locate=1, stamp=ns since midnight, **fields)``: the bytes of one message without framing."""

    def build(kind: TickKind, locate: int = 1, stamp: int = 34_200_000_000_000, **values: Any) -> bytes:
        row = np.zeros(1, MESSAGES[kind])
        for name in row.dtype.names or ():
            if row.dtype[name].kind == "S":
                row[name] = b" " * row.dtype[name].itemsize
        header = {
            "message_type": chr(kind).encode(),
            "stock_locate": locate,
            "timestamp_high": stamp >> 32,
            "timestamp_low": stamp & 0xFFFFFFFF,
        }
        for name, value in (header | values).items():
            row[name] = value
        return row.tobytes()

    return build


@pytest.fixture(scope="session")
def framed() -> Stream:
    """``framed(messages, zero=False)``: one stream under either framing."""

    def build(messages: list[bytes], *, zero: bool = False) -> bytes:
        return b"".join((b"\0\0" if zero else len(one).to_bytes(2, "big")) + one for one in messages)

    return build


@pytest.fixture(scope="session")
def decode() -> Callable[..., tuple[Any, Report, Decoder]]:
    """``decode(stream, chunk=None)``: (ticks, report, decoder) of a whole stream, midnight being 0."""

    def run(stream: bytes, chunk: int | None = None, session_ns: int = 0) -> tuple[Any, Report, Decoder]:
        report = Report()
        framer, decoder = Framer(report), Decoder(session_ns, InstrumentRegistry(), report)
        step = chunk or max(1, len(stream))
        parts = [
            decoder.decode(block) for at in range(0, len(stream), step) for block in framer.feed(stream[at : at + step])
        ]
        framer.finish()
        return np.concatenate(parts) if parts else None, report, decoder

    return run


@pytest.fixture(scope="session")
def inflated(data_dir: Path) -> Callable[[str], bytes]:
    """The bytes of a reference file, inflated if need be."""

    def read(name: str) -> bytes:
        raw = (data_dir / name).read_bytes()
        return gzip.decompress(raw) if name.endswith(".gz") else raw

    return read
