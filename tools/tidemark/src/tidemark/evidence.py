"""Reads what decisions are executed again from: answers, ledger, basis, controls and instruments, as committed."""

from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from common.contracts.basis import Basis
from common.contracts.controls import FIRM, ControlResult
from common.contracts.events import LedgerEntry
from common.contracts.reference import Instrument
from common.contracts.topics import REF_INSTRUMENTS, RISK_BASIS, RISK_CONTROLS, RISK_DECISIONS, RISK_LEDGER
from risk.reexecution import Evidence
from streams.edges.reader import CommittedReader
from streams.model.message import Message
from streams.process.settings import Settings

TOPICS: Final = (RISK_DECISIONS, RISK_LEDGER, RISK_BASIS, RISK_CONTROLS, REF_INSTRUMENTS)
"""Answers first: whatever leads to one is committed with it, so the others are read at least as far."""


@dataclass(slots=True)
class _Found:
    answers: list[Message] = field(default_factory=list)
    entries: list[LedgerEntry] = field(default_factory=list)
    basis: list[Basis] = field(default_factory=list)
    controls: list[ControlResult] = field(default_factory=list)


async def gathered(settings: Settings, account_id: str | None = None) -> dict[int, Evidence]:
    """By partition; of one account alone, where one is named. Instruments are as they are now."""
    found: defaultdict[int, _Found] = defaultdict(_Found)
    instruments: dict[str, Instrument] = {}
    keys = None if account_id is None else {account_id.encode(), FIRM.encode()}
    async for message in _records(settings):
        if message.topic is REF_INSTRUMENTS:
            if message.value is not None:
                instruments[message.body.symbol] = message.body
        elif keys is None or message.key in keys:
            _take(found[message.partition], message)
    return {
        number: Evidence(each.answers, each.entries, each.basis, each.controls, instruments)
        for number, each in sorted(found.items())
    }


async def _records(settings: Settings) -> AsyncIterator[Message]:
    async with CommittedReader(settings, TOPICS, from_beginning=True, client_id="tidemark-cli") as reader:
        ends = await reader.ends()
        async for messages in reader.batches_until(ends):
            for message in messages:
                if message.offset < ends[message.topic.name, message.partition]:
                    yield message


def _take(found: _Found, message: Message) -> None:
    if message.topic is RISK_DECISIONS:
        found.answers.append(message)
    elif message.topic is RISK_LEDGER:
        found.entries.append(message.body)
    elif message.topic is RISK_BASIS:
        found.basis.append(message.body)
    else:
        found.controls.append(message.body)
