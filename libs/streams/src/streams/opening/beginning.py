"""How a partition's changelog is begun anew by an operator: whoever could still write is shut out, then all is said.

The rows of a changelog that lost some are written once more, whole, with the positions of its inputs and what it was
made from; the register says from which offset on the changelog has everything (``log_identity.begun_anew``). All of it
is one transaction, which the operator's own command carries out, with the record of it.
"""

from collections.abc import Collection, Iterable, Mapping

from streams.model.errors import Refused
from streams.model.log import Log, Partition, Record
from streams.opening.log_identity import begun
from streams.state.log_rows import log_key, meant_for
from streams.state.store import position_key


async def shut_out(log: Log, stage: str, changelog: Partition) -> None:
    """Every producer of a stage, by its full name, that a broker knows: a changelog that lost rows may have lost the
    one that names its owner, and a worker that stood still for long may still believe to be it.

    When this returns, the changelog's end stands still: nobody's records come any more, nor markers.
    """
    for transactional_id in sorted(await log.known_ids(f"{stage}.")):
        await (await log.fence(transactional_id, [changelog])).close()
        # Markers are written after they are promised; a second time the coordinator answers when they are there.
        await (await log.fence(transactional_id)).close()


async def beginning(
    log: Log,
    changelog: Partition,
    registered: tuple[Partition, bytes],
    end: int,
    *,
    rows: Mapping[bytes, bytes],
    gone: Collection[bytes],
    inputs: Iterable[str],
    positions: Mapping[str, int],
    now_ms: int,
) -> dict[Partition, list[Record]]:
    """Records to be written, by partition; an input without a position is read from its beginning.

    ``end``: where the changelog ended when the rows were made. Raises Refused where it has grown since: somebody works
    on the partition, and the rows would take back what was done meanwhile.
    """
    if (now := await log.high_watermark(changelog)) != end:
        raise Refused(f"{changelog} has grown from {end} to {now} meanwhile: a worker writes to it")
    identity = await log.identity(changelog.topic)
    written: list[tuple[bytes, bytes | None]] = [meant_for(identity, end)]
    written += [(key, None) for key in sorted(gone)]
    written += rows.items()
    for name in inputs:
        written.append((log_key(name), (await log.identity(name)).encode()))
        position = positions.get(name)
        written.append((position_key(name), None if position is None else b"%d" % position))
    register, key = registered
    return {
        changelog: [Record(key, value, now_ms) for key, value in written],
        register: [Record(key, begun(identity, end), now_ms)],
    }
