"""Output for the user: results on standard output, everything else on standard error."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, TypeVar

import typer
from common.contracts.values import E4
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from streams.model.errors import LogError

from tidemark.errors import CommandError as CommandError
from tidemark.errors import ControlError, FleetError, StateError, UnknownTopicError

T = TypeVar("T")

out: Final = Console(highlight=False)
err: Final = Console(stderr=True, highlight=False)

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells have it."""


EXPECTED: Final = (CommandError, StateError, FleetError, ControlError, UnknownTopicError)
"""Errors whose text is all that the user needs."""


async def _interruptible(main: Coroutine[Any, Any, T]) -> T:
    """Ends ``main`` as Ctrl-C does when SIGTERM comes, so that whatever it started is stopped."""
    task = asyncio.ensure_future(main)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        # A second signal finds no handler and ends the process at once; children die with it.
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGINT)
        err.print("stopping …")
        task.cancel()

    loop.add_signal_handler(signal.SIGTERM, stop)
    loop.add_signal_handler(signal.SIGINT, stop)
    return await task


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Expected errors end the program with their text and exit code 1, Ctrl-C and SIGTERM with 130."""
    logging.getLogger().addHandler(logging.NullHandler())  # what goes wrong is said once, by us
    try:
        yield
    except (KeyboardInterrupt, asyncio.CancelledError):
        err.print("stopped")
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever read our output is gone (`… | head`): nothing is wrong, and nothing is left to say to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except LogError as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}")
        err.print("`tidemark up` starts a fleet on this machine; --bootstrap names a Kafka elsewhere")
        raise typer.Exit(1) from None
    except EXPECTED as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}")
        raise typer.Exit(1) from None


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs a command's coroutine under ``reported``."""
    with reported():
        return asyncio.run(_interruptible(main))


def price_text(price_e4: int) -> str:
    """As people write it."""
    sign, whole = "-" if price_e4 < 0 else "", abs(price_e4)
    return f"{sign}{whole // E4}.{whole % E4:04d}"


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error, gone at the end. It is called with what is done, how much, and of how much (0: any)."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bars:
        bar = bars.add_task("", total=None)

        def show_progress(what: str, done: int, of: int) -> None:
            bars.update(bar, description=what, completed=done, total=of or None)

        yield show_progress
