"""``tidemark audit --verify-chain``: the chain of an export or of the committed log, against heads that were kept."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from common.contracts.topics import RISK_LEDGER
from common.fleet_topics import settle_groups
from common.ledger.chain import ChainFinding, ChainVerifier, Head, as_dict, head_text, parse_head
from common.ledger.gate_rows import gate_stores
from streams.edges.reader import CommittedReader
from streams.process.settings import Settings

from tidemark.audit.copies import read_gate_changelog_heads, read_gate_store_heads
from tidemark.audit.export import verify_export
from tidemark.console import CommandError
from tidemark.state import Addresses

APPLIED_AT_ONCE: Final = 500
STORES_BEHIND_S: Final = 10.0
POLL_S: Final = 0.2
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class ChainReport:
    """Result of the verification."""

    entries: int
    heads: Mapping[int, Head]
    findings: Sequence[ChainFinding]

    def as_dict(self) -> dict[str, Any]:
        return {
            "entries": self.entries,
            "heads": [head_text(partition, head) for partition, head in self.heads.items()],
            "faults": [as_dict(finding) for finding in self.findings],
        }


def kept_heads(arguments: Iterable[str], file: Path | None) -> list[tuple[int, Head]]:
    """Heads of the command line and of a file, one per line. Raises CommandError where one is none."""
    try:
        lines = file.read_text("utf-8").splitlines() if file is not None else []
        return [parse_head(text) for text in (*arguments, *(line for line in lines if line.strip()))]
    except OSError as error:
        raise CommandError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise CommandError(f"{error}; `tidemark audit --verify-chain` prints heads as they are wanted here") from error


def verifier_with(heads: Iterable[tuple[int, Head]]) -> ChainVerifier:
    """Raises CommandError where two heads say different things of one place."""
    verifier = ChainVerifier()
    try:
        for partition, head in heads:
            verifier.expect(partition, head)
    except ValueError as error:
        raise CommandError(f"the heads disagree: {error}") from error
    return verifier


def verify_files(files: Sequence[Path], heads: Iterable[tuple[int, Head]]) -> ChainReport:
    """The chain of an export."""
    verifier = verifier_with(heads)
    verify_export(verifier, files)
    return ChainReport(verifier.entries, verifier.heads(), verifier.conclude())


async def verify_log(
    settings: Settings, where: Addresses, heads: Iterable[tuple[int, Head]], progress: Progress = lambda *_: None
) -> ChainReport:
    """The chain of the committed log, which must hold the gate's own heads and end with them."""
    await settle_groups(settings.kafka.bootstrap)
    stores = gate_stores(Path(where.data_dir)) if where.data_dir else []

    async def gate_heads() -> list[tuple[int, Head]]:
        return read_gate_store_heads(stores) if stores else await read_gate_changelog_heads(settings)

    verifier = verifier_with([*heads, *await gate_heads()])
    async with CommittedReader(settings, [RISK_LEDGER], from_beginning=True, client_id="audit-chain") as reader:
        ends = await reader.ends()
        goal = sum(ends.values())
        async for messages in reader.batches_until(ends):
            for number, message in enumerate(messages):
                try:
                    verifier.apply_message(message)
                except ValueError as error:
                    raise CommandError(
                        f"{RISK_LEDGER.name} {message.partition}/{message.offset} is no ledger entry: "
                        f"{str(error).splitlines()[0]}"
                    ) from error
                if number % APPLIED_AT_ONCE == 0:
                    await asyncio.sleep(0)
            progress("following the chain", min(goal, sum(reader.positions.values())), goal)
    read = verifier.heads()
    # A store is written after its commit: give it the time that takes before its head counts as the end.
    deadline = time.monotonic() + STORES_BEHIND_S
    now = dict(await gate_heads())
    while any(now.get(p, Head(0, "")).seq < head.seq for p, head in read.items()) and time.monotonic() < deadline:
        await asyncio.sleep(POLL_S)
        now = dict(await gate_heads())
    verifier.check_end((partition, now.get(partition, Head(0, ""))) for partition in read)
    return ChainReport(verifier.entries, read, verifier.conclude())
