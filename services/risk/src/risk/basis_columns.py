"""Records of ``risk.basis`` that the intents of a run have to write, in columns."""

from collections.abc import Sequence

import numpy as np
from common.columns import Column, OutputColumns
from common.contracts.basis import Basis
from common.contracts.topics import RISK_BASIS


def columns_of(said: Sequence[tuple[int, Basis]], partition: int) -> tuple[OutputColumns, ...]:
    """Records of a run: each with the number of its intent, never falling."""
    if not said:
        return ()
    of = np.array([number for number, _ in said], np.int64)
    keys = _column([each.account_id.encode() for _, each in said])
    values = _column([RISK_BASIS.schema.encode(each) for _, each in said])
    return (OutputColumns(RISK_BASIS, partition, of, keys, values),)


def _column(texts: Sequence[bytes]) -> Column:
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    return Column(np.frombuffer(b"".join(texts), np.uint8), np.concatenate(([0], ends[:-1])), ends)
