"""Messages of clients, as whoever means harm makes them: each is a command or is refused in words, and nothing else."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from push.domain.commands import Authenticate, CommandError, parse_command
from push.domain.topic import Topic, TopicError
from pydantic import BaseModel

REASON_CHARS_MAX = 400
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
OPS = ("authenticate", "subscribe", "unsubscribe", "resync", "ping", "painted")
MEMBERS = st.sampled_from(["token", "topics", "topic", "t", "samples", "op", "roles", "__class__"])


def outcome(message: str | bytes) -> BaseModel | str:
    """The command, or why it is none."""
    try:
        return parse_command(message)
    except CommandError as error:
        return str(error)


@given(st.binary(max_size=200) | st.text(max_size=200) | JSON.map(json.dumps))
def test_message_when_it_is_anything_then_a_command_or_words(message: str | bytes) -> None:
    assert len(str(outcome(message))) < REASON_CHARS_MAX


@given(st.sampled_from(OPS), st.dictionaries(MEMBERS, JSON, max_size=4))
def test_message_when_it_names_a_command_and_has_anything_in_it_then_a_command_or_words(
    op: str, members: dict[str, Any]
) -> None:
    found = outcome(json.dumps({**members, "op": op}))
    assert isinstance(found, str) or found.model_dump()["op"] == op


@given(st.text(min_size=20, max_size=40), st.sampled_from(["", "roles", "topics"]))
def test_token_when_its_message_is_refused_or_printed_then_it_is_in_no_words(token: str, beside: str) -> None:
    members = {"token": token, **({beside: []} if beside else {})}
    found = outcome(json.dumps({"op": "authenticate", **members}))
    assert isinstance(found, Authenticate) == (not beside)
    assert token not in repr(found)
    assert token not in str(outcome(json.dumps({"op": "authenticate", "token": [token]})))


@given(st.text(max_size=80) | st.from_regex(r"[a-z]{1,8}(:[^:]{0,20}){0,3}", fullmatch=True))
def test_topic_when_it_is_anything_then_a_topic_or_words(text: str) -> None:
    try:
        assert str(Topic.parse(text))
    except TopicError as error:
        assert len(str(error)) < REASON_CHARS_MAX
