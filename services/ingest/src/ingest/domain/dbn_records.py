"""Record types of Databento Binary Encoding: what each is called, and how many bytes it has at least.

Source: the public crate ``dbn``, ``rtype``.
"""

from typing import Final

import numpy as np

HEADER_BYTES: Final = 16
WORD: Final = 4
TRADE, MBP1, MBO, DEFINITION, SYMBOL_MAPPING = 0, 1, 160, 19, 22
TRADE_BYTES, MBP1_BYTES, MBO_BYTES = 48, 80, 56
NAMES: Final = {
    TRADE: "trades",
    MBP1: "mbp-1",
    10: "mbp-10",
    17: "ohlcv",
    18: "status",
    DEFINITION: "definition",
    20: "imbalance",
    21: "error",
    SYMBOL_MAPPING: "symbol mapping",
    23: "system",
    24: "statistics",
    **{32 + at: f"ohlcv-{unit}" for at, unit in enumerate(("1s", "1m", "1h", "1d", "eod"))},
    MBO: "mbo",
    177: "cmbp-1",
    192: "cbbo-1s",
    193: "cbbo-1m",
    194: "tcbbo",
    195: "bbo-1s",
    196: "bbo-1m",
}
"""Published record types."""
LEVEL_TYPES: Final = (MBP1, 10, 177, 192, 193, 194, 195, 196)
"""Types of records with a best level, each at the same place."""
_LEAST: Final = {TRADE: TRADE_BYTES, MBO: MBO_BYTES, **dict.fromkeys(LEVEL_TYPES, MBP1_BYTES)}
LEAST_BYTES: Final = np.array(
    [_LEAST.get(kind, HEADER_BYTES if kind in NAMES else 1 << 62) for kind in range(256)], np.int64
)
"""By type: a record of fewer bytes is damage, and so is any of no published type."""
PRICE_DECIMALS: Final = 9
