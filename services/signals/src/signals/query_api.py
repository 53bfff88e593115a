"""Questions about symbols over HTTP. They read the stage's state between two batches, or a replay beside it."""

from typing import Annotated, Final

from common.access.http import Admission, RequireIdentity
from common.access.identities import identities_of
from common.contracts.problems import PROBLEMS
from common.contracts.topics import MD_TICKS
from common.contracts.values import INT64_MAX, Symbol
from common.problems import Problem, handle_problems, problem_responses
from fastapi import APIRouter, FastAPI, Path, Query
from streams.service.app import App
from streams.service.web import NO_REQUEST_SPANS
from streams.stage.task import Task

from signals import metrics
from signals.domain.market import MarketState
from signals.queries import LEVELS_MAX, QUESTIONS, OfSymbol, answer, instrument_of
from signals.replays import Moment, NoAnswer, PastQuestion, Replays
from signals.settings import SignalsSettings
from signals.stages import MARKET
from signals.venue_queries import VenuesAnswer, venues_of

STAGE: Final = "market"
EVENTS: Final = "events"
_DESCRIPTION: Final = """
What the market of a symbol is now, or was as of a record of `md.ticks` (`at_offset`) or a time of the exchange
(`at_ns`). Prices are integers in 1e-4 currency units (`_e4`), sizes whole shares, times nanoseconds since the epoch.
What is now is the state that the service works on, a transaction ahead of what is committed at most. Errors are problem
details (RFC 9457).
"""
_SUMMARIES: Final = {
    "depth": "Price levels of both sides, best first",
    "spread": "Best prices and sizes, and how far they are apart",
    "imbalance": "Shares of both sides, their imbalance, and the microprice",
    "indicators": "All of it, and the content so far of the open windows",
}
_ANSWERS: Final = problem_responses(
    status_400="malformed request",
    status_401="no credential, or one that is not good",
    status_403="no right to this request",
    status_404="no such symbol here, or the log does not hold the moment; see `type`",
    status_429="more than a fair share",
    status_503="other moments are being replayed, or this one took too long; see `type`",
)
SymbolPath = Annotated[Symbol, Path(examples=["AAPL"])]
LevelsQuery = Annotated[int, Query(ge=1, le=LEVELS_MAX, description="price levels of each side at most")]
OffsetQuery = Annotated[
    int | None, Query(ge=0, le=INT64_MAX, description="as of this record of the symbol's partition of `md.ticks`")
]
TimeQuery = Annotated[int | None, Query(ge=0, le=INT64_MAX, description="as of this time of the exchange, ns")]


class Markets:
    """Answers from the tasks of the app's stage; of the past by ``replays``."""

    def __init__(self, app: App, replays: Replays, *, takes_events: bool) -> None:
        self._app = app
        self._replays = replays
        self._takes_events = takes_events

    async def ask(self, question: str, symbol: str, levels: int, moment: Moment) -> OfSymbol:
        """Raises Problem."""
        is_past = moment != Moment()
        when = "past" if is_past else "now"
        try:
            if moment.at_offset is not None and moment.at_ns is not None:
                raise _problem("malformed-request", "at_offset or at_ns, not both")
            task, market, instrument_id = self._find(symbol)
            if not is_past:
                next_offset = max(market.next_offset, task.positions.get(MD_TICKS.name, 0))
                told = answer(question, market, instrument_id, levels, task.partition, next_offset)
            else:
                told = await self._replayed(question, symbol, levels, moment, task)
        except Problem as problem:
            metrics.QUERIES.labels(question, when, problem.details.type.rpartition(":")[2]).inc()
            raise
        metrics.QUERIES.labels(question, when, "answered").inc()
        return told

    def venues(self, symbol: str) -> VenuesAnswer:
        """Raises Problem."""
        tasks = self._app.tasks(EVENTS) if self._takes_events else []
        found = venues_of(symbol, (tables for task in tasks if (tables := task.committed_tables()) is not None))
        if found is None:
            metrics.QUERIES.labels("venues", "now", "symbol-unknown").inc()
            raise _problem("symbol-unknown", f"partitions of md.events read here: {[task.partition for task in tasks]}")
        metrics.QUERIES.labels("venues", "now", "answered").inc()
        return found

    def _find(self, symbol: str) -> tuple[Task, MarketState, int]:
        served = []
        for task in self._app.tasks(STAGE):
            market = task.bulk_state(MARKET.name)
            if market is None:
                continue
            served.append(task.partition)
            if (instrument_id := instrument_of(market, symbol)) is not None:
                return task, market, instrument_id
        raise _problem("symbol-unknown", f"partitions served here: {sorted(served)}")

    async def _replayed(self, question: str, symbol: str, levels: int, moment: Moment, task: Task) -> OfSymbol:
        layout = f"{task.stage.full_name}.{MARKET.name}"
        asked = PastQuestion(question, symbol, levels, task.partition, moment, task.snapshots_path, layout)
        try:
            with metrics.REPLAYS.time():
                return QUESTIONS[question].model_validate(await self._replays.ask(asked))
        except NoAnswer as why:
            raise _problem(why.problem, str(why)) from None


def _problem(name: str, detail: str) -> Problem:
    kind = PROBLEMS[name]
    return Problem(kind.status, name, kind.title, detail, retry=kind.retry)


def create_query_api(app: App, settings: SignalsSettings) -> FastAPI:
    """Opens nothing; reads the files that the settings of identities name. Raises OSError, ValueError."""
    markets = Markets(app, Replays(settings), takes_events=settings.market_events)
    api = FastAPI(
        title="Tidemark signals",
        version="1",
        description=_DESCRIPTION,
        telemetry=NO_REQUEST_SPANS,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    handle_problems(api)
    router = APIRouter(prefix="/v1/markets/{symbol}", tags=["markets"])
    for question in QUESTIONS:
        _add(router, question, markets)

    @router.get("/venues", summary="Best prices of each venue that writes events, and of all", responses=_ANSWERS)
    async def venues(symbol: SymbolPath) -> VenuesAnswer:
        return markets.venues(symbol)

    api.include_router(router)
    api.add_middleware(
        RequireIdentity, service="signals", admission=Admission("signals", identities_of(settings.access))
    )
    return api


def _add(router: APIRouter, question: str, markets: Markets) -> None:
    async def ask(
        symbol: SymbolPath, levels: LevelsQuery = LEVELS_MAX, at_offset: OffsetQuery = None, at_ns: TimeQuery = None
    ) -> OfSymbol:
        return await markets.ask(question, symbol, levels, Moment(at_offset, at_ns))

    router.add_api_route(
        f"/{question}",
        ask,
        name=question,
        summary=_SUMMARIES[question],
        response_model=QUESTIONS[question],
        response_model_exclude_none=True,
        responses=_ANSWERS,
    )
