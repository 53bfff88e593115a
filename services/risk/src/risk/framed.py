"""Intents that come framed (Avro), read in bulk beside those that are text.

A framed intent becomes the text that the API would have written, so that one reader judges both. What was written with
another schema the runtime has turned into text before; what is damaged, or could not be written as that text, stays as
it is, and who reads one by one has to say what it is.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from common.avro.codec import AvroFraming
from common.avro.compiled import Reader, SchemaUnsupported, reader
from common.avro.on_file import SchemaFile, by_name
from common.columns import Column
from common.contracts.topics import ORDERS_INTENTS, Topic
from streams.model.framing import MAGIC

from risk.domain.intent_kernel import FRAMED_COLUMNS, INTENT_CHARS, Intents, read_texts, write_intents

(_MAGIC,) = MAGIC


def framing_of(topic: Topic) -> AvroFraming:
    """The framed form of a topic's values."""
    framing = topic.schema.framing
    assert isinstance(framing, AvroFraming)
    return framing


def file_of(topic: Topic) -> SchemaFile:
    """The schema that this release writes a topic with."""
    return by_name()[framing_of(topic).file]


@cache
def intent_reader() -> Reader:
    """Raises SchemaUnsupported where an intent says more than its text would."""
    schema = file_of(ORDERS_INTENTS).schema()
    unread = {field["name"] for field in schema["fields"]} - {column.path for column in FRAMED_COLUMNS}
    if unread:
        raise SchemaUnsupported(f"{', '.join(sorted(unread))}: the gate does not read it of framed intents")
    return reader(schema, FRAMED_COLUMNS)


def read_either(values: Sequence[bytes], keys: Sequence[bytes]) -> Intents:
    """``read_intents`` of values in both forms."""
    data, begins, ends = Column.of(values)
    if not (data[begins[begins < ends]] == _MAGIC).any():
        return read_texts(data, ends, keys)
    of = intent_reader()
    rows, verdicts = np.zeros(len(values), of.row), np.empty(len(values), np.uint8)
    of.read_into(data, begins, ends, file_of(ORDERS_INTENTS).id, rows, verdicts)
    text, text_ends = np.empty(data.size + len(values) * INTENT_CHARS, np.uint8), np.empty(len(values), np.int64)
    write_intents(data, begins, ends, rows, verdicts, text, text_ends)
    written = text[: text_ends[-1]]
    written.flags.writeable = False  # as values that are text are: kernels are compiled for those
    return read_texts(written, text_ends, keys)
