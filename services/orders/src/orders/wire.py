"""Messages of which there are many, read and written as twins (``common.contracts.twins``), as text and framed."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from common.avro.twins import TwinReader
from common.contracts.events import Decision, ExecutionReport, OrderEvent, VenueOrder
from common.contracts.topics import ORDERS_EVENTS, ORDERS_EXECUTIONS, RISK_DECISIONS, VENUE_ORDERS, Topic
from common.contracts.twins import twin_of, written
from msgspec.structs import astuple
from pydantic import BaseModel
from streams.model.message import Message

DECISION_TWIN: Final = twin_of(Decision)
ORDER_TWIN: Final = twin_of(OrderEvent)
REPORT_TWIN: Final = twin_of(ExecutionReport)
VENUE_ORDER_TWIN: Final = twin_of(VenueOrder)
_OF: Final[Mapping[Topic, type[BaseModel]]] = {
    RISK_DECISIONS: DECISION_TWIN,
    ORDERS_EVENTS: ORDER_TWIN,
    ORDERS_EXECUTIONS: REPORT_TWIN,
    VENUE_ORDERS: VENUE_ORDER_TWIN,
}
"""The message of each topic of which there are many."""
_SHOWN: Final = {
    ORDER_TWIN: twin_of(OrderEvent, nulls=True),
    REPORT_TWIN: twin_of(ExecutionReport, nulls=True),
}
_READERS: Final = {topic: TwinReader(topic, twin) for topic, twin in _OF.items()}


def read(message: Message) -> Any | None:
    """The message as a twin; None where it is another one, or is to be read, or refused, by the topic's schema."""
    reader = _READERS.get(message.topic)
    return None if reader is None else reader.read(message.value)


def writer_of(topic: Topic, *, framed: bool) -> Callable[[Any], bytes]:
    """Writes twins for a topic."""
    return _READERS[topic].framed.write if framed else written


def reads_framed(*topics: Topic) -> dict[Topic, int]:
    """For ``Stage.reads_framed``: topics with the schemas of which framed values are read here."""
    return {topic: _READERS[topic].schema_id for topic in topics}


def shown(row: OrderEvent | ExecutionReport) -> Any:
    """A model or a twin as a view has it: null where it says nothing."""
    return row if isinstance(row, BaseModel) else _SHOWN[type(row)](*astuple(row))
