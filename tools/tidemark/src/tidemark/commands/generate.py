"""``tidemark generate``."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from tidemark import console


def generate(
    file: Annotated[Path, typer.Argument(help="NAME.pcap: a capture of the line; anything else: framed ITCH 5.0.")],
    plan: Annotated[
        str,
        typer.Option("--plan", help="SECONDS@RATE or SECONDS@FROM..TO, like 60@1M..7M,30@2x,5@10x; x: times --rate."),
    ] = "",
    rate: Annotated[int, typer.Option("--rate", min=1, help="Events per second of the exchange's time.")] = 20_000,
    symbols: Annotated[int, typer.Option("--symbols", min=1, max=8_000)] = 500,
    seconds: Annotated[int, typer.Option("--seconds", min=1, help="Length of the day without a plan.")] = 60,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same bytes.")] = 1,
    day: Annotated[
        datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="The exchange's day; default: today.")
    ] = None,
    venues: Annotated[
        str,
        typer.Option(
            "--venues", help="Like XNAS,XBOS,XPHL: a file NAME.VENUE.… of each; the same stocks, its own orders."
        ),
    ] = "",
    gaps: Annotated[int, typer.Option("--gaps", min=0, max=1_000, help="Packets of a thousand that are lost.")] = 0,
    duplicates: Annotated[int, typer.Option("--duplicates", min=0, max=1_000, help="… that come twice.")] = 0,
    reorders: Annotated[int, typer.Option("--reorders", min=0, max=1_000, help="… that the next one overtakes.")] = 0,
    bad_stamps: Annotated[
        int, typer.Option("--bad-stamps", min=0, max=1_000, help="… with a stamp that no day has.")
    ] = 0,
) -> None:
    """Write a synthetic day with a rate plan; a capture can be damaged, and NAME.pcap.truth.json says how."""
    from ingest.domain.damage import Damage
    from ingest.domain.exchange import ExchangeOptions
    from ingest.domain.rate_plan import RatePlanError
    from ingest.feeds.generator import Generated, write_day, write_venues

    damage = Damage(gaps, duplicates, reorders, bad_stamps, seed)
    with console.reported():
        if file.suffix != ".pcap" and damage != Damage(seed=seed):
            raise console.CommandError("only a capture can be damaged: name it NAME.pcap")
        options = ExchangeOptions(symbols=symbols, seed=seed, rate=rate, duration_s=seconds)
        wanted = Generated(options, (day or datetime.now(UTC)).date(), plan, damage)
        try:
            written = write_venues(file, wanted, _names(venues)) if venues else {file: write_day(file, wanted)}
        except RatePlanError as error:
            raise console.CommandError(f"--plan: {error}") from error
        except OSError as error:
            raise console.CommandError(f"{file}: {error.strerror or error}") from error
    for path, truth in written.items():
        console.err.print(f"{truth.messages:,} messages in {path}")


def _names(text: str) -> list[str]:
    """Names of venues. Raises CommandError."""
    names = [name.strip() for name in text.split(",")]
    if len(set(names)) < len(names) or not all(name.isalnum() for name in names):
        raise console.CommandError(f"--venues: {text!r} is no list of names of letters and digits, each once")
    return names
