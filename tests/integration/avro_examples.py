"""A value of every topic that is JSON or Avro, as JSON; and what intents may be in a later release."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from common.avro.codec import AvroFraming
from common.avro.on_file import by_name
from common.avro.registry import Schemas
from common.contracts.events import OrderIntent
from common.contracts.topics import (
    AUDIT_COMMANDS,
    AUDITOR_FENCES,
    MD_EVENTS,
    ORDERS_CANCEL_REPORTS,
    ORDERS_CANCELS,
    ORDERS_EVENTS,
    ORDERS_EXECUTIONS,
    ORDERS_INTENTS,
    ORDERS_LEASES,
    REF_INSTRUMENTS,
    RISK_BASIS,
    RISK_BREAKS,
    RISK_COMMANDS,
    RISK_CONTROL_COMMANDS,
    RISK_CONTROLS,
    RISK_DECISIONS,
    RISK_LEDGER,
    RISK_WARNINGS,
    RISK_WHAT_IFS,
    VENUE_ORDERS,
)
from pydantic import TypeAdapter
from streams.model.framing import is_framed
from streams.model.topics import Schema

INTENTS = by_name()["order-intent.v1.avsc"]


def changed(change: Callable[[dict[str, Any]], None]) -> Any:
    schema = copy.deepcopy(INTENTS.schema())
    change({field["name"]: field for field in schema["fields"]} | {"@": schema["fields"]})
    return schema


def next_version() -> Any:
    """One optional field and one symbol more."""

    def change(fields: dict[str, Any]) -> None:
        fields["@"].insert(1, {"name": "desk", "type": ["null", "string"], "default": None})
        fields["time_in_force"]["type"]["symbols"].append("ATC")

    return changed(change)


class NewerIntent(OrderIntent):
    """An intent of a later release."""

    desk: str | None = None
    time_in_force: str = "DAY"  # type: ignore[assignment]


def newer_schema(schema_id: int) -> Schema:
    """The topic's schema in that later release."""
    framing = AvroFraming("order-intent", 3, NewerIntent, Schemas(), (next_version(), schema_id))
    adapter = TypeAdapter(NewerIntent)

    def decode(value: bytes) -> NewerIntent:
        return adapter.validate_json(framing.text(value) if is_framed(value) else value)

    def encode(value: Any) -> bytes:
        return NewerIntent.model_dump_json(value, exclude_none=True).encode()

    return Schema("order-intent", decode, encode, adapter, 4, framing=framing)


