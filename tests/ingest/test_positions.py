"""Positions in the changelog, the pace of a replay, and what settings have to say."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingest.domain.pace import Pace, parse_speed
from ingest.domain.position import Position, PositionError, decode_position, pack_locates
from ingest.settings import IngestSettings
from pydantic import ValidationError

DAY = date(2024, 1, 2)


@given(st.dictionaries(st.integers(0, 65_535), st.integers(0, 2**31 - 1), max_size=200))
def test_position_when_encoded_then_read_back(locates: dict[int, int]) -> None:
    position = Position("feed", 7, 8, 9, "S1", "length", 10, True, pack_locates(locates))
    assert decode_position(position.encode()) == position


def test_position_when_8000_instruments_then_still_small() -> None:
    assert len(Position("feed", 7, locates=pack_locates({i + 1: i for i in range(8_000)})).encode()) < 1_000


@pytest.mark.parametrize("value", [b"", b"{}\n", b'{"v":2}\n', b'{"v":1,"feed":"x"}\n', b'{"v":1}\nnoise'])
def test_position_when_no_position_then_refused(value: bytes) -> None:
    with pytest.raises(PositionError):
        decode_position(value)


def test_pace_when_twice_as_fast_then_half_the_wait() -> None:
    pace = Pace(parse_speed("2"))
    pace.start(1_000, 50)
    assert (pace.now(50), pace.now(150), pace.wait_ns(1_200, 50), pace.wait_ns(900, 50)) == (1_000, 1_200, 100, 0)


@pytest.mark.parametrize("text", ["0", "-1", "fast", "inf", "nan", ""])
def test_speed_when_not_positive_or_max_then_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"speed|float"):
        parse_speed(text)


@pytest.mark.parametrize(
    "variables",
    [
        {"TIDEMARK_FEED": "file"},
        {"TIDEMARK_FEED": "file", "TIDEMARK_FEED_FILE": "no-date.itch"},
        {"TIDEMARK_FEED": "udp"},
        {"TIDEMARK_FEED_SPEED": "warp"},
        {"TIDEMARK_FEED_SYMBOLS": "9000"},
    ],
)
def test_settings_when_incomplete_then_refused(variables: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        IngestSettings.of(variables)


def test_settings_when_the_environment_says_so_then_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_FEED", "synthetic")
    monkeypatch.setenv("TIDEMARK_FEED_SYMBOLS", "8000")
    monkeypatch.setenv("TIDEMARK_FEED_SPEED", "max")
    monkeypatch.setenv("TIDEMARK_FEED_DATE", "2024-01-02")
    settings = IngestSettings()
    assert settings.feed.exchange().symbols == 8_000
    assert settings.feed.day() == DAY
