"""The comparisons, as functions of what was read. Each returns one line of the report."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.contracts.events import Decision, ExecType, ExecutionReport, OrderEvent
from common.contracts.values import Side

from tidemark.audit.fold import Balance, Findings, LedgerFold, Posted

Place = tuple[int, int]
"""Partition and offset."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One line of the report: what was compared, how many rows, what differed. ``skipped`` says why nothing was."""

    name: str
    compared: int
    findings: Findings = field(default_factory=Findings)
    skipped: str = ""

    @property
    def is_sound(self) -> bool:
        return not self.findings.count

    def as_dict(self) -> dict[str, Any]:
        found = {"differences": self.findings.count, "examples": self.findings.examples}
        return {"name": self.name, "compared": self.compared, **found, "skipped": self.skipped}


def ledger_itself(fold: LedgerFold) -> list[Comparison]:
    """What must hold inside the ledger, whatever anybody else says."""
    sums = Findings()
    sums.extend(f"{asset}: all postings sum to {total}" for asset, total in fold.total.items() if total)
    return [
        Comparison("every entry balances", fold.entries, fold.unbalanced),
        Comparison("all entries sum to zero, per asset", len(fold.total), sums),
        Comparison("no gap in any account's sequence", len(fold.accounts), fold.gaps),
        Comparison("no account overdrawn at any entry", fold.entries, fold.overdrawn),
        Comparison("every execution posted once", len(fold.posted), fold.posted_twice),
    ]


def balances(name: str, copies: Mapping[str, Balance], fold: LedgerFold) -> Comparison:
    """A copy of the accounts against the fold, each account at the sequence where the copy stands."""
    findings = Findings()
    for account_id, copy in copies.items():
        truth = fold.balance(account_id, copy.seq)
        if truth is None:
            newest = fold.accounts[account_id].seq if account_id in fold.accounts else 0
            findings.add(f"{account_id}: copy stands at entry {copy.seq}, the committed ledger ends at {newest}")
        elif truth != copy:
            findings.add(f"{account_id} after entry {copy.seq}: {describe(copy, truth)}")
    for account_id in fold.accounts.keys() - copies.keys():
        findings.add(f"{account_id}: in the ledger, but not in the copy")
    return Comparison(name, len(copies), findings)


def lagging(copies: Mapping[str, Balance], fold: LedgerFold) -> list[str]:
    """Accounts whose copy has not reached the end of the ledger that was read."""
    return [
        f"{account_id}: copy stands at entry {copies[account_id].seq if account_id in copies else 0} of {account.seq}"
        for account_id, account in fold.accounts.items()
        if account_id not in copies or copies[account_id].seq < account.seq
    ]


def describe(copy: Balance, truth: Balance) -> str:
    """The first book and asset in which two balances differ."""
    for book in ("available", "reserved"):
        have, want = getattr(copy, book), getattr(truth, book)
        for asset in sorted(have.keys() | want.keys()):
            if have.get(asset, 0) != want.get(asset, 0):
                return f"{book} {asset} is {have.get(asset, 0)}, the ledger says {want.get(asset, 0)}"
    return f"{copy} against {truth}"


def answers(intents: Mapping[Place, tuple[str, str]], decisions: Iterable[Decision], dead: set[Place]) -> Comparison:
    """Every intent answered exactly once: by one decision that names its place, or by one dead letter.

    ``intents``: place → account and client order id (empty where the record is not readable).
    """
    findings = Findings()
    answered: Counter[Place] = Counter(dead)
    for decision in decisions:
        place = (decision.intent_partition, decision.intent_offset)
        answered[place] += 1
        asked = intents.get(place)
        if asked is not None and asked != (decision.account_id, decision.client_order_id):
            findings.add(f"intent {place} of {'.'.join(asked)} was answered as {decision.order_id}")
    for place, (account_id, client_order_id) in intents.items():
        if answered[place] != 1:
            times = answered[place]
            findings.add(f"intent {place} of {account_id}.{client_order_id} has {times} answers")
    return Comparison("every intent answered exactly once", len(intents), findings)


def fills(executions: Iterable[ExecutionReport], posted: Mapping[str, Posted], undecided: set[str]) -> Comparison:
    """Every trade of the venue is one posting of the same money and shares, and the other way round.

    ``undecided``: executions after the point up to which the ledger is known to be complete.
    """
    findings = Findings()
    trades: dict[str, ExecutionReport] = {}
    for report in executions:
        if report.exec_type is ExecType.TRADE:
            trades[report.execution_id] = report
    for execution_id, trade in trades.items():
        entry = posted.get(execution_id)
        if entry is None:
            if execution_id not in undecided:
                findings.add(f"{execution_id} of {trade.order_id} is not in the ledger")
            continue
        sign = 1 if trade.side is Side.BUY else -1
        cash_e4 = -sign * trade.last_qty * trade.last_price_e4
        if (entry.order_id, entry.shares, entry.cash_e4) != (trade.order_id, sign * trade.last_qty, cash_e4):
            findings.add(
                f"{execution_id}: traded {sign * trade.last_qty} shares for {cash_e4} e4 on {trade.order_id}, "
                f"posted {entry.shares} for {entry.cash_e4} on {entry.order_id}"
            )
    findings.extend(f"{e} is in the ledger, but the venue never said it" for e in posted.keys() - trades.keys())
    return Comparison("every fill posted, every posting a fill", len(trades), findings)


def newest_orders(events: Iterable[OrderEvent]) -> dict[str, OrderEvent]:
    """Order id → its newest state by revision."""
    newest: dict[str, OrderEvent] = {}
    for event in events:
        known = newest.get(event.order_id)
        if known is None or event.revision > known.revision:
            newest[event.order_id] = event
    return newest


def same_rows(
    name: str,
    copies: Mapping[str, Mapping[str, Any]],
    truth: Mapping[str, Mapping[str, Any]],
    required: Callable[[str], bool] = lambda _: True,
) -> Comparison:
    """Rows of a copy against the rows that the log gives, by key and by each column of the truth.

    ``required`` says of a key whether the copy must have it: views keep only the newest of what is over.
    """
    findings = Findings()
    for key, want in truth.items():
        have = copies.get(key)
        if have is None:
            if required(key):
                findings.add(f"{key}: missing")
            continue
        wrong = next((column for column, value in want.items() if have.get(column) != value), None)
        if wrong is not None:
            findings.add(f"{key}: {wrong} is {have.get(wrong)!r}, the log says {want[wrong]!r}")
    findings.extend(f"{key}: not in the log" for key in copies.keys() - truth.keys())
    return Comparison(name, len(copies), findings)


def violations(comparisons: Sequence[Comparison]) -> int:
    """How many differences there are in all."""
    return sum(comparison.findings.count for comparison in comparisons)
