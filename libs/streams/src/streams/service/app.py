"""The worker of a service: a ``faust.App`` with stages, a source, tails and projections.

Control plane: ordinary Faust agents; each service runs one that watches its dead-letter topics. Data and money plane:
stages, which own their consumers, tables and transactional producers. Started as Faust users expect:
``python -m risk worker``.
"""

import gc
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import faust
import mode.loop
from fastapi import FastAPI
from faust.app.base import BootStrategy
from faust.cli.base import AppCommand, option

from streams.edges.followers import Callback, Positions, Projection, Sink, Tail
from streams.edges.sender import Sender
from streams.edges.source import Feed, Source, SourceService
from streams.kafka.admin import create_topics
from streams.kafka.broker_watch import is_broker_away, watch_brokers
from streams.kafka.kafka_log import KafkaLog
from streams.kafka.partition_counts import settle
from streams.kafka.security import password, tls_context
from streams.model.dead_letters import letter_of
from streams.model.declaration import BatchHandler, Continues, Handler, RowRecords, Stage, rows_one_by_one
from streams.model.framing import SchemaUnknown
from streams.model.message import Message, View
from streams.model.tables import FIRST_VERSION, Migration, Snapshotted, TableDeclaration, Tables, Verify
from streams.model.topics import Topic, changelog_topic, register_topic
from streams.process import metrics
from streams.process.backoff import Backoff
from streams.process.logs import configure_logs, get_logger
from streams.process.settings import KafkaSettings, Settings
from streams.process.telemetry import configure_telemetry
from streams.service.awaited_topics import AwaitedTopics
from streams.service.frame import Frame
from streams.service.operations import Health, operations_router
from streams.service.web import NO_REQUEST_SPANS
from streams.stage.runner import StageService
from streams.stage.task import Task
from streams.views.publisher import ViewPublisher
from streams.views.redis_client import redis_client

_log = get_logger(__name__)
GC_THRESHOLD = 300_000
STOP_MAX_S = 20.0


def calm_garbage_collection() -> None:
    """Once everything is loaded: what is there stays, and little of what comes is cyclic.

    With the default threshold the collector took 11 to 28 % of the gate's handler (bench/gate_domain.py), for nothing;
    with 100,000 it was 3 % of the service, whose batches make more objects than that.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)


async def topics(self: AppCommand, replication: int) -> None:
    """Create the topics of the stages that are missing, with as many partitions as their group has on the cluster."""
    app = self.app
    await app.settle()
    created = await create_topics(app.settings.kafka.bootstrap, app.declared_topics, replication)
    self.say("\n".join(f"created {name}" for name in created) or "every topic exists")


class ControlBoot(BootStrategy):  # type: ignore[misc]
    """Faust without its own web server: the operators' pages are FastAPI's, one way for every service."""

    enable_web = False

    def _should_enable_kafka_consumer(self) -> bool:
        """Faust crashes where it is to subscribe to nothing: without agents there is no control consumer."""
        return len(self.app.agents) > 0


class ControlWorker(faust.Worker):  # type: ignore[misc]
    """Faust's worker, which leaves logging to us."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "override_logging": False, "redirect_stdouts": False})
        if not sys.stdout.isatty():
            self.spinner = None


