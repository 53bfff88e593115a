"""Reads and writes of each service of this checkout: from the services' own declarations and the topic table."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from auditor.truth import TOPICS as AUDITED
from common.contracts import schemas
from common.contracts.schemas import VIEWS, Contract
from common.contracts.topic_documentation import layouts_of
from common.contracts.topics import MD_ALERTS, REF_INSTRUMENTS, TOPICS, Topic
from common.contracts.views import VIEW_WRITERS
from common.contracts.windows import OPTIONAL_WINDOWS
from common.fleet_app import TidemarkApp
from ingest.app import build as build_ingest
from ingest.settings import IngestSettings
from orders.app import build as build_orders
from orders.settings import OrdersSettings
from risk.app import build as build_risk
from risk.settings import RiskSettings
from signals.app import build as build_signals
from signals.settings import SignalsSettings
from streams.model.declaration import Stage

from tidemark import row_layouts
from tidemark.releases.manifest import Manifest, folder_of, made

SERVICES: Final = ("ingest", "signals", "risk", "orders", "push", "auditor")
ALSO_READS: Final[Mapping[str, tuple[Topic, ...]]] = {
    "ingest": (REF_INSTRUMENTS,),
    "risk": (MD_ALERTS,),
    "auditor": AUDITED,
}
"""Topics that are read by no stage, tail or projection by default: the instruments' ids before a source begins, market
alerts where they request halts, and the audit."""
EVERYBODY_WRITES: Final = ("view-envelope", "view-health")
"""Views of every process."""
READS_STATE: Final[Mapping[str, Mapping[str, tuple[int, ...]]]] = {
    "auditor": {row_layouts.PROJECTION: (1,), "rows-risk.gate": (1, 2)}
}
"""State of others that a service reads: tables in PostgreSQL, rows of the gate. A version is added here by whoever
teaches the reader to read it; until then the writer's next release is refused."""
VIEW_CONTRACTS: Final[Mapping[str, str]] = {"order": "order-event", "fill": "execution-report", "break": "risk-break"}
"""View → the message that it shows; every other view is a contract of its own, ``view-…``."""
READS_VIEWS: Final[Mapping[str, tuple[str, ...]]] = {
    "push": (*(name for name, _, _ in VIEWS), *VIEW_CONTRACTS.values()),
    "auditor": ("view-envelope", "view-account"),
}
"""Views that are read from Redis, by contract; the auditor reads orders and fills as messages, too."""


def apps() -> Mapping[str, TidemarkApp]:
    """The services that work on topics, declared as their processes declare them where every stage that is optional is
    asked for: whoever may run it needs its rights, and its rows stand in the matrix. Nothing is opened.
    """
    trader_sessions = [window.name for window in OPTIONAL_WINDOWS if window.gap_ns]
    return {
        "ingest": build_ingest(IngestSettings()),
        "signals": build_signals(SignalsSettings(trader_sessions=trader_sessions)),
        "risk": build_risk(RiskSettings()),
        "orders": build_orders(OrdersSettings()),
    }


def current() -> list[Manifest]:
    """A manifest of every service as it is in this checkout, under the version that its project file has."""
    known = {contract.name: contract for contract in (*schemas.contracts(), *row_layouts.contracts())}
    built = apps()
    return [_manifest(service, built.get(service), known) for service in SERVICES]


def version_in_project(service: str) -> str:
    """The version in the project file of a service's package."""
    text = (folder_of(service) / "pyproject.toml").read_text("utf-8")
    version: str = tomllib.loads(text)["project"]["version"]
    return version


def _manifest(service: str, app: TidemarkApp | None, known: Mapping[str, Contract]) -> Manifest:
    stages = app.stages if app else []
    topics = (*app.reads, *ALSO_READS.get(service, ())) if app else ALSO_READS.get(service, ())
    read = {*_contracts_of(topics), *READS_VIEWS.get(service, ())}
    written = {*_contracts_of(topic for topic in TOPICS if service in topic.writers), *EVERYBODY_WRITES}
    written |= {VIEW_CONTRACTS.get(view, f"view-{view}") for view, by in VIEW_WRITERS.items() if _app_of(by) == service}
    written |= {row_layouts.PROJECTION} if service == "orders" else set()
    reads = {name: _readable(known[name]) for name in read} | _state_read(stages) | dict(READS_STATE.get(service, {}))
    writes = {name: known[name].version for name in written} | {
        name: max(versions) for name, versions in _state_read(stages).items()
    }
    return made(service, version_in_project(service), reads, writes)


def _app_of(stage: str) -> str:
    return stage.partition(".")[0]


def _contracts_of(topics: Iterable[Topic]) -> Iterator[str]:
    """Names of what the topics carry; bytes that mean something to their writer only are no contract."""
    for topic in topics:
        if topic.schema.model is not None:
            yield topic.schema.name
        else:
            yield from layouts_of(topic.schema)


def _readable(contract: Contract) -> tuple[int, ...]:
    """Versions that a reader of this one reads. JSON of every earlier version stands in the log and must be read (see
    ``common.contracts.schemas``); a layout of bytes or rows is read as it is or not at all.
    """
    return tuple(range(1, contract.version + 1)) if contract.kind == "json" else (contract.version,)


def _state_read(stages: Iterable[Stage]) -> dict[str, tuple[int, ...]]:
    """Rows and snapshots: of the stage's own version, and rows of earlier ones as far back as migrations reach."""
    found: dict[str, tuple[int, ...]] = {}
    for stage in stages:
        if stage.changelogged():
            oldest = stage.version
            while oldest - 1 in stage.migrations:
                oldest -= 1
            found[f"rows-{stage.full_name}"] = tuple(range(oldest, stage.version + 1))
        if (snapshotted := stage.snapshotted()) is not None:
            found[f"snapshot-{stage.full_name}"] = (snapshotted.version,)
    return found
