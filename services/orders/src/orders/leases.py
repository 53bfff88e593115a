"""Leases in the lifecycle stage: who keeps one, and what is canceled where nobody does.

All records of a lease are on one partition, so that their order is the log's: a lapse counts only where the record by
which it was judged is still the newest. So two processes that notice the same, or one that does twice, cancel once.
"""

from common.contracts.cancels import CancelOutcome
from common.contracts.leases import LeaseKept, LeaseLapsed, LeaseReleased
from streams.model.message import Handled
from streams.model.tables import Tables

from orders.cancels import all_canceled, has_room, lease_report, report_on
from orders.domain.cancels import PendingCancel
from orders.domain.leases import LEASES_MAX, Held
from orders.lifecycle_rows import LeaseRow


def on_lease(request: LeaseKept | LeaseReleased | LeaseLapsed, offset: int, tables: Tables, now_ns: int) -> Handled:
    """Each record has its report."""
    match request:
        case LeaseKept():
            yield from _on_kept(request, offset, tables, now_ns)
        case LeaseReleased():
            tables.changelogged("leases").delete(_key(request.account_id, request.lease_id))
            yield lease_report(tables, request.account_id, offset, CancelOutcome.DONE, now_ns)
        case LeaseLapsed():
            yield from _on_lapsed(request, offset, tables, now_ns)


def held(tables: Tables) -> dict[tuple[str, str], Held]:
    """Leases of the partition, by account and id."""
    found = {}
    for key, row in tables.changelogged("leases").prefix(b""):
        account_id, lease_id = key.decode().split(".")
        found[account_id, lease_id] = Held(row.kept_offset, row.grace_ms)
    return found


def _on_kept(request: LeaseKept, offset: int, tables: Tables, now_ns: int) -> Handled:
    table, key = tables.changelogged("leases"), _key(request.account_id, request.lease_id)
    outcome = CancelOutcome.DONE
    if table.get(key) is None and len(list(table.prefix(_key(request.account_id, "")))) >= LEASES_MAX:
        outcome = CancelOutcome.TOO_MANY_PENDING
    else:
        table.put(key, LeaseRow(offset, request.order_prefix, request.grace_ms))
    yield lease_report(tables, request.account_id, offset, outcome, now_ns)


def _on_lapsed(request: LeaseLapsed, offset: int, tables: Tables, now_ns: int) -> Handled:
    table, key = tables.changelogged("leases"), _key(request.account_id, request.lease_id)
    row: LeaseRow | None = table.get(key)
    if row is None or row.kept_offset != request.kept_offset:
        yield lease_report(tables, request.account_id, offset, CancelOutcome.DONE, now_ns)
        return
    text = f"cancel requested: lease {request.lease_id} has lapsed"
    cancel = PendingCancel(request.intents_offset, offset, request.sent_ns, order_prefix=row.order_prefix, text=text)
    if not has_room(tables, request.account_id, cancel):  # the lease stays, so that the lapse is noticed again
        yield report_on(tables, request.account_id, cancel, CancelOutcome.TOO_MANY_PENDING, now_ns)
        return
    table.delete(key)
    yield from all_canceled(tables, request.account_id, cancel, now_ns)


def _key(account_id: str, lease_id: str) -> bytes:
    return f"{account_id}.{lease_id}".encode()
