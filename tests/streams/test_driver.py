"""The README's word count on the in-memory driver, and what else a driver has to show truthfully."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from streams import Changelogged, Global, Message, Output, Snapshotted, Stage, Tables, Topic, View
from streams.model.topics import TEXT_SCHEMA, changelog_topic
from streams.testing.driver import StageDriver, Unsettled

SAID = Topic("said", schema=TEXT_SCHEMA, partitions=2)
TOLD = Topic("told", schema=TEXT_SCHEMA, partitions=2)
NAMES = Topic("names", schema=TEXT_SCHEMA, partitions=1, cleanup="compact")


@pytest.fixture(scope="module")
def wordcount(readme: Any) -> ModuleType:
    module = ModuleType("wordcount")
    exec(compile(readme.program, "wordcount.py", "exec"), module.__dict__)
    return module


def test_readme_when_its_word_count_is_measured_then_it_has_thirty_lines_at_most(readme: Any) -> None:
    assert len(readme.program.splitlines()) <= 30


def test_readme_when_its_test_is_run_then_it_passes(
    readme: Any, wordcount: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wordcount", wordcount)
    names: dict[str, object] = {}
    exec(compile(readme.test, "test_wordcount.py", "exec"), names)
    (run,) = [value for name, value in names.items() if name.startswith("test_")]
    assert callable(run)
    run()


@given(lines=st.lists(st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=5), max_size=6), data=st.data())
@hypothesis_settings(max_examples=10, deadline=None)
def test_word_count_when_restarted_anywhere_then_each_word_is_counted_once(
    wordcount: ModuleType, lines: list[list[str]], data: st.DataObject
) -> None:
    with StageDriver(wordcount.app.stages) as driver:
        for line in lines:
            driver.send(wordcount.LINES, " ".join(line))
            if data.draw(st.booleans()):
                driver.restart(without_stores=data.draw(st.booleans()))
        words = [word for line in lines for word in line]
        assert driver.rows("count", "totals") == {word.encode(): words.count(word) for word in set(words)}
        last = {message.key: message.body for message in driver.read(wordcount.COUNTS)}
        assert last == {word.encode(): f"{word} {words.count(word)}" for word in set(words)}


def greeting_stage() -> Stage:
    """Greets by the name on file, notes when, counts in bulk state, and shows the newest greeting."""

    def greet(message: Message, tables: Tables, now_ns: int) -> Iterator[Output | View]:
        name = tables.globals("names").get(message.key or b"")
        text = f"{message.body} {name.value if name else 'stranger'}"
        tables.changelogged("greeted").put(message.key or b"", now_ns)
        yield Output(TOLD, message.key or b"", text)
        yield View("greeting", "all", "newest", {"text": text})
        if message.body == "silence":
            raise ValueError("nobody is greeted by silence")

    tables = (Changelogged("greeted"), Global("names", NAMES))
    return Stage("test", "greet", greet, (SAID,), (TOLD,), changelog_topic("test", "greet", 2), tables)


def test_driver_when_a_global_row_changes_then_the_next_message_sees_it() -> None:
    with StageDriver([greeting_stage()]) as driver:
        driver.send(SAID, "hello", b"1")
        driver.send(NAMES, "Ada", b"1")
        driver.send(SAID, "hello", b"1")
        driver.restart(without_stores=True)
        driver.send_value(NAMES, None, b"1")
        driver.send(SAID, "good bye", b"1")
        assert [each.body for each in driver.read(TOLD)] == ["hello stranger", "hello Ada", "good bye stranger"]
        assert driver.read(TOLD) == [], "each record is read once"


def test_driver_when_a_handler_refuses_then_nothing_of_the_message_stays_but_its_dead_letter() -> None:
    with StageDriver([greeting_stage()], now_ns=5) as driver:
        driver.send(SAID, "hello", b"1")
        driver.advance(by_ns=2)
        driver.send(SAID, "silence", b"1")
        driver.send_value(SAID, b"\xff", b"2", partition=1)
        assert [each.body for each in driver.read(TOLD)] == ["hello stranger"]
        assert driver.rows("greet", "greeted") == {b"1": 5}
        assert driver.views == {("greeting", "all", "newest"): {"text": "hello stranger"}}
        refused = driver.dead_letters(SAID)
        assert [each.value for each in refused] == [b"silence", b"\xff"]
        error = dict(refused[0].headers)["dlq.error"]
        assert error is not None and b"silence" in error


def test_driver_when_state_is_bulk_then_a_replay_makes_it_again(tmp_path: Path) -> None:
    def sum_up(message: Message, tables: Tables, now_ns: int) -> Iterator[Output]:
        tables.snapshotted("sums").append(int(message.body))
        yield Output(TOLD, b"sum", str(sum(tables.snapshotted("sums"))))

    def create(_partition: int) -> list[int]:
        return []

    bulk = Snapshotted("sums", create, lambda state, path: None, lambda path, layout: create(0))
    stage = Stage("test", "sum", sum_up, (SAID,), (TOLD,), changelog_topic("test", "sum", 2), (bulk,))
    with StageDriver([stage]) as driver:
        driver.send(SAID, "3")
        driver.restart()
        driver.send(SAID, "4")
        assert [each.body for each in driver.read(TOLD)] == ["3", "7"]


def test_driver_when_what_it_restores_breaks_an_invariant_then_the_test_fails_with_the_reason() -> None:
    def verify(_key: bytes, value: int) -> None:
        if value > 5:
            raise ValueError("a greeting from the future")

    stage = greeting_stage()
    broken = Stage(
        stage.app, stage.name, stage.handler, stage.inputs, stage.outputs, stage.changelog, stage.tables,
        verify={"greeted": verify},
    )  # fmt: skip
    with StageDriver([broken], now_ns=6) as driver:
        driver.send(SAID, "hello", b"1")
        with pytest.raises(Unsettled, match="a greeting from the future"):
            driver.restart(without_stores=True)
