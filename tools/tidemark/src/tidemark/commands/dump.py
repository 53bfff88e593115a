"""``tidemark dump``."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from common.contracts.ticks import TickKind
from ingest.domain.anomalies import Report
from ingest.domain.framing import Block, FramingError
from ingest.domain.itch_spec import MESSAGES
from ingest.offline import blocks

from tidemark import console

ANOMALIES_SHOWN_MAX: Final = 10
_SPLIT_TIMESTAMP: Final = ("timestamp_high", "timestamp_low")


def dump(
    file: Annotated[
        Path, typer.Argument(help="A recorded ITCH 5.0 feed, plain or compressed.", exists=True, dir_okay=False)
    ],
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="End after so many messages.")] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Only this message type, one letter; may be repeated.")
    ] = None,
) -> None:
    """Print the raw messages of an ITCH 5.0 file, one JSON object per message with every field of the specification.

    Of each: message is the 1-based index in the file, offset the byte where its frame begins, timestamp_ns the time
    since midnight in New York. Exits with 1 where the file cannot be read to its end.
    """
    kinds = frozenset(_kind(letter) for letter in types) if types else frozenset(MESSAGES)
    with console.reported():
        _dump(file, limit, kinds)


def _kind(letter: str) -> TickKind:
    known = ", ".join(sorted(chr(kind) for kind in MESSAGES))
    if len(letter) != 1 or ord(letter) not in MESSAGES:
        raise typer.BadParameter(f"{letter!r} is no message type of ITCH 5.0; those are {known}")
    return TickKind(ord(letter))


def rows(block: Block, kinds: frozenset[TickKind]) -> Iterator[dict[str, Any]]:
    """The messages of a block, in order, as plain values. Unknown types and wrong lengths have their bytes in hex."""
    for index in range(len(block)):
        start, length = int(block.starts[index]), int(block.lengths[index])
        raw = block.data[start : start + length]
        code = int(raw[0])
        place = {"message": block.first_sequence + index, "offset": block.offset(index)}
        if code not in MESSAGES or MESSAGES[TickKind(code)].itemsize != length:
            if kinds == frozenset(MESSAGES):
                yield {**place, "message_type": chr(code), "undecodable": raw.tobytes().hex()}
        elif TickKind(code) in kinds:
            yield {**place, **_fields(raw.view(MESSAGES[TickKind(code)])[0])}


def _fields(message: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name in message.dtype.names:
        value = message[name]
        if name in _SPLIT_TIMESTAMP:
            plain["timestamp_ns"] = (int(message["timestamp_high"]) << 32) | int(message["timestamp_low"])
        elif isinstance(value, np.bytes_):
            plain[name] = value.decode("ascii", "backslashreplace").rstrip()
        else:
            plain[name] = int(value)
    return plain


def _dump(file: Path, limit: int | None, kinds: frozenset[TickKind]) -> None:
    report = Report()
    broken: FramingError | None = None
    try:
        written = 0
        for block in blocks(file, report):
            for row in rows(block, kinds):
                sys.stdout.write(json.dumps(row) + "\n")
                written += 1
                if written == limit:
                    return
    except FramingError as error:
        broken = error
    finally:
        sys.stdout.flush()
        for anomaly in report.examples[:ANOMALIES_SHOWN_MAX]:
            console.err.print(f"[yellow]anomaly:[/] {anomaly}")
    if broken is not None:
        raise console.CommandError(str(broken))
