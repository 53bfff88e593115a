"""Dead letters in both forms: one meaning, whatever was set aside."""

import io
import json

import fastavro
import pytest
from common.avro.on_file import by_name
from common.contracts.topics import DEAD_LETTERS, MD_TICKS, ORDERS_INTENTS, Topic
from hypothesis import given, settings
from hypothesis import strategies as st
from streams.model.dead_letters import DeadLetter, is_text_letter, letter_of, letter_record
from streams.model.framing import Framing, Unframed, frame, is_framed
from streams.model.log import StoredRecord
from streams.model.message import Headers, Message
from streams.process.settings import Settings
from streams.state.framed_reader import text_record

QUEUE = ORDERS_INTENTS.dead_letter_topic
FORMS = pytest.mark.parametrize("framing", [DEAD_LETTERS.framing, None], ids=["avro", "text"])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
LETTERS = st.builds(
    DeadLetter,
    stage=TEXTS,
    topic=TEXTS,
    partition=st.integers(0, 2**31),
    offset=st.integers(0, 2**63 - 1),
    error=TEXTS,
    value=st.none() | st.binary(max_size=60),
) | st.builds(
    DeadLetter,
    stage=TEXTS, topic=TEXTS, partition=st.integers(0, 99), offset=st.integers(0, 99), error=TEXTS,
    left_out_bytes=st.integers(0, 2**31),
)  # fmt: skip
OWN: Headers = (("traceparent", b"00-1-2-03"), ("empty", None), ("junk", b"\xff"))


async def read_back(letter: DeadLetter, framing: Framing | None, topic: Topic = QUEUE) -> DeadLetter:
    written = letter_record(letter, b"key", 0, OWN, framing)
    reading = topic.schema.framing
    assert reading is not None
    record: StoredRecord = Stored(written.value, written.headers)
    text = await text_record(record, reading, Settings())
    return letter_of(Message(topic, letter.partition, 7, text.key, text.value, 0, text.headers))


class Stored:
    """See ``log.StoredRecord``."""

    def __init__(self, value: bytes | None, headers: Headers) -> None:
        self.offset, self.key, self.value, self.timestamp, self.headers = 7, b"key", value, 0, headers


@FORMS
@settings(deadline=None)
@given(letter=LETTERS)
async def test_letter_when_written_and_read_in_either_form_then_it_is_the_same(
    letter: DeadLetter, framing: Framing | None
) -> None:
    assert await read_back(letter, framing) == letter
    assert await read_back(letter, framing, MD_TICKS.dead_letter_topic) == letter


@settings(deadline=None)
@given(letter=LETTERS)
def test_letter_when_framed_then_any_avro_reader_has_its_fields_and_its_bytes(letter: DeadLetter) -> None:
    assert DEAD_LETTERS.framing is not None
    value = letter_record(letter, None, 0, (), DEAD_LETTERS.framing).value or b""
    schema = fastavro.parse_schema(by_name()["dead-letter.v1.avsc"].schema())
    assert fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None) == letter.model_dump()


@pytest.mark.parametrize("value", [frame(1_234_567, b"of nobody"), b'{"order":1}', b"", None])
async def test_value_that_looks_like_a_schema_when_set_aside_as_text_then_it_is_kept_and_awaits_nothing(
    value: bytes | None,
) -> None:
    letter = DeadLetter(stage="s", topic="t", partition=0, offset=3, error="e", value=value)
    assert await read_back(letter, None) == letter


def test_headers_of_the_message_when_framed_then_nothing_is_added_to_them() -> None:
    letter = DeadLetter(stage="s", topic="t", partition=0, offset=3, error="e", value=b"v")
    record = letter_record(letter, b"key", 0, OWN, DEAD_LETTERS.framing)
    assert record.headers == OWN and is_framed(record.value)
    assert is_text_letter(letter_record(letter, b"key", 0, OWN, None).headers)


@pytest.mark.parametrize(
    "headers",
    [(), (("dlq.topic", b"t"),), (("dlq.topic", b"t"), ("dlq.stage", b"s"), ("dlq.partition", b"x"))],
)
def test_record_that_no_stage_has_written_then_refused(headers: Headers) -> None:
    with pytest.raises(ValueError, match=r"json_invalid|Invalid JSON|DeadLetter"):
        letter_of(Message(QUEUE, 0, 1, b"key", b"value", 0, headers))


def test_json_when_bytes_are_no_base64_then_refused() -> None:
    assert DEAD_LETTERS.framing is not None
    text = {"stage": "s", "topic": "t", "partition": 0, "offset": 0, "error": "", "value": "%"}
    with pytest.raises(ValueError, match=r"base64"):
        DEAD_LETTERS.framing.framed(json.dumps(text).encode())
    with pytest.raises(ValueError, match="value"):
        DEAD_LETTERS.decode(json.dumps(text).encode())


def test_text_of_a_framed_letter_is_what_the_schema_writes() -> None:
    letter = DeadLetter(stage="s", topic="t", partition=0, offset=3, error='"\n', value=bytes(range(256)))
    assert DEAD_LETTERS.framing is not None
    text = DEAD_LETTERS.framing.text(DEAD_LETTERS.framing.framed(DEAD_LETTERS.encode(letter)))
    assert text == DEAD_LETTERS.encode(letter)
    assert letter_of(Message(QUEUE, 0, 1, None, Unframed.of(text, b""), 0)) == letter
