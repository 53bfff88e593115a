"""Answers many intents at once, in columns: kernels decide them and write what is accepted.

A kernel says of what it denies which check it fails. What the check compared is said from the account as it stood at
that intent, and repeats of an id are answered from what was answered before.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from common.checks.case import NO_ACTIVITY, AccountFields, ActivityFields, Case, PositionFields
from common.columns import Column, OutputColumns
from common.contracts.topics import RISK_DECISIONS, RISK_LEDGER, RISK_WARNINGS
from streams.model.blocks import Answers
from streams.model.message import Message
from streams.model.tables import Tables

from risk import metrics
from risk.activity import RunActivity
from risk.basis import BasisWriter, is_unusual
from risk.basis_columns import columns_of
from risk.booking import last_link
from risk.domain.answer_kernel import LINK_CHARS, write_links
from risk.domain.chain import ChainRow, link_all
from risk.domain.gate import Listed, denial_of, left_to_venue, may_leave_to_venue, order_fields
from risk.domain.gate_kernel import (
    ANSWERED,
    NOTHING_LATELY,
    RUN,
    Decided,
    Decider,
    Inputs,
    Lately,
)
from risk.domain.in_force import NOTHING_SAID
from risk.domain.intent import Intent
from risk.domain.intent_kernel import ACCOUNT_AT, Intents
from risk.domain.stops import halts, may_halt
from risk.domain.text_kernel import Array
from risk.equity import NOT_ASKED, Measured, keep_measure, measure
from risk.framed import read_either
from risk.framed_answers import FramedAnswers, FramedRun
from risk.intents import deny, on_repeat
from risk.limit_warnings import warning_of
from risk.market import MarketReader
from risk.run_columns import Accounts, Markets, Positions
from risk.tables import CHAIN_KEY
from risk.wire import decode_intent

EVERY: Final = slice(None)


class Run(NamedTuple):
    """Intents that are read together."""

    messages: Sequence[Message]
    keys: Sequence[bytes]
    """Keys of the messages."""
    offsets: Array
    """int64[n]: likewise."""
    intents: Intents

    def part(self, begin: int, end: int) -> "Run":
        """Some of them."""
        some = slice(begin, end)
        return Run(self.messages[some], self.keys[some], self.offsets[some], self.intents.part(begin, end))

    def offsets_that_are_multiples(self, of: int) -> int:
        """How many there are."""
        return int(np.count_nonzero(self.offsets % of == 0))


def read_run(messages: Sequence[Message]) -> Run:
    """Intents, plain or not."""
    keys, offsets = [message.key or b"" for message in messages], [message.offset for message in messages]
    intents = read_either([message.value or b"" for message in messages], keys)
    return Run(messages, keys, np.array(offsets, np.int64), intents)


class _Cases(NamedTuple):
    """Cases of a run, each as it stood at its intent."""

    markets: Markets
    decided: Decided
    now_ns: int

    def at(
        self, index: int, intent: Intent, symbol: Listed, account: tuple[Any, ...], position: tuple[Any, ...]
    ) -> Case:
        """The case of one intent, of its row of ``decided.accounts`` and ``decided.positions``."""
        *fields, _ = account  # behind them stands ``seq``
        stood = AccountFields(*fields), PositionFields(*position)
        counted = self.decided.activities
        did = ActivityFields(*counted[index].item()) if counted.size else NO_ACTIVITY
        return Case(order_fields(intent), *stood, symbol.fields, symbol.limits, self.now_ns, did)

    def of(self, intents: Intents, which: Array) -> Iterator[tuple[Any, ...]]:
        """Number, text, symbol, and the rows of account and position of some intents."""
        symbols = map(self.markets.listed.__getitem__, self.markets.of[which].tolist())
        stood = self.decided.accounts[which].tolist(), self.decided.positions[which].tolist()
        return zip(which.tolist(), intents.values(which), symbols, *stood, strict=True)


def answer_run(
    asked: Run,
    tables: Tables,
    reader: MarketReader,
    decider: Decider,
    now_ns: int,
    framed: FramedAnswers | None = None,
    basis: BasisWriter | None = None,
) -> Answers | None:
    """One answer for each message, all of them plain intents; ``framed`` writes the answers, else they are text.

    None, and nothing is written, where one of them halts its account: what stands behind it is denied for that; and
    where the venue is asked to keep one from an own order.
    """
    messages, keys, offsets, intents = asked
    partition = tables.partition
    by_slot = np.argsort(intents.slots, kind="stable")
    answered = _answered(intents.row_keys, by_slot, tables)
    accounts = Accounts(keys, tables.changelogged("accounts"))
    markets = Markets(intents, accounts, tables, reader, now_ns)
    positions = Positions(accounts, markets, intents, tables.changelogged("positions"))
    last = last_link(tables, partition)
    run = np.array([(now_ns, partition, last.seq)], RUN)
    activity, lately, measured = _lately(accounts, positions, markets, intents, tables, reader, now_ns)
    watched = np.array([each.is_watched for each in markets.listed], np.bool_)
    left = np.array([may_leave_to_venue(each.limits) for each in markets.listed], np.bool_)
    more = (run, offsets, lately, bool(watched.any() or left.any()), framed is None)
    decided = decider.decide_all(_inputs(intents, answered, accounts, positions, markets, *more))
    cases = _Cases(markets, decided, now_ns)
    if _halts_some(decided, markets, decider) or _leaves_some(decided, intents, cases, left[markets.of]):
        return None
    accounts.keep(positions.keep())
    _keep_lately(activity, measured, decided, accounts, markets, tables)
    _keep_orders(decided, intents.row_keys, by_slot, tables)

    def deny_or_repeat(stood: tuple[Any, ...], failed: int, account_seq: int) -> bytes:
        index, text, symbol, account, position = stood
        message, row_key, intent = messages[index], intents.row_keys[index], decode_intent(text)
        if failed == ANSWERED:
            seen: Any = tables.changelogged("orders").get(row_key)
            return on_repeat(message, intent, seen, account_seq, now_ns)
        denial = denial_of(decider.chain, failed, cases.at(index, intent, symbol, account, position))
        return deny(message, intent, row_key, tables, denial, symbol.market, account_seq, now_ns)

    _count_denials(decided, decider)
    which, others = np.flatnonzero(decided.orders["accepted"]), np.flatnonzero(~decided.orders["accepted"])
    failed, account_seqs = (decided.orders[name][others].tolist() for name in ("failed", "account_seq"))
    answers = [*map(deny_or_repeat, cases.of(intents, others), failed, account_seqs)]
    entries, heads = _linked(decided, tables, last)
    if framed is None:
        said = _decisions(decided, answers), entries
    else:
        marks = [each.market.mark for each in markets.listed]
        of = FramedRun(intents, markets.of, markets.texts, marks, run, offsets)
        said = framed.answers(of, decided, answers, heads)
    outputs = _outputs(partition, intents, which, *said, framed=framed is not None)
    warnings = _warnings(partition, intents, which[watched[markets.of[which]]], cases)
    asked_at = run, offsets, intents.rows["expires"]
    stands_on = () if basis is None else _basis(basis, tables, accounts, markets, measured, decided, *asked_at)
    return Answers(len(messages), (*outputs, *warnings, *stands_on))


def _inputs(
    intents: Intents, answered: Array, accounts: Accounts, positions: Positions, markets: Markets, *more: Any
) -> Inputs:
    """``more``: the fields of ``Inputs`` behind the marks."""
    return Inputs(
        intents.text, intents.rows, answered, accounts.of, accounts.columns, positions.of, positions.columns,
        positions.sides, positions.levels, markets.of, markets.columns, markets.limits, markets.texts, markets.marks,
        *more,
    )  # fmt: skip


def _halts_some(decided: Decided, markets: Markets, decider: Decider) -> bool:
    """Whether a denial halts an account, see ``domain.stops``."""
    if not any(may_halt(each.limits) for each in markets.listed):
        return False
    failed, checks = decided.orders["failed"], decider.chain.checks
    return any(
        halts(markets.listed[markets.of[at]].limits, checks[failed[at]].name)
        for at in np.flatnonzero((failed != ANSWERED) & ~decided.orders["accepted"]).tolist()
    )


def _leaves_some(decided: Decided, intents: Intents, cases: _Cases, may_leave: Array) -> bool:
    """Whether it is left to the venue to keep an order from one of its own: the decision says so."""
    which = np.flatnonzero(decided.orders["accepted"] & may_leave)
    return any(
        left_to_venue(cases.at(index, decode_intent(text), *stood)) for index, text, *stood in cases.of(intents, which)
    )


def _lately(
    accounts: Accounts,
    positions: Positions,
    markets: Markets,
    intents: Intents,
    tables: Tables,
    reader: MarketReader,
    now_ns: int,
) -> tuple[RunActivity | None, Lately, dict[int, Measured]]:
    """Activity of the accounts before the run, and what they have lost; nothing where no limit asks for it."""
    of = [reader.limits.counted(markets.firm, markets.own.get(at, NOTHING_SAID)) for at in markets.own]
    everybody = reader.limits.counted(markets.firm)
    periods = next(filter(None, (everybody, *of)), None)
    if periods is None:
        return None, NOTHING_LATELY, {}
    counted = np.full(len(accounts.keys), everybody is not None)
    counted[[at for at, limits in zip(markets.own, of, strict=True) if limits is not None]] = True
    activity = RunActivity(accounts.keys, accounts.of, tables.changelogged("activity"), periods, now_ns, counted)
    orders = list(map(decode_intent, intents.values(EVERY)))
    measured = {
        number: measure(tables, accounts.keys[number], accounts.rows[number], reader, now_ns)
        for number in range(len(accounts.keys))
        if reader.limits.is_measured(markets.firm, markets.own.get(number, NOTHING_SAID))
    }
    lost = {number: each.losses for number, each in measured.items()}
    return activity, activity.columns(orders, positions.places(), lost), measured


def _outputs(
    partition: int, intents: Intents, which: Array, decisions: Column, entries: Column, *, framed: bool
) -> tuple[OutputColumns, ...]:
    """A decision on each intent, and the entries of those that ``which`` names."""
    each = np.arange(len(intents.rows))
    return (
        OutputColumns(RISK_DECISIONS, partition, each, _accounts_of(intents), decisions, framed),
        OutputColumns(RISK_LEDGER, partition, which, _accounts_of(intents, which), entries, framed),
    )


def _warnings(partition: int, intents: Intents, which: Array, cases: _Cases) -> tuple[OutputColumns, ...]:
    """Warnings of those accepted orders, of ``which``, that have come near to a limit."""
    found: dict[int, bytes] = {}
    for index, text, *stood in cases.of(intents, which):
        intent = decode_intent(text)
        warning = warning_of(intent, cases.at(index, intent, *stood), cases.now_ns)
        if warning is not None:
            found[index] = RISK_WARNINGS.schema.encode(warning)
    if not found:
        return ()
    of = np.fromiter(found, np.int64, len(found))
    return (OutputColumns(RISK_WARNINGS, partition, of, _accounts_of(intents, of), Column.of(list(found.values()))),)


def _basis(
    writer: BasisWriter,
    tables: Tables,
    accounts: Accounts,
    markets: Markets,
    measured: dict[int, Measured],
    decided: Decided,
    run: Array,
    offsets: Array,
    expiring: Array,
) -> tuple[OutputColumns, ...]:
    """The basis of the intents, each part said by the first that was decided on it. ``expiring``: see ``_unusual``."""
    were_decided = np.flatnonzero(decided.orders["failed"] != ANSWERED)
    if not were_decided.size:
        return ()
    now_ns, first = int(run["now_ns"][0]), int(were_decided[0])
    said = [(first, 0, each) for each in writer.of_firm(tables, markets.firm, int(offsets[first]), now_ns)]
    for at, expires in _unusual(markets, were_decided, expiring):
        listed = markets.listed[markets.of[at]]
        said += [(at, 1, each) for each in writer.of_mark(tables, listed, int(offsets[at]), now_ns, expires=expires)]
    for number in sorted(markets.own.keys() | measured.keys()):
        own, lost = markets.own.get(number, NOTHING_SAID), measured.get(number, NOT_ASKED)
        for at in were_decided[accounts.of[were_decided] == number][:1].tolist():
            records = writer.of_account(tables, accounts.keys[number], own, lost, int(offsets[at]), now_ns)
            said += [(at, 2, each) for each in records]
    said.sort(key=lambda each: each[:2])
    return columns_of([(at, each) for at, _, each in said], tables.partition)


def _unusual(markets: Markets, were_decided: Array, expiring: Array) -> list[tuple[int, bool]]:
    """The first intent of each market of which something has to be said, and whether it expires.

    In the order of the intents: a symbol under several limits is several markets. ``expiring``: which intents expire;
    they need it of every market.
    """
    any_expires, found = bool(expiring.any()), list[tuple[int, bool]]()
    for number, each in enumerate(markets.listed):
        if any_expires or is_unusual(each, expires=False):
            met = were_decided[markets.of[were_decided] == number]
            if not is_unusual(each, expires=False):
                met = met[expiring[met]]
            found += ((at, bool(expiring[at])) for at in met[:1].tolist())
    return sorted(found)


def _keep_lately(
    activity: RunActivity | None,
    measured: dict[int, Measured],
    decided: Decided,
    accounts: Accounts,
    markets: Markets,
    tables: Tables,
) -> None:
    """Writes what the accounts did, and what their losses are measured from, where a limit asks."""
    if activity is not None:
        activity.keep(decided.orders, accounts.columns["known"][accounts.of] & markets.columns["known"][markets.of])
    if measured:
        for number in set(accounts.of[decided.orders["failed"] != ANSWERED].tolist()) & measured.keys():
            keep_measure(tables, accounts.keys[number], measured[number])


def _count_denials(decided: Decided, decider: Decider) -> None:
    failed = decided.orders["failed"]
    checks = decider.chain.checks
    counted = np.bincount(failed[failed != ANSWERED], minlength=len(checks))
    for number in np.flatnonzero(counted[: len(checks)]).tolist():
        metrics.DENIALS.labels(checks[number].name, checks[number].reason).inc(int(counted[number]))


def _answered(row_keys: Sequence[bytes], by_slot: Array, tables: Tables) -> Array:
    """Which ids were answered: before the run, or by an earlier intent of it.

    The store is asked slot by slot, since it finds a key sooner that is near the one before.
    """
    rows = tables.changelogged("orders").get_many(list(map(row_keys.__getitem__, by_slot.tolist())))
    answered = np.zeros(len(rows), np.bool_)
    if rows.count(None) < len(rows):
        answered[by_slot] = [row is not None for row in rows]
    if len(set(row_keys)) < len(row_keys):
        seen: set[bytes] = set()
        for at, key in enumerate(row_keys):
            answered[at] |= key in seen
            seen.add(key)
    return answered


def _accounts_of(intents: Intents, which: Array | slice = EVERY) -> Column:
    """The account of each intent, or of some of them."""
    rows = intents.rows[which]
    return Column(intents.text, rows["begin"] + ACCOUNT_AT, rows["account_end"])


def _keep_orders(decided: Decided, row_keys: Sequence[bytes], by_slot: Array, tables: Tables) -> None:
    """Writes the rows of the accepted orders.

    Slot by slot, since the store sorts what it is given, and has little left to do where most is in order.
    """
    which = by_slot[decided.orders["accepted"][by_slot]]
    ends = decided.orders["row_end"]
    begins = np.concatenate(([0], ends[:-1]))
    whole = decided.rows[: ends[-1]].tobytes()
    rows = map(whole.__getitem__, map(slice, begins[which].tolist(), ends[which].tolist()))
    keys = map(row_keys.__getitem__, which.tolist())
    tables.changelogged("orders").put_encoded(dict(zip(keys, rows, strict=True)))


def _decisions(decided: Decided, others: Sequence[bytes]) -> Column:
    """The decision on each intent: those of the kernel, and in the places of what it did not accept the ``others``."""
    ends = decided.orders["decision_end"].copy()
    begins = np.concatenate(([0], ends[:-1]))
    length = int(ends[-1])
    lengths = np.fromiter(map(len, others), np.int64, len(others))
    elsewhere = ~decided.orders["accepted"]
    ends[elsewhere] = length + np.cumsum(lengths)
    begins[elsewhere] = ends[elsewhere] - lengths
    return Column(with_more(decided.decisions, length, np.frombuffer(b"".join(others), np.uint8)), begins, ends)


def with_more(text: Array, length: int, more: Array) -> Array:
    """``more`` behind the first ``length`` characters; in the same array where it has the room."""
    if length + more.size > text.size:
        return np.concatenate((text[:length], more))
    text[length : length + more.size] = more
    return text


def _linked(decided: Decided, tables: Tables, last: ChainRow) -> tuple[Column, bytes]:
    """The entries with their hashes, which become the partition's last ones, and the hashes."""
    closed = decided.orders["entry_end"][decided.orders["accepted"]]
    ends = closed + LINK_CHARS
    begins = np.concatenate(([0], ends))[:-1]
    heads = b""
    if closed.size:
        heads, head = link_all(last, memoryview(decided.entries.data), begins.tolist(), closed.tolist())
        write_links(decided.entries, closed, np.frombuffer(heads, np.uint8).reshape(-1, 32))
        tables.changelogged("chain").put(CHAIN_KEY, head)
    return Column(decided.entries, begins, ends), heads
