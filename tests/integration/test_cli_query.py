"""``tidemark query`` against an API: what is asked, and how each answer is shown. ``test_queries.py`` asks signals."""

import json

import pytest
import typer
from tidemark.main import app
from tidemark.options import moment_ns
from typer.testing import CliRunner

from tests.integration.answering_api import Api

AS_OF = {"partition": 1, "next_offset": 7, "clock_ns": 5, "event_ns": 4}
DEPTH = {"symbol": "AAPL", "as_of": AS_OF, "bids": [{"price_e4": 99, "size": 5}], "asks": []}
PROBLEM = {"type": "urn:tidemark:problem:symbol-unknown", "title": "No such symbol here", "detail": "served: [1]"}


@pytest.fixture
def api(api: Api) -> Api:
    api.answer = 200, DEPTH
    return api


def ask(api: Api, *arguments: str) -> tuple[int, str]:
    given = ("query", *arguments, "--api", api.url)
    result = CliRunner(env={"COLUMNS": "120", "TERM": "dumb"}).invoke(app, given)
    return result.exit_code, result.output


def test_query_then_the_question_and_its_moment_are_asked_and_shown(api: Api) -> None:
    code, shown = ask(api, "depth", "AAPL", "--levels", "3", "--at-offset", "6")
    assert (code, api.asked) == (0, [("/v1/markets/AAPL/depth?levels=3&at_offset=6", {})])
    assert all(word in shown for word in ("bid_e4", "99", "as of next_offset", "7")), shown
    code, shown = ask(api, "depth", "AAPL", "--at", "1970-01-01T00:00:02.5Z", "--json")
    assert api.asked[-1][0] == "/v1/markets/AAPL/depth?levels=10&at_ns=2500000000"
    assert (code, json.loads(shown)) == (0, DEPTH)


def test_query_when_there_is_a_problem_then_its_words_and_1(api: Api) -> None:
    api.answer = 404, PROBLEM
    code, shown = ask(api, "spread", "NOBODY")
    assert code == 1
    assert "No such symbol here: served: [1]" in shown


@pytest.mark.parametrize(
    ("text", "at_ns"),
    [
        ("1710513000000000001", 1_710_513_000_000_000_001),
        ("2024-03-15T14:30:00Z", 1_710_513_000_000_000_000),
        ("2024-03-15T10:30:00.000001-04:00", 1_710_513_000_000_001_000),
    ],
)
def test_moment_then_nanoseconds_since_the_epoch(text: str, at_ns: int) -> None:
    assert moment_ns(text) == at_ns


@pytest.mark.parametrize("text", ["2024-03-15T14:30:00", "soon", "-5"])
def test_moment_when_it_says_no_certain_time_then_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        moment_ns(text)
