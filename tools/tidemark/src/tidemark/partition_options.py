"""Options about partitions and brokers, of commands that create topics."""

from typing import Annotated

import typer
from common.contracts.topics import GROUPS
from common.fleet_topics import group_partitions
from streams.model.topics import DEFAULT_PARTITIONS

PartitionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--partitions",
        metavar="[GROUP=]N",
        help=f"Of topics that are created: of every co-partition group, or of one of "
        f"{', '.join(group.name for group in GROUPS)}; repeatable. Default: the cluster's, else {DEFAULT_PARTITIONS}.",
    ),
]

BrokersOption = Annotated[
    int, typer.Option("--brokers", help="1, or 3: every record is on each of them, and two have it before it counts.")
]


def chosen_partitions(asked: list[str] | None) -> dict[str, int]:
    """Group → number of partitions, of ``PartitionsOption``."""
    try:
        return group_partitions(asked or ())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--partitions") from error


def checked_brokers(brokers: int, replication: int | None = None) -> None:
    """Raises BadParameter where no cluster of that many can be started, or not so many replicas be on it."""
    if brokers not in (1, 3):
        raise typer.BadParameter("1 or 3: a quorum is odd", param_hint="--brokers")
    if replication is not None and replication > brokers:
        raise typer.BadParameter(f"each of {replication} replicas needs a broker", param_hint="--replication")