EXAMPLES: Mapping[str, bytes] = {
    MD_EVENTS.name: b'{"kind":"TRADE","symbol":"CEFI","venue":"XNAS","event_ns":17,"price_e4":400000,"qty":1,'
    b'"side":"B","trade_id":3,"sequence":4,"from_ticks":false}',
    REF_INSTRUMENTS.name: b'{"instrument_id":1,"symbol":"CEFI","lot_size":1,"round_lot_size":100,"tick_e4":100,'
    b'"sub_unit_tick_e4":1,"currency":"USD","venue":"XNAS"}',
    ORDERS_INTENTS.name: b'{"account_id":"a","client_order_id":"o","symbol":"CEFI","side":"B","order_type":"LIMIT",'
    b'"time_in_force":"DAY","qty":1,"limit_price_e4":400000,"sent_ns":17}',
    ORDERS_CANCELS.name: b'{"type":"mass_cancel","account_id":"a","sent_ns":1,"intents_offset":4}',
    ORDERS_LEASES.name: b'{"type":"lease_kept","account_id":"a","lease_id":"l","order_prefix":"","grace_ms":1000,'
    b'"sent_ns":1}',
    RISK_COMMANDS.name: b'{"type":"fund","command_id":"c","account_id":"a","cash_e4":5,"qty":0,"sent_ns":1}',
    RISK_CONTROL_COMMANDS.name: b'{"type":"propose_limits","command_id":"p","account_id":"_firm","symbol":"CEFI",'
    b'"values":{"order_qty_max":5},"effective_ns":0,"by":"ann","note":"n","sent_ns":1}',
    RISK_CONTROLS.name: b'{"account_id":"a","command_id":"c","accepted":true,"compared":{},"repeat":false,"controls":{'
    b'"account_id":"a","seq":3,"version":1,"limits":[{"values":{"order_qty_max":5},"version":1,"effective_ns":2,'
    b'"proposed_by":"ann","approved_by":"bob","note":"n"}],"overrides":[],"proposals":[],"states":[{"symbol":"CEFI",'
    b'"state":"HALTED","by":"cat","note":"n","since_ns":2}]},"decided_ns":2,"command_partition":0,"command_offset":9}',
    RISK_WHAT_IFS.name: b'{"type":"what_if","account_id":"a","question_id":"q","order":{"account_id":"a",'
    b'"client_order_id":"o","symbol":"CEFI","side":"B","order_type":"LIMIT","time_in_force":"DAY","qty":1,'
    b'"limit_price_e4":400000,"sent_ns":17}}',
    RISK_DECISIONS.name: b'{"type":"command_result","account_id":"a","command_id":"c","accepted":false,'
    b'"reason":"COMMAND_INVALID","compared":{"cash_e4":4},"repeat":false,"account_seq":1,"decided_ns":2,'
    b'"command_partition":0,"command_offset":9}',
    RISK_LEDGER.name: b'{"account_id":"a","seq":1,"kind":"FUND","postings":['
    b'{"book":"AVAILABLE","asset":"@CASH","amount":5},'
    b'{"book":"EXTERNAL","asset":"@CASH","amount":-5}],"command_id":"c","booked_ns":3}',
    RISK_BREAKS.name: b'{"type":"break","break_id":"0-1","account_id":"a","order_id":"a.o","reason":"OVERFILL",'
    b'"compared":{},"parked":false,"effect":{"fill_qty":1,"fill_price_e4":2,"back_qty":0,"back_price_e4":0,"ends":true},'
    b'"report":{"execution_id":"x","exec_type":"TRADE","order_id":"a.o","account_id":"a","symbol":"CEFI","side":"S",'
    b'"last_qty":1,"last_price_e4":2,"cum_qty":1,"leaves_qty":0,"venue_ns":1,"text":""},"opened_ns":5}',
    RISK_WARNINGS.name: b'{"account_id":"a","order_id":"a.o","symbol":"CEFI","crossed":[{"limit":"position_qty_max",'
    b'"percent":75,"used":8,"most":10}],"firm_limits_version":1,"account_limits_version":0,"warned_ns":2}',
    AUDIT_COMMANDS.name: b'{"account_id":"a","type":"fund","command_id":"c","topic":"risk.commands",'
    b'"command_partition":0,"command_offset":9,"command":"{}","who":{"subject":"ann","client":"","address":"::1"},"accepted":true,'
    b'"repeat":false,"decided_ns":2,"chain_seq":1,"chain":"' + b"0" * 64 + b'"}',
    RISK_BASIS.name: b'{"account_id":"_firm","intent_offset":7,"said_ns":2,"gate":{"release":"1","checks":'
    b'{"account_known":"0f"},"limits":{"order_qty_max":5},"of_symbols":[{"symbol":"CEFI","limits":{"restricted":1}}]},'
    b'"controls_seq":3}',
    VENUE_ORDERS.name: b'{"type":"cancel","order_id":"a.o","account_id":"a","symbol":"CEFI","instrument_id":1,'
    b'"side":"B","sent_ns":1}',
    ORDERS_EXECUTIONS.name: b'{"execution_id":"x","exec_type":"TRADE_CANCEL","order_id":"a.o","account_id":"a",'
    b'"symbol":"CEFI","side":"S","last_qty":0,"last_price_e4":0,"cum_qty":1,"leaves_qty":0,"venue_ns":1,"text":"t",'
    b'"ref_execution_id":"w"}',
    ORDERS_EVENTS.name: b'{"order_id":"a.o","account_id":"a","client_order_id":"o","symbol":"CEFI","side":"B",'
    b'"order_type":"MARKET","time_in_force":"IOC","qty":1,"state":"WORKING","cum_qty":0,"leaves_qty":1,"notional_e4":0,'
    b'"text":"","revision":2,"sent_ns":1,"updated_ns":2,"decided_ns":0,"intent_offset":-1}',
    ORDERS_CANCEL_REPORTS.name: b'{"account_id":"a","cancel_partition":0,"cancel_offset":-1,"command_id":"c",'
    b'"outcome":"DONE","affected":["a.o"],"affected_count":1,"reported_ns":7}',
    AUDITOR_FENCES.name: b'{"stage":"risk.gate","partition":1,"raised":true,"topic":"t","reason":"r","places":["0/1"],'
    b'"known":[],"by":"","at_ns":4}',
}
