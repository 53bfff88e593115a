"""The table of roles and rights against the code: every endpoint, view and topic has a row, and no row is stale."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

import pytest
from auditor.truth import TOPICS as AUDITED
from common.contracts import rights, rights_documentation
from common.contracts.events import RiskCommand
from common.contracts.rights import (
    COMMANDS,
    ENDPOINTS,
    READERS,
    ROLES,
    SERVICES,
    SQL_IDENTITIES,
    SQL_RIGHTS,
    TOPIC_RIGHTS,
    VIEW_RIGHTS,
    VIEWS,
    WORKERS,
    Reach,
    Role,
    SqlRole,
)
from common.contracts.topics import (
    AUDITOR_FENCES,
    INGEST_FEED_CHANGELOG,
    ORDERS_EXECUTIONS,
    STAGE_INPUTS,
    STAGES,
    TOPICS,
)
from common.contracts.views import VIEW_WRITERS, WRITER_VIEW, view_channel
from fastapi import FastAPI
from orders.rebuild import MIGRATED, tables
from push.domain.topic import SCOPES, WHOLE_VIEWS
from push.service import PushService
from push.settings import PushSettings
from push.web import build_web
from starlette.routing import Mount
from streams.service.operations import Health, operations_router
from tidemark.releases.declared import ALSO_READS, apps

OPERATIONS = {("GET", path) for path in ("/metrics", "/health/live", "/health/ready", "/openapi.json")}


@pytest.fixture(scope="module")
def built() -> Mapping[str, Any]:
    return apps()


def requests(web: FastAPI) -> Iterator[tuple[str, str]]:
    """(method, path) of every route, ``WEBSOCKET`` for a handshake; HEAD goes with GET, files of a mount apart. A route
    that answers 405 is none.
    """
    routes = list(web.routes)
    while routes:
        route: Any = routes.pop()
        if hasattr(route, "original_router"):
            routes += route.original_router.routes
        elif not isinstance(route, Mount) and route.name != "method_not_allowed":
            methods = getattr(route, "methods", None) or {"WEBSOCKET"}
            yield from ((method, route.path) for method in methods if method != "HEAD")


def rows(service: str) -> set[tuple[str, str]]:
    return {(each.method, each.path) for each in ENDPOINTS if each.service == service}


def test_endpoints_of_orders_then_each_has_one_row_and_no_row_is_stale(built: Mapping[str, Any]) -> None:
    found = list(requests(built["orders"]._web))
    assert len(found) == len(set(found))
    assert set(found) == rows("orders") - (OPERATIONS - {("GET", "/openapi.json")})


def test_endpoints_of_push_then_each_has_one_row_and_no_row_is_stale() -> None:
    settings = PushSettings()
    web = build_web(PushService(settings), settings, Health("push"))
    files = {("GET", path) for path in ("/", "/index.html", "/favicon.svg", "/assets/{file}")}
    assert set(requests(web)) | files == rows("push")


def test_endpoints_of_signals_then_each_has_one_row_and_no_row_is_stale(built: Mapping[str, Any]) -> None:
    assert set(requests(built["signals"]._web)) == rows("signals") - (OPERATIONS - {("GET", "/openapi.json")})


@pytest.mark.parametrize("service", ["ingest", "risk", "auditor"])
def test_endpoints_of_a_service_without_an_api_then_they_are_the_operators_pages(service: str) -> None:
    web = FastAPI(docs_url=None, redoc_url=None)
    web.include_router(operations_router(Health(service)))
    assert set(requests(web)) == rows(service) == OPERATIONS


def test_public_rows_then_they_grant_nothing_and_change_nothing() -> None:
    for each in ENDPOINTS:
        assert bool(each.grants) != each.is_public, f"{each.method} {each.path}"
        assert not each.is_public or (each.method == "GET" and not each.path.startswith("/v1/"))


def test_views_then_each_that_push_takes_has_a_row() -> None:
    assert set(VIEWS) == set(SCOPES) | WHOLE_VIEWS


def test_commands_then_each_message_that_changes_an_account_has_a_row() -> None:
    kinds = {member.model_fields["type"].default for member in get_args(get_args(RiskCommand)[0])}
    assert {name.partition(".")[0] for name in COMMANDS} == kinds


def test_roles_then_each_is_explained_and_only_a_trader_is_bound_to_accounts() -> None:
    assert set(ROLES) == set(Role)
    for grants in (*(each.grants for each in ENDPOINTS), *VIEWS.values(), *COMMANDS.values()):
        assert {role for role, reach in grants.items() if reach is Reach.OWN} <= {Role.TRADER}


def test_topics_then_each_has_a_row_dead_letters_included() -> None:
    assert set(READERS) == set(TOPICS)
    names = {topic.name for topic in TOPICS} | {topic.dead_letters for topic in STAGE_INPUTS}
    assert set(TOPIC_RIGHTS) == names
    for topic in TOPICS:
        assert topic.owner in {*TOPIC_RIGHTS[topic.name].writers, "every service with a stage", "the tidemark command"}


@pytest.mark.parametrize("service", WORKERS)
def test_topics_of_a_worker_then_it_may_do_what_it_declares_and_nothing_else(
    service: str, built: Mapping[str, Any]
) -> None:
    app = built[service]
    read = {topic.name for topic in (*app.reads, *ALSO_READS.get(service, ()))} | {STAGES.name}
    written = {STAGES.name} | {topic.name for topic in TOPICS if service in topic.writers}
    for stage in app.stages:
        # A changelog is read to restore; what a stage continues, and fences, are read beside its inputs.
        read |= {stage.changelog.name, *(topic.name for topic in stage.continues)}
        read |= {stage.fences.name} if stage.fences else set()
        read |= {topic.dead_letters for topic in stage.inputs}
        written |= {stage.changelog.name, *(topic.name for topic in stage.outputs)}
        written |= {topic.dead_letters for topic in stage.inputs}
    read |= {INGEST_FEED_CHANGELOG.name} if service == "ingest" else set()
    granted = {name for name, each in TOPIC_RIGHTS.items() if service in each.readers}
    # A global table of a stage is an input of nobody's handler: its dead letters are the table's readers' all the same.
    assert read <= granted
    assert {name for name in granted - read if not name.endswith(".dlq")} == set()
    written_granted = {name for name, each in TOPIC_RIGHTS.items() if service in each.writers}
    assert written <= written_granted
    assert {name for name in written_granted - written if not name.endswith(".dlq")} == set()


def test_topics_of_the_auditor_then_it_reads_what_it_audits_and_writes_fences_alone() -> None:
    read = {name for name, each in TOPIC_RIGHTS.items() if "auditor" in each.readers}
    dead = {topic.dead_letters for topic in STAGE_INPUTS}
    assert read == {topic.name for topic in AUDITED} | dead | {STAGES.name, AUDITOR_FENCES.name}
    assert {name for name, each in TOPIC_RIGHTS.items() if "auditor" in each.writers} == {AUDITOR_FENCES.name}


def test_push_then_it_has_no_right_to_the_log() -> None:
    assert not [name for name, each in TOPIC_RIGHTS.items() if "push" in (*each.writers, *each.readers)]
    assert "push" in SERVICES


def test_execution_reports_then_orders_and_operators_alone_write_them() -> None:
    assert set(TOPIC_RIGHTS[ORDERS_EXECUTIONS.name].writers) == {"orders", rights.COMMAND_LINE}


def test_views_at_redis_then_their_writers_are_those_that_the_contract_names() -> None:
    for view, writer in VIEW_WRITERS.items():
        assert VIEW_RIGHTS[view_channel(view, "*")].writers == (writer.partition(".")[0],)
        assert VIEW_RIGHTS[view_channel(WRITER_VIEW, writer)].writers == (writer.partition(".")[0],)
    assert {service for rights in VIEW_RIGHTS.values() for service in rights.readers} == {"push", "auditor"}
    assert not [name for name, rights in VIEW_RIGHTS.items() if "push" in rights.writers and name != "tm:health:push"]


def test_tables_then_each_that_the_migrations_make_has_a_row_and_no_row_is_stale() -> None:
    assert set(SQL_RIGHTS) == {*tables(), MIGRATED}


def test_roles_at_postgresql_then_the_owner_is_no_service_s() -> None:
    holders = {role: holder for holder, roles in SQL_IDENTITIES.items() for role in roles}
    assert set(holders) == set(SqlRole)
    assert holders[SqlRole.OWNER] not in SERVICES


def test_documentation_is_current() -> None:
    assert rights_documentation.FILE.read_text("utf-8") == rights_documentation.render(), "out of date: make schemas"
