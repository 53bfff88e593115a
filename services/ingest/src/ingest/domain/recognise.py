"""Names, by its beginning, a file that is no ITCH 5.0 under either framing, and the feed reader that takes it."""

import re
from typing import Final

import numpy as np

from ingest.domain.itch_spec import LENGTHS

_NESTED: Final = "inside several other archives: unpack it first"
_MAGIC: Final = (
    (b"\xd4\xc3\xb2\xa1", "a pcap capture: --feed pcap"),
    (b"\xa1\xb2\xc3\xd4", "a pcap capture: --feed pcap"),
    (b"\x4d\x3c\xb2\xa1", "a pcap capture: --feed pcap"),
    (b"\xa1\xb2\x3c\x4d", "a pcap capture: --feed pcap"),
    (b"\x0a\x0d\x0d\x0a", "a pcapng capture: --feed pcap"),
    (b"DBN", "Databento's DBN: --feed dbn"),
    (b"PAR1", "a Parquet file: --feed parquet"),
    (b"ARROW1", "an Arrow file"),
    (b"\xa1\xb2\xcd\x34", "a pcap capture in Kuznetzov's variant: convert it with editcap"),
    (b"\x34\xcd\xb2\xa1", "a pcap capture in Kuznetzov's variant: convert it with editcap"),
    (b"snoop\0\0\0", "a snoop capture: convert it with editcap"),
    (b"\x28\xb5\x2f\xfd", f"compressed by zstd {_NESTED}"),
    (b"\x1f\x8b", f"compressed by gzip {_NESTED}"),
    (b"BZh", f"compressed by bzip2 {_NESTED}"),
    (b"\xfd7zXZ\0", f"compressed by xz {_NESTED}"),
    (b"PK\x03\x04", f"a zip archive {_NESTED}"),
    (b"\x1f\x9d", "compressed by compress (.Z): unpack it first"),
    (b"\x5d\0\0", "compressed by LZMA without a container: unpack it first"),
    (b"LZIP", "compressed by lzip: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"),
    (b"Rar!", "a RAR archive: unpack it first"),
    (b"\x04\x22\x4d\x18", "compressed by lz4: unpack it first"),
    (b"\x89HDF", "an HDF5 file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"%PDF", "a PDF"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
    (b"FEA1", "a Feather file"),
    (b"\x7fELF", "a program"),
    (b"\x80\x04\x95", "a pickle of Python"),
    (b"version https://git-lfs", "a pointer of Git LFS: the data were not fetched (git lfs pull)"),
    (b"\xff\xfe", "text in UTF-16: convert it to UTF-8"),
    (b"\xfe\xff", "text in UTF-16: convert it to UTF-8"),
)
_TAR_AT: Final = 257
_TEXTS: Final = (
    (
        re.compile(rb"\s*<(!doctype|html|head|\?xml)", re.IGNORECASE),
        "a web page or XML, perhaps the answer to a failed download",
    ),
    (re.compile(rb"wss?://[^\n]*kraken"), "a capture of Kraken's messages: --feed kraken"),
    (re.compile(rb'[0-9]* ?\{"(stream|e|lastUpdateId)":'), "a capture of Binance's messages: --feed binance"),
    (re.compile(rb"[0-9]+\.[0-9]+,[1-7],[0-9]+,[0-9]+,[0-9]+,-?1\r?\n"), "a LOBSTER message file: --feed lobster"),
    (re.compile(rb"[\[{]"), "JSON"),
    # Each message of ITCH has a time or a number in it, and so bytes that are no text.
    (re.compile(rb"[\t\r\n -~]{32,}"), "text; tables of trades or quotes: --feed csv"),
)
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_SOUP_TYPES: Final = frozenset(b"SUHZ+AJ")
_ITCH_41_LENGTHS: Final = {b"T": 5, b"S": 6, b"R": 20, b"A": 30, b"F": 34, b"E": 25, b"D": 13, b"X": 17, b"H": 19}
_LOGIN_BYTES: Final = 31
"""An accepted login of SoupBinTCP: its type, the session's name and the next message."""
_MOLD_HEADER: Final = 20
_SAMPLE: Final = 3
"""Messages that have to fit before a framing without a magic number is named."""


def recognised(head: bytes) -> str | None:
    """Names in words the kind of a file that begins with ``head``; None where nothing is known."""
    for magic, what in _MAGIC:
        if head.startswith(magic):
            return what
    if head[_TAR_AT : _TAR_AT + 5] == b"ustar":
        return "a tar archive: unpack it first"
    text = head.removeprefix(_BYTE_ORDER_MARK)
    for pattern, what in _TEXTS:
        if pattern.match(text):
            return what
    for what, fits in (
        ("ITCH in SoupBinTCP packets: --feed soupbintcp", _soup),
        ("ITCH 5.0 without any framing: --feed itch-raw", _unframed),
        ("MoldUDP64 packets without a capture around them: record them as pcap, then --feed pcap", _mold),
        ("ITCH 5.0 with little-endian lengths", _little_endian),
        ("ITCH of an older version than 5.0", _itch_41),
    ):
        if fits(head):
            return what
    return None


def _lengths(head: bytes, order: str) -> list[tuple[int, bytes]]:
    """(length, message) of the first frames, if each has a 2-byte length before it."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at + 2 < len(head) and len(found) < _SAMPLE:
        length = int.from_bytes(head[at : at + 2], "big" if order == "big" else "little")
        if not length:
            break
        found.append((length, head[at + 2 : at + 2 + length]))
        at += 2 + length
    return found


def _all_fit(fits: list[bool]) -> bool:
    return len(fits) == _SAMPLE and all(fits)


def _itch(message: bytes, length: int) -> bool:
    return bool(message) and int(LENGTHS[message[0]]) == length


def _soup(head: bytes) -> bool:
    frames = _lengths(head, "big")
    carried = [_itch(body[1:], length - 1) for length, body in frames if body[:1] in (b"S", b"U")]
    carried += [length == _LOGIN_BYTES for length, body in frames if body[:1] == b"A"]
    return bool(carried) and all(carried) and all(body[:1] and body[0] in _SOUP_TYPES for _, body in frames)


def _unframed(head: bytes) -> bool:
    at, found = 0, 0
    while at < len(head) and found < _SAMPLE and (length := int(LENGTHS[np.uint8(head[at])])):
        at += length
        found += 1
    return found == _SAMPLE


def _mold(head: bytes) -> bool:
    """Whether a packet with a message of ITCH begins here, or behind its length."""
    return any(_itch_in_mold(head[at:]) for at in (0, 2))


def _itch_in_mold(packet: bytes) -> bool:
    count, length = (int.from_bytes(packet[at : at + 2], "big") for at in (_MOLD_HEADER - 2, _MOLD_HEADER))
    is_named = packet[:10].isascii() and packet[:10].replace(b" ", b"").isalnum()
    return is_named and 0 < count < 1 << 12 and _itch(packet[_MOLD_HEADER + 2 :], length)


def _little_endian(head: bytes) -> bool:
    return _all_fit([_itch(body, length) for length, body in _lengths(head, "little")])


def _itch_41(head: bytes) -> bool:
    return _all_fit([_ITCH_41_LENGTHS.get(body[:1]) == length for length, body in _lengths(head, "big")])
