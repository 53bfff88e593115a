"""The metadata before the records of a DBN stream, and what a definition says of a price. No I/O here."""

import struct
from dataclasses import dataclass, field
from typing import Final

MAGIC: Final = b"DBN"
PRELUDE: Final = struct.Struct("<3sBI")
"""Magic, version, bytes of what follows."""
VERSIONS: Final = (1, 2, 3)
METADATA_BYTES_MAX: Final = 64 << 20
_FIXED_BYTES: Final = 100
_SYMBOL_BYTES_V1, _SYMBOL_BYTES = 22, 71
_DATASET_BYTES: Final = 16
_UNDEFINED: Final = (1 << 63) - 1


class MetadataError(ValueError):
    """Not the metadata of a version that is read."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """``symbols``: instrument id of the source to its symbol, the newest where it had several."""

    version: int
    dataset: str
    symbols: dict[int, str] = field(default_factory=dict)


def metadata_size(prelude: bytes) -> int:
    """Bytes that follow the prelude. Raises MetadataError."""
    if len(prelude) < PRELUDE.size or prelude[:3] != MAGIC:
        raise MetadataError(f"not DBN: begins with {prelude[:4]!r}")
    _, version, size = PRELUDE.unpack_from(prelude)
    if version not in VERSIONS:
        raise MetadataError(f"DBN version {version} is not read; {VERSIONS} are")
    if not _FIXED_BYTES <= size <= METADATA_BYTES_MAX:
        raise MetadataError(f"metadata that claim {size} bytes")
    return int(size)


def parse_metadata(version: int, body: bytes) -> Metadata:
    """Raises MetadataError."""
    if len(body) < _FIXED_BYTES:
        raise MetadataError(f"the metadata are cut off after {len(body)} bytes")
    dataset = _text(body[:_DATASET_BYTES])
    symbol_bytes = _SYMBOL_BYTES_V1 if version == 1 else int.from_bytes(body[45:47], "little")
    symbols = dict[int, str]()
    try:
        reader = _Reader(body, _FIXED_BYTES, symbol_bytes)
        reader.skip(reader.number())
        for _ in range(3):  # symbols asked for, found in part, not found
            reader.skip(reader.number() * symbol_bytes)
        for _ in range(reader.number()):
            native = reader.text()
            for _ in range(reader.number()):
                reader.skip(8)
                mapped = reader.text()
                if mapped.isdigit():
                    symbols[int(mapped)] = native
                elif native.isdigit():
                    symbols[int(native)] = mapped
    except (struct.error, ValueError) as error:
        raise MetadataError(f"metadata of version {version} that contradict themselves ({error})") from error
    return Metadata(version, dataset, symbols)


class _Reader:
    def __init__(self, body: bytes, at: int, symbol_bytes: int) -> None:
        self._body, self._at, self._symbol_bytes = body, at, symbol_bytes

    def number(self) -> int:
        (value,) = struct.unpack_from("<I", self._body, self._at)
        self._at += 4
        if value > len(self._body):
            raise ValueError(f"a count of {value}")
        return int(value)

    def skip(self, size: int) -> None:
        self._at += size

    def text(self) -> str:
        found = self._body[self._at : self._at + self._symbol_bytes]
        if len(found) < self._symbol_bytes:
            raise ValueError("a symbol that is cut off")
        self._at += self._symbol_bytes
        return _text(found)


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "replace")


def mapped_symbol(version: int, record: bytes) -> tuple[int, str]:
    """(instrument id, symbol) of a symbol mapping, as live sessions have them before the records of an instrument."""
    (instrument,) = struct.unpack_from("<I", record, 4)
    size = _SYMBOL_BYTES_V1 if version == 1 else _SYMBOL_BYTES
    type_bytes = 0 if version == 1 else 1
    first = 16 + type_bytes
    asked, given = (_text(record[at : at + size]) for at in (first, first + size + type_bytes))
    return instrument, asked if not given or given.isdigit() else given


def price_increment(definition: bytes) -> tuple[int, int]:
    """(instrument id, minimum price increment in 1e-9, 0 where it has none) of a definition record of any version."""
    (instrument,) = struct.unpack_from("<I", definition, 4)
    (increment,) = struct.unpack_from("<q", definition, 24)
    return instrument, increment if 0 < increment < _UNDEFINED else 0