class App(faust.App):  # type: ignore[misc]
    """One per process. Nothing is opened before the worker starts."""

    BootStrategy = ControlBoot

    def __init__(
        self,
        name: str,
        settings: Settings,
        *,
        register: Topic | None = None,
        conflated_views: frozenset[str] = frozenset(),
    ) -> None:
        """``register``: where it is kept which stages ever worked on a cluster; it is made where it is missing.

        ``conflated_views``: names of views of which the newest row per key is enough.
        """
        super().__init__(
            f"{name}.control",
            broker=[f"kafka://{server}" for server in settings.kafka.bootstrap.split(",")],
            broker_credentials=_credentials(settings.kafka),
            store="memory://",
            datadir=str(settings.data_dir / name / "control"),
            Worker=ControlWorker,
            topic_disable_leader=True,
            topic_allow_declare=False,
            autodiscover=False,
            broker_session_timeout=settings.session_timeout_ms / 1000,
            broker_heartbeat_interval=settings.heartbeat_interval_ms / 1000,
        )
        self.service_name = name
        self._is_process = False
        self.settings = settings
        self._register = register or register_topic()
        self._conflated = conflated_views
        self.health = Health(name)
        self.health.add("broker", lambda: (not is_broker_away(), {"answers": not is_broker_away()}))
        self.sender = Sender(settings, name)
        self._awaited = AwaitedTopics(settings, name, self._needed_topics, self._register)
        self.health.add("topics", self._awaited.ready)
        self._stages: list[Stage] = []
        self._services: dict[str, StageService] = {}
        self._sources: list[Source] = []
        self.reads: list[Topic] = []
        """Topics that stages, tails and projections read. Which ones a service writes says the topic table."""
        self._web = FastAPI(title=name, docs_url=None, redoc_url=None, telemetry=NO_REQUEST_SPANS)
        self._frame: Frame | None = None
        self._publisher: ViewPublisher | None = None

    # --- declarations ----------------------------------------------------------------------------------------------

    def stage(
        self,
        *,
        name: str,
        inputs: Sequence[Topic],
        outputs: Sequence[Topic],
        changelog: Topic | None = None,
        tables: Sequence[TableDeclaration] = (),
        views: Callable[[Tables], Iterable[View]] | None = None,
        shows: Mapping[str, Callable[[bytes], View]] | None = None,
        verify: Verify | None = None,
        batch_handler: BatchHandler | None = None,
        continues: Mapping[Topic, Continues] | None = None,
        version: int = FIRST_VERSION,
        migrations: Mapping[int, Migration] | None = None,
        fences: Topic | None = None,
        reads_framed: Mapping[Topic, int] | None = None,
        rest: float = 0.0,
        row_records: RowRecords = rows_one_by_one,
    ) -> Callable[[Handler], Handler]:
        """Registers an exactly-once stage on ``handler(message, tables, now_ns) -> outputs and views``.

        Without ``changelog`` it is named after the application and the stage.
        ``views`` lists every view row of a partition, to refill Redis; ``shows`` names tables of which each changed row
        has a view, whatever the handler returned; ``verify`` holds restored rows to invariants; ``batch_handler`` says
        to a batch what the handler would say, maybe twice: not beside bulk state. ``continues`` holds the state to the
        end of an output before anything is written. ``version`` is that of the tables' rows, ``migrations`` lead from
        older ones; fences of the topic ``fences`` stop partitions. ``reads_framed``, ``rest``, ``row_records``: see
        ``Stage``.
        """
        if batch_handler is not None and any(isinstance(table, Snapshotted) for table in tables):
            raise ValueError(f"stage {name}: bulk state cannot be taken back, so it may have no batch handler")

        def register(handler: Handler) -> Handler:
            stage = Stage(
                self.service_name,
                name,
                handler,
                tuple(inputs),
                tuple(outputs),
                changelog or changelog_topic(self.service_name, name, inputs[0].partitioning),
                tuple(tables),
                views,
                shows or {},
                verify or {},
                batch_handler,
                continues or {},
                self._register,
                version,
                migrations or {},
                fences,
                reads_framed=reads_framed or {},
                rest=rest,
                row_records=row_records,
            )
            self._add_stage(stage)
            return handler

        return register

    def _add_stage(self, stage: Stage) -> None:
        self._stages.append(stage)
        self.reads += [*stage.inputs, *(table.topic for table in stage.globals())]
        service = StageService(stage, self.settings, self._views_publisher() if self.settings.redis.url else None)
        self._services[stage.name] = self.add_dependency(service)
        self.health.add(f"stage {stage.name}", service.ready)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Stages that were registered so far."""
        return tuple(self._stages)

    def tasks(self, stage: str) -> list[Task]:
        """Tasks of the stage of that name in this process, to read their ``bulk_state``, ``committed_tables``."""
        return self._services[stage].tasks()

    @property
    def declared_topics(self) -> tuple[Topic, ...]:
        """Every topic that a stage reads, with its dead letters, or writes; changelogs included."""
        found: dict[str, Topic] = {}
        for stage in self.stages:
            dead_letters = (topic.dead_letter_topic for topic in stage.inputs)
            shared = (table.topic for table in stage.globals())
            for topic in (*stage.inputs, *dead_letters, *stage.outputs, *shared, stage.changelog):
                found[topic.name] = topic
        return tuple(found.values())

    def _needed_topics(self) -> list[Topic]:
        """Everything without which nothing can be served; dead letters are only needed for poison."""
        writers: list[Stage | Source] = [*self._stages, *self._sources]
        written = [topic for each in writers for topic in (*each.outputs, each.changelog)]
        return list({topic.name: topic for topic in (*self.reads, *written)}.values())

    def source(self, *, name: str, outputs: Sequence[Topic], changelog: Topic) -> Callable[[Feed], Feed]:
        """Registers ``feed(position) -> batches``; a batch's outputs and position are committed together."""

        def register(feed: Feed) -> Feed:
            source = Source(self.service_name, name, feed, tuple(outputs), changelog)
            self._sources.append(source)
            service = SourceService(source, self.settings)
            self.add_dependency(service)
            self.health.add(f"source {name}", service.ready)
            return feed

        return register

    def tail(
        self, topics: Sequence[Topic], callback: Callback, on_started: Callable[[Positions], None] | None = None
    ) -> Tail:
        """Calls back with every record committed from now on, of all partitions.

        ``on_started`` is told where it begins, and begins anew after an interruption.
        """
        self.reads += topics
        tail = Tail(self.settings, topics, callback, on_started, app=self.service_name)
        self.add_dependency(tail)
        self.health.add("tail", tail.ready)
        return tail

    def projection(self, topics: Sequence[Topic], sink: Sink, backoff_max_s: float | None = None) -> Projection:
        """Keeps ``sink`` equal to the log."""
        self.reads += topics
        projection = Projection(self.settings, topics, sink, backoff_max_s, app=self.service_name)
        self.add_dependency(projection)
        return projection

    async def settle(self) -> None:
        """Gives co-partition groups their numbers, where the cluster has some. Raises Retriable without an answer."""
        log = KafkaLog(self.settings, f"{self.service_name}-topics")
        await log.start()
        try:
            await settle(log, self.declared_topics, self._register)
        finally:
            await log.stop()

    def serve(self, web: FastAPI) -> None:
        """Serves the service's own HTTP API beside the operators' pages."""
        self._web = web

    def run_service(self, service: Any) -> None:
        """Starts and stops a ``mode.Service`` of the application's own with the worker."""
        self.add_dependency(service)

    def _views_publisher(self) -> ViewPublisher:
        if self._publisher is None:
            backoff = Backoff(self.settings.views.retry_min_s, self.settings.views.retry_max_s)
            redis = redis_client(self.settings.redis.url, socket_connect_timeout=2, socket_timeout=5)
            self._publisher = ViewPublisher(
                self.service_name, redis, self.settings.views.queue_max, backoff, self._conflated
            )
            self.health.add("views", self._publisher.ready)
        return self._publisher

    # --- control plane ---------------------------------------------------------------------------------------------

    def watch_dead_letters(self, topics: Sequence[Topic]) -> None:
        """Runs a Faust agent that reports every dead letter of these topics."""
        queues = {topic.dead_letters: topic.dead_letter_topic for topic in topics}
        channel = self.topic(*queues, key_serializer="raw", value_serializer="raw")

        async def dead_letters(stream: Any) -> None:
            async for event in stream.events():
                raw, headers = event.message, [*dict(event.headers).items()]
                message = Message(queues[raw.topic], raw.partition, raw.offset, raw.key, raw.value, 0, headers)
                metrics.DEAD_LETTERS_SEEN.labels(self.service_name, raw.topic.removesuffix(".dlq")).inc()
                try:
                    said = letter_of(message).model_dump(exclude={"value"}, exclude_none=True)
                except (ValueError, SchemaUnknown) as error:  # no stage has written it, or one of a newer release
                    said = {"topic": raw.topic, "offset": raw.offset, "error": f"unreadable: {error}"}
                _log.error("dead_letter_seen", **said, traceparent=message.traceparent)

        self.agent(channel, name=f"{self.service_name}.dead_letters")(dead_letters)

    # --- life ------------------------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        configure_telemetry(self.service_name, self.settings)
        self._web.include_router(operations_router(self.health))
        self._frame = Frame(self.service_name, self.settings, self.health, self._web)
        await self._frame.start()
        await self._awaited.there(lambda: self.should_stop, self.sleep)
        if self.should_stop:
            return
        await self.sender.start()
        if self._publisher:
            self._publisher.start()
        await super().on_start()
        calm_garbage_collection()

    async def on_stop(self) -> None:
        await super().on_stop()
        if self._publisher:
            await self._publisher.stop()
        await self.sender.stop()
        if self._frame:
            await self._frame.stop()

    async def stop(self) -> None:
        """A process of its own ends in bounded time: what hangs now must not keep the next start from happening."""
        if self._is_process:
            deadline = threading.Timer(STOP_MAX_S, self._give_up)
            deadline.daemon = True
            deadline.start()
        await super().stop()

    @staticmethod
    def _give_up() -> None:
        _log.error("stop_timed_out", after_s=STOP_MAX_S)
        os._exit(os.EX_TEMPFAIL)

    def main(self) -> None:
        """The command line of the service: Faust's own, with our logs."""
        self._is_process = True
        settings = self.settings
        configure_logs(self.service_name, settings.log_level)
        watch_brokers(settings.kafka.bootstrap, settings.restart.backoff_min_s, settings.restart.backoff_max_s)
        mode.loop.use("uvloop")  # FAUST_LOOP is read when faust is imported, which has happened
        Path(str(self.conf.datadir)).mkdir(parents=True, exist_ok=True)
        self.command(option("--replication", type=int, default=1, help="replicas of each partition"))(topics)
        super().main()


def _credentials(kafka: KafkaSettings) -> faust.SSLCredentials | faust.SASLCredentials | None:
    """``client_security`` in Faust's words. Raises as that does."""
    context, sasl = tls_context(kafka), kafka.sasl
    if sasl.mechanism is not None:
        return faust.SASLCredentials(
            username=sasl.username,
            password=password(sasl),
            ssl_context=context,
            mechanism=sasl.mechanism,
        )
    return None if context is None else faust.SSLCredentials(context=context)
