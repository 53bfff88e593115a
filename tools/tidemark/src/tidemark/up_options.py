"""Options of ``tidemark up``, as typer reads them."""

from datetime import datetime
from typing import Annotated

import typer

DetachOption = Annotated[
    bool, typer.Option("--detach", "-d", help="Return once everything is ready; `tidemark down` stops it.")
]
ReaderOption = Annotated[
    str, typer.Option("--reader", help="Name of a feed reader instead, with its --source and --option.")
]
SourceOption = Annotated[
    list[str] | None, typer.Option("--source", help="With --reader: a file or an address. May be repeated.")
]
OptionOption = Annotated[list[str] | None, typer.Option("--option", help="With --reader: name=value. May be repeated.")]
SeedOption = Annotated[int, typer.Option(help="Seed of the synthetic market.")]
RateOption = Annotated[float, typer.Option(min=1, help="Events per second of the synthetic market.")]
SymbolsOption = Annotated[int, typer.Option(min=1, help="Symbols of the synthetic market.")]
UdpPortOption = Annotated[int, typer.Option("--udp-port", min=0, max=65535, help="Port of the line.")]
UdpHostOption = Annotated[
    str,
    typer.Option("--udp-host", help="Address, or interface of the group, to receive on; default: this machine."),
]
UdpGroupOption = Annotated[str, typer.Option("--udp-group", help="Multicast group of the line.")]
UdpBOption = Annotated[
    str, typer.Option("--udp-b", help="Side B of the line, host:port or group:port, arbitrated with the other.")
]
UdpSessionOption = Annotated[
    str, typer.Option("--udp-session", help="MoldUDP64 session, and no other; default: the first that speaks.")
]
UdpRequestOption = Annotated[str, typer.Option("--udp-request", help="Re-request server, host:port or [IPv6]:port.")]
DayOption = Annotated[
    datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="The day of the line; default: today.")
]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Forget all data of earlier starts first.")]
AnyPortsOption = Annotated[bool, typer.Option("--any-ports", help="Any free ports instead of the usual ones.")]
AccessOption = Annotated[
    bool,
    typer.Option(
        "--access/--open",
        help="Ask everybody who he is, by an issuer of the fleet's own or TIDEMARK_ACCESS_ISSUER; or nobody.",
    ),
]
SecureOption = Annotated[
    bool,
    typer.Option(
        "--secure",
        help="Have Kafka, Redis and PostgreSQL speak TLS alone and know every service; --access, too. Data of an open "
        "fleet are not taken over: begin with --fresh.",
    ),
]
TracesOption = Annotated[bool, typer.Option("--traces", help="Start Jaeger, too, and record every trace there.")]
RegistryOption = Annotated[
    bool, typer.Option("--registry", help="Start a schema registry, too, and write the log as Avro.")
]
OrdersApartOption = Annotated[
    bool,
    typer.Option(
        "--orders-apart",
        help="Run HTTP API, stages and projection of the orders service as three processes: where cores are many.",
    ),
]
ReplicationOption = Annotated[
    int | None,
    typer.Option("--replication", min=1, help="Replicas of a topic that is created; default: one on each broker."),
]
