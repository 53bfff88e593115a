"""Entries out of an export (``tidemark read risk.ledger --format jsonl``): links for the chain, without a broker."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from common.contracts.events import LedgerEntry, Posting
from common.ledger.chain import ChainVerifier, Fault, Link

from tidemark.console import CommandError

PLACE: Final = ("partition", "offset", "timestamp_ms", "key")
"""Fields that ``tidemark read`` adds to each entry."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def canonical(entry: dict[str, Any]) -> bytes:
    """Bytes that the chain hashes: the fields in the contract's order, compact, UTF-8; any others come last."""
    ordered = _ordered(entry, LedgerEntry.model_fields)
    postings = ordered.get("postings")
    if isinstance(postings, list):
        ordered["postings"] = [_ordered(p, Posting.model_fields) if isinstance(p, dict) else p for p in postings]
    text = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def _ordered(fields: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: fields[name] for name in names if name in fields} | fields


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field stands twice in it")
    return fields


def link_of_row(row: dict[str, Any]) -> Link:
    """The link that an exported row is. Raises ValueError where it is none."""
    entry = {name: value for name, value in row.items() if name not in PLACE}
    chain = entry.pop("chain", None)
    for name, kind in (("partition", int), ("offset", int), ("account_id", str), ("seq", int), ("chain_seq", int)):
        if type(row.get(name)) is not kind:
            raise ValueError(f"it has no {name}" if name not in row else f"its {name} is {row[name]!r}")
    if not isinstance(chain, str) or _SHA256.fullmatch(chain) is None:
        raise ValueError("it has no chain" if chain is None else f"its chain is {chain!r}")
    if row.get("key") != row["account_id"]:
        raise ValueError(f"its key is {row.get('key')!r}, its account {row['account_id']!r}")
    return Link(
        row["partition"],
        row["offset"],
        row["account_id"],
        row["seq"],
        row["chain_seq"],
        canonical(entry),
        chain,
    )


def verify_export(verifier: ChainVerifier, files: Iterable[Path]) -> None:
    """Takes every row of the files, in their order. Raises CommandError where a file cannot be read as an export."""
    for path in files:
        try:
            with path.open("rb") as file:
                rows = _verify_rows(verifier, file, path.name)
        except OSError as error:
            raise CommandError(f"cannot read {path}: {error.strerror}") from error
        if not rows:
            raise CommandError(
                f"{path} holds no row of risk.ledger; make one with "
                "`tidemark read risk.ledger --from-beginning --to-end --format jsonl --out FILE`"
            )


def _verify_rows(verifier: ChainVerifier, file: IO[bytes], name: str) -> int:
    """Returns how many rows look like entries. What can be no link is a finding of its own."""
    entries = 0
    for number, line in _lines(file):
        row: Any = None
        try:
            row = json.loads(line, object_pairs_hook=_distinct)
            if not isinstance(row, dict):
                raise ValueError("it is no object")
            verifier.apply(link_of_row(row))
        except (ValueError, RecursionError) as error:
            place: dict[str, Any] = row if isinstance(row, dict) else {}
            fault = Fault.UNCHAINED if "account_id" in place and "chain" not in place else Fault.ALTERED
            text = f"{name} line {number}: {error}"
            verifier.refuse(fault, *_place(place), text)
        entries += isinstance(row, dict) and "postings" in row
    return entries


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(file, 1):
        if line.strip():
            yield number, line


def _place(row: dict[str, Any]) -> tuple[int, int, str, int]:
    """As much as can be told; -1 where it cannot."""

    def number(name: str) -> int:
        value = row.get(name)
        return value if type(value) is int else -1

    return number("partition"), number("offset"), str(row.get("account_id", "")), number("seq")
