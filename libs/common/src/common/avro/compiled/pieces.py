"""Pieces of the binary encoding (Avro 1.12 specification, "Binary Encoding"), to be compiled into a codec.

Every position is an int64 and every piece of arithmetic is signed: numba makes a float of a signed and an unsigned
64-bit integer. A reader returns ``NOT_THERE`` in place of a position where the bytes are not what they should be.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from llvmlite import ir as types_of_llvm
from numba import types
from numba.extending import intrinsic

from common.kernels import index, outlined, part

NOT_THERE: Final = -1
HEADER_BYTES: Final = 5
"""A zero, and the id of the schema in four bytes, the highest first (Confluent's wire format)."""
LONG_BYTES_MAX: Final = 10
INT_MIN: Final = -(2**31)
INT_MAX: Final = 2**31 - 1
_MORE: Final = np.uint64(0x8080_8080_8080_8080)
"""The highest bit of each byte: of a text it says that it is not ASCII, of a number that another byte follows."""
_LOW_28, _HIGH_28 = np.uint64(0x0FFF_FFFF), np.uint64(0x00FF_FFFF_F000_0000)
_LOW_14S, _HIGH_14S = np.uint64(0x0000_3FFF_0000_3FFF), np.uint64(0x0FFF_C000_0FFF_C000)
_LOW_7S, _HIGH_7S = np.uint64(0x007F_007F_007F_007F), np.uint64(0x3F80_3F80_3F80_3F80)
_FIRST_OF_2_BYTES: Final = np.uint64(1 << 7)
_FIRST_OF_9_BYTES: Final = np.uint64(1 << 56)
_NO_SIGN: Final = np.int64(2**63 - 1)
_WORD: Final = 8


@intrinsic
def _word(_context, data, at):
    """Eight bytes of ``data`` at once."""

    def generate(context, builder, signature, arguments):
        data, at = arguments
        begin = context.make_array(signature.args[0])(context, builder, data).data
        word = context.get_value_type(types.uint64)
        loaded = builder.load(builder.bitcast(builder.gep(begin, [at]), word.as_pointer()))
        loaded.align = 1
        return loaded

    return types.uint64(data, types.int64), generate


@intrinsic
def _store_word(_context, out, at, word):
    """Eight bytes into ``out`` at once, the lowest first."""

    def generate(context, builder, signature, arguments):
        out, at, word = arguments
        begin = context.make_array(signature.args[0])(context, builder, out).data
        place = builder.bitcast(builder.gep(begin, [at]), word.type.as_pointer())
        builder.store(word, place).align = 1
        return context.get_dummy_value()

    return types.void(out, types.int64, types.uint64), generate


@intrinsic
def _width(_context, value):
    """How many bits a number has that is not zero."""

    def generate(context, builder, signature, arguments):
        (value,) = arguments
        return builder.sub(value.type(64), builder.ctlz(value, types_of_llvm.IntType(1)(1)))

    return types.int64(types.uint64), generate


# --- reading ------------------------------------------------------------------------------------------------------


@part
def read_long(data, at, end):
    """A number in zigzag code, of at most ten bytes, and the position after it."""
    if at >= end:
        return np.int64(0), np.int64(NOT_THERE)
    byte = np.int64(data[index(at)])
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at + 1
    bits = byte & 0x7F
    shift = np.int64(7)
    at += 1
    while at < end and shift < 63:
        byte = np.int64(data[index(at)])
        at += 1
        bits |= (byte & 0x7F) << shift
        if byte < 0x80:
            return ((bits >> 1) & _NO_SIGN) ^ -(bits & 1), at
        shift += 7
    if at < end and data[index(at)] <= 1:  # of the tenth byte one bit is left
        bits |= np.int64(data[index(at)]) << 63
        return ((bits >> 1) & _NO_SIGN) ^ -(bits & 1), at + 1
    return np.int64(0), np.int64(NOT_THERE)


@part
def read_boolean(data, at, end):
    if at >= end or data[index(at)] > 1:
        return np.int64(0), np.int64(NOT_THERE)
    return np.int64(data[index(at)]), at + 1


@part
def is_ascii(data, begin, end):
    found = np.uint64(0)
    at = begin
    while end - at >= _WORD:
        found |= _word(data, at)
        at += _WORD
    if end - begin >= _WORD:
        found |= _word(data, end - _WORD)  # some of these for the second time
    else:
        while at < end:
            found |= np.uint64(data[index(at)])
            at += 1
    return found & _MORE == 0


@part
def _follows(data, at, end, lowest, highest):
    """Whether a byte is there, between these."""
    return at < end and lowest <= data[index(at)] <= highest


@outlined
def _is_well_formed(data, at, end):
    """The Unicode Standard, table 3-7."""
    while at < end:
        first = data[index(at)]
        if first < 0x80:
            at += 1
            continue
        if first < 0xC2 or first > 0xF4:
            return False
        lowest = 0xA0 if first == 0xE0 else 0x90 if first == 0xF0 else 0x80
        highest = 0x9F if first == 0xED else 0x8F if first == 0xF4 else 0xBF
        if not _follows(data, at + 1, end, lowest, highest):
            return False
        length = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
        for k in range(2, length):
            if not _follows(data, at + k, end, 0x80, 0xBF):
                return False
        at += length
    return True


@part
def is_utf8(data, begin, end):
    return is_ascii(data, begin, end) or _is_well_formed(data, begin, end)


@part
def find_bytes(data, at, end):
    """Begin and end of bytes that stand behind their length."""
    size, at = read_long(data, at, end)
    if at < 0 or size < 0 or size > end - at:
        return at, np.int64(NOT_THERE)
    return at, at + size


@part
def find_string(data, at, end):
    """The same of bytes that are UTF-8."""
    begin, after = find_bytes(data, at, end)
    return begin, after if after < 0 or is_utf8(data, begin, after) else np.int64(NOT_THERE)


# --- writing ------------------------------------------------------------------------------------------------------


@part
def write_long(out, at, value):
    """A number in zigzag code. Returns the position after it; ``out`` has room for LONG_BYTES_MAX in any case.

    Eight bytes are made at once: seven bits for each are spread out in three shifts.
    """
    rest = np.uint64((value << 1) ^ (value >> 63))
    if rest < _FIRST_OF_2_BYTES:
        out[index(at)] = rest
        return at + 1
    spread = (rest & _LOW_28) | ((rest & _HIGH_28) << np.uint64(4))
    spread = (spread & _LOW_14S) | ((spread & _HIGH_14S) << np.uint64(2))
    spread = (spread & _LOW_7S) | ((spread & _HIGH_7S) << np.uint64(1))
    if rest < _FIRST_OF_9_BYTES:
        size = (_width(rest) + 6) // 7
        more = (np.uint64(1) << np.uint64(8 * (size - 1))) - np.uint64(1)
        _store_word(out, at, spread | (_MORE & more))
        return at + size
    _store_word(out, at, spread | _MORE)
    rest >>= np.uint64(56)
    if rest < _FIRST_OF_2_BYTES:
        out[index(at + 8)] = rest
        return at + 9
    out[index(at + 8)] = rest  # its highest bit is set, and is the mark that one more follows
    out[index(at + 9)] = 1
    return at + 10


def varint(value: int) -> bytes:
    """The same outside kernels."""
    rest = (value << 1) ^ (value >> 63)
    written = bytearray()
    while rest > 0x7F:
        written.append(rest & 0x7F | 0x80)
        rest >>= 7
    written.append(rest)
    return bytes(written)


def joined(functions: Sequence[Any], pair: Any) -> Any:
    """All of them in one, put together by ``pair`` two and two; None where there are none."""
    left = list(functions)
    while len(left) > 1:
        pairs = zip(left[::2], left[1::2], strict=False)
        left = [pair(*each) for each in pairs] + left[len(left) // 2 * 2 :]
    return left[0] if left else None
