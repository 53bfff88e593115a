"""The basis of the decisions of a run, as columns beside the run's other outputs."""

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
    keys = Column.of([each.account_id.encode() for _, each in said])
    values = Column.of([RISK_BASIS.schema.encode(each) for _, each in said])
    return (OutputColumns(RISK_BASIS, partition, of, keys, values),)
