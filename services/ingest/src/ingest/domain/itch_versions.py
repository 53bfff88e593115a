"""Which version of ITCH the first bytes of a stream are, where it is not the one that is read."""

from typing import Final

_ITCH_41: Final = {ord("T"): 5, ord("S"): 6, ord("R"): 20, ord("H"): 19, ord("L"): 19, ord("A"): 30, ord("F"): 34}
"""Lengths of messages of TotalView-ITCH 4.1, whose seconds are a message of their own (T)."""
_SAMPLE: Final = 4


def older_version(head: bytes) -> str:
    """The name of an older version of ITCH that the stream is of, framed by lengths or not at all; else empty."""
    return "ITCH 4.1" if _is_41(head, 2) or _is_41(head, 0) else ""


def _is_41(head: bytes, prefix: int) -> bool:
    at, seconds = 0, 0
    for _ in range(_SAMPLE):
        if at + prefix >= len(head):
            return False
        kind = head[at + prefix]
        length = _ITCH_41.get(kind, 0)
        if not length or (prefix and int.from_bytes(head[at : at + prefix], "big") != length):
            return False
        seconds += kind == ord("T")
        at += prefix + length
    return seconds > 0
