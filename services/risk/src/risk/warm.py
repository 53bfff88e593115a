"""Compiles every kernel ahead of need, into the cache that later processes read."""

from collections import deque

import numpy as np
from common.checks.check import CheckChain
from common.checks.installed import CheckUnavailable
from common.columns import Column, RecordColumns
from common.contracts.topics import ORDERS_INTENTS
from numba.core.errors import NumbaError
from streams.model.framing import frame

from risk.domain.answer_kernel import ENTRY_CHARS, TEXTS, write_links
from risk.domain.gate_kernel import (
    ACCOUNT,
    LEVEL,
    LIMITS,
    MARKET,
    NOTHING_LATELY,
    POSITION,
    RUN,
    SIDE,
    Decided,
    Decider,
    Inputs,
)
from risk.domain.intent_kernel import Intents, read_intents
from risk.framed import file_of, read_either
from risk.framed_answers import FramedAnswers, FramedRun


def warm(gate: CheckChain, framed: bool = False) -> None:
    """Asks about one intent of nobody's. Takes some seconds the first time on a machine, milliseconds afterwards.

    ``framed``: compiles what writes framed answers, too; framed intents may come at any time.

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
        NOTHING_LATELY,
    )
    try:
        decided = Decider(gate).decide_all(inputs)
    except NumbaError as error:
        raise CheckUnavailable(f"the checks cannot be compiled: {' '.join(str(error).split())}") from error
    nothing = Column(np.zeros(1, np.uint8), first, first)
    deque(RecordColumns(nothing, nothing, 0, {}).laid_out(1), maxlen=0)
    read_either([frame(file_of(ORDERS_INTENTS).id, b"")], [b"nobody"])
    if framed:
        _warm_writers(inputs, intents, decided)
    write_links(np.zeros(ENTRY_CHARS, np.uint8), first + 1, np.frombuffer(bytes(32), np.uint8).reshape(-1, 32))


def _warm_writers(inputs: Inputs, intents: Intents, decided: Decided) -> None:
    none = slice(0, 0)
    run = FramedRun(intents.part(0, 0), inputs.market_of[none], inputs.texts, [None], inputs.run, inputs.offsets[none])
    FramedAnswers().answers(run, decided._replace(orders=decided.orders[none]), [], b"")
