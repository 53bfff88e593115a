"""``tidemark audit --who``: who gave which command, from the record on the log, whose chain is followed meanwhile."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from common.contracts.command_records import CommandRecord
from common.contracts.topics import AUDIT_COMMANDS
from common.fleet_topics import settle_groups
from common.ledger.chain import ChainFinding, ChainVerifier
from streams.edges.reader import CommittedReader
from streams.process.settings import Settings

from tidemark.console import CommandError

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Recorded:
    """Records that were asked for, by time of the decision; how many there are at all, and what is wrong with them."""

    records: Sequence[CommandRecord]
    count: int
    findings: Sequence[ChainFinding]


async def read_records(settings: Settings, since: datetime | None = None, subject: str = "") -> Recorded:
    """Every record of the committed log is read, for its chain; those of ``subject``, decided from ``since`` on, are
    returned. Raises CommandError where one is no record.
    """
    await settle_groups(settings.kafka.bootstrap)
    verifier = ChainVerifier(AUDIT_COMMANDS.name)
    from_ns = 0 if since is None else int(since.timestamp() * NS_PER_S)
    found: list[CommandRecord] = []
    async with CommittedReader(settings, [AUDIT_COMMANDS], from_beginning=True, client_id="audit-who") as reader:
        async for messages in reader.batches_until(await reader.ends()):
            for message in messages:
                try:
                    verifier.apply_message(message)
                    record = message.body
                except ValueError as error:
                    place = f"{AUDIT_COMMANDS.name} {message.partition}/{message.offset}"
                    raise CommandError(f"{place} is no record: {str(error).splitlines()[0]}") from error
                if record.decided_ns >= from_ns and subject in ("", record.who.subject):
                    found.append(record)
    found.sort(key=lambda record: record.decided_ns)
    return Recorded(found, verifier.entries, verifier.conclude())
