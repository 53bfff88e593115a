"""Compiles every kernel ahead of need, into the cache that later processes read."""

from collections import deque

import numpy as np
from common.checks.check import CheckChain
from common.checks.installed import CheckUnavailable
from common.columns import Column, RecordColumns
from numba.core.errors import NumbaError

from risk.domain.answer_kernel import ENTRY_CHARS, TEXTS, write_links
from risk.domain.gate_kernel import ACCOUNT, LEVEL, LIMITS, MARKET, POSITION, RUN, SIDE, Decider, Inputs
from risk.domain.intent_kernel import read_intents


def warm(gate: CheckChain) -> None:
    """Asks about one intent of nobody's. Takes some seconds the first time on a machine, milliseconds afterwards.

    Raises CheckUnavailable where a check cannot be compiled.
    """
    intents = read_intents([b"{}"], [b"nobody"])
    first = np.zeros(1, np.int64)
    inputs = Inputs(
        intents.text,
        intents.rows,
        np.ones(1, np.bool_),
        first,
        np.zeros(1, ACCOUNT),
        first,
        np.zeros(1, POSITION),
        np.zeros(2, SIDE),
        np.zeros(0, LEVEL),
        first,
        np.zeros(1, MARKET),
        np.zeros(1, LIMITS),
        np.zeros(1, TEXTS),
        np.frombuffer(b"", np.uint8),
        np.zeros(1, RUN),
        first,
    )
    try:
        Decider(gate).decide_all(inputs)
    except NumbaError as error:
        raise CheckUnavailable(f"the checks cannot be compiled: {' '.join(str(error).split())}") from error
    nothing = Column(np.zeros(1, np.uint8), first, first)
    deque(RecordColumns(nothing, nothing, 0, {}).laid_out(1), maxlen=0)
    write_links(np.zeros(ENTRY_CHARS, np.uint8), first + 1, np.frombuffer(bytes(32), np.uint8).reshape(-1, 32))
