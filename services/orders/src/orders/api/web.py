"""The HTTP API put together."""

from typing import Any

from common.access.http import Admission, RequireIdentity
from common.access.identities import identities_of
from common.checks.installed import gate_of
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from streams.service.web import NO_REQUEST_SPANS

from orders.api.accounts import commands_router
from orders.api.cancels import mass_cancels_router
from orders.api.clocks import BoundSentTime
from orders.api.controls import controls_router
from orders.api.description import TRACE_ID, describe, operation_id
from orders.api.leases import leases_router
from orders.api.limits import LimitRequests, share_limits
from orders.api.orders import orders_router
from orders.api.origins import RefuseForeignPages
from orders.api.page import add_page
from orders.api.problems import handle_problems
from orders.api.reads import AS_OF, reads_router
from orders.api.traces import TraceRequests
from orders.api.what_if import what_if_router
from orders.desk import Desk
from orders.reads import Reads
from orders.settings import OrdersSettings

_DESCRIPTION = """
Orders and account commands are put on the log and answered with what was committed about them. Every id is the
client's own, so every request can be repeated: it is carried out once and answered alike.

Prices and cash are integers in 1e-4 currency units (`_e4`), quantities whole shares, times nanoseconds since the epoch
(`_ns`). Errors are problem details (RFC 9457). Reads come from a projection that trails the log by
a tenth of a second or so, and orders that it lacks yet from the log itself; `Tidemark-As-Of` says which.
"""


def create_api(desk: Desk, reads: Reads, settings: OrdersSettings) -> FastAPI:
    """Opens nothing; reads the files that the settings of identities name. Raises OSError, ValueError."""
    admission = Admission("orders", identities_of(settings.access))
    api = FastAPI(
        title="Tidemark orders",
        version="1",
        description=_DESCRIPTION,
        telemetry=NO_REQUEST_SPANS,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=operation_id,
    )
    handle_problems(api)
    api.include_router(what_if_router(desk))
    api.include_router(orders_router(desk, reads))
    api.include_router(mass_cancels_router(desk))
    api.include_router(leases_router(desk))
    api.include_router(commands_router(desk))
    api.include_router(controls_router(desk))
    api.include_router(reads_router(reads, settings.page_rows_max))
    api.add_middleware(TraceRequests)
    api.add_middleware(BoundSentTime, within_s=settings.sent_ns_within_s)
    api.add_middleware(RefuseForeignPages, allow_origin_regex=settings.cors_origin_regex)
    cors: dict[str, Any] = {
        "allow_origin_regex": settings.cors_origin_regex,
        "allow_methods": ["GET", "POST", "DELETE"],
        "allow_headers": ["Authorization", "Content-Type", "traceparent", "Tidemark-Sent-Ns"],
        "expose_headers": ["Location", "Retry-After", AS_OF, "Tidemark-Clock-Off-Ns", TRACE_ID],
    }
    api.add_middleware(CORSMiddleware, **cors)
    api.add_middleware(
        LimitRequests,
        limits=share_limits(settings),
        accounts=desk.accounts,
        body_bytes_max=settings.http.body_bytes_max,
        cors=cors,
    )
    # Outermost: strangers are sent away before a body is read, and before anybody's share is charged.
    api.add_middleware(RequireIdentity, service="orders", admission=admission, cors=cors)
    describe(api, gate_of(settings.checks).checks, is_open=admission.identities.is_open)
    add_page(api)
    return api
