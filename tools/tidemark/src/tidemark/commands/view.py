"""``tidemark view``: the rows for people in Redis."""

from typing import Annotated

import typer
from common.contracts.views import VIEW_WRITERS, WRITER_VIEW, view_channel
from redis.exceptions import RedisError
from streams.views.redis_client import redis_client

from tidemark import console
from tidemark.options import DEFAULT_STATE, RedisOption, StateDirOption, addresses
from tidemark.state import StateDir

view = typer.Typer(
    help="Have the rows for people in Redis written anew.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)


@view.callback()
def _views() -> None:
    """Keeps ``refill`` a command of its own while it is the only one."""


@view.command("refill")
def refill(
    stage: Annotated[str, typer.Argument(help=f"Whose views: {', '.join(sorted(set(VIEW_WRITERS.values())))}.")],
    partition: Annotated[int | None, typer.Option("--partition", "-p", help="Only of this one; default: all.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, it only says what it would do.")] = False,
    redis: RedisOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Have a stage write all its views anew from its tables, under a new epoch.

    The stage goes on meanwhile and nothing is lost: the rows are copies. Their writer notices that Redis does not know
    their epoch any more, which is what this command sees to.
    """
    where = addresses(StateDir(state_dir), redis_url=redis)

    async def main() -> None:
        if stage not in VIEW_WRITERS.values():
            raise console.CommandError(f"{stage!r} writes no views; {', '.join(sorted(set(VIEW_WRITERS.values())))} do")
        key = view_channel(WRITER_VIEW, stage)
        try:
            async with redis_client(where.redis_url, "refill") as client:
                known = sorted(int(number) for number in await client.hkeys(key))
                chosen = [number for number in known if partition in (None, number)]
                if not yes:
                    console.err.print(f"nothing was done; --yes has partitions {chosen} of {stage} written anew")
                    return
                if chosen:
                    await client.hdel(key, *map(str, chosen))
        except (RedisError, OSError) as error:
            raise console.CommandError(f"Redis gave no answer: {error}") from error
        console.out.print(
            f"partitions {chosen} of {stage} are written anew; /health/ready of the service shows how far"
        )

    console.run(main())
