"""State directory and control socket: who may run where, and how commands find what runs."""

import asyncio
import os
from pathlib import Path

import pytest
from tidemark.control import ControlError, ControlServer, ask
from tidemark.options import addresses
from tidemark.state import Addresses, StateDir, StateError, record_of_this_process


def state_in(path: Path) -> StateDir:
    state = StateDir(path)
    state.prepare()
    return state


def test_state_when_a_fleet_is_in_it_then_no_other_gets_in(tmp_path: Path) -> None:
    state = state_in(tmp_path / "s")
    with state.claimed(), pytest.raises(StateError, match="tidemark down"), StateDir(tmp_path / "s").claimed():
        pass
    with state.claimed():
        pass


def test_record_when_its_process_is_alive_then_it_is_found_and_gone_with_the_claim(tmp_path: Path) -> None:
    state = state_in(tmp_path)
    with state.claimed():
        record = record_of_this_process(Addresses("k:1", "redis://r", "postgresql://p"), {"risk": "http://x"}, "/c")
        state.write(record)
        assert state.running() == record
    assert state.read() is None


def test_record_when_its_process_is_dead_then_nothing_runs(tmp_path: Path) -> None:
    state = state_in(tmp_path)
    record = record_of_this_process(Addresses(), {}, "/c")
    state.write(type(record)(os.getpid(), record.supervisor_ticks - 1, Addresses(), {}, "/c"))
    assert state.read() is not None
    assert state.running() is None


def test_record_when_only_a_demo_runs_below_then_commands_find_it(tmp_path: Path) -> None:
    below = state_in(tmp_path / "demo")
    record = record_of_this_process(Addresses("demo:1"), {}, "/c")
    below.write(record)
    assert StateDir(tmp_path).running() == record


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 99}'])
def test_record_when_damaged_then_the_error_names_the_file(tmp_path: Path, text: str) -> None:
    state = state_in(tmp_path)
    state.record_path.write_text(text)
    with pytest.raises(StateError, match=r"fleet\.json"):
        state.read()


def test_addresses_then_option_beats_environment_beats_fleet_beats_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("TIDEMARK_KAFKA_BOOTSTRAP", "TIDEMARK_REDIS_URL", "TIDEMARK_POSTGRES_DSN", "TIDEMARK_DATA_DIR"):
        monkeypatch.delenv(variable, raising=False)
    state = state_in(tmp_path)
    assert addresses(state) == Addresses()
    state.write(record_of_this_process(Addresses("fleet:1", "redis://fleet"), {}, "/c"))
    monkeypatch.setenv("TIDEMARK_REDIS_URL", "redis://environment")
    found = addresses(state, postgres_dsn="postgresql://option")
    assert (found.kafka_bootstrap, found.redis_url, found.postgres_dsn) == (
        "fleet:1",
        "redis://environment",
        "postgresql://option",
    )


def test_addresses_when_the_settings_file_says_them_then_from_there_where_no_fleet_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.env"
    file.write_text("TIDEMARK_KAFKA_BOOTSTRAP=file:1\nTIDEMARK_REDIS_URL=redis://file\n")
    monkeypatch.setenv("TIDEMARK_SETTINGS_FILE", str(file))
    monkeypatch.setenv("TIDEMARK_REDIS_URL", "redis://environment")
    monkeypatch.delenv("TIDEMARK_KAFKA_BOOTSTRAP", raising=False)
    state = state_in(tmp_path)
    found = addresses(state)
    assert (found.kafka_bootstrap, found.redis_url) == ("file:1", "redis://environment")
    state.write(record_of_this_process(Addresses("fleet:1", "redis://fleet"), {}, "/c"))
    assert addresses(state).kafka_bootstrap == "fleet:1"


async def test_control_when_asked_then_answers_and_tells_errors() -> None:
    async def handler(request: dict[str, object]) -> dict[str, object]:
        if request["command"] == "fail":
            raise ValueError("no such service")
        return {"echo": request["command"]}

    async with ControlServer(handler) as server:
        assert await ask(str(server.path), {"command": "hello"}) == {"echo": "hello"}
        with pytest.raises(ControlError, match="no such service"):
            await ask(str(server.path), {"command": "fail"})
        answers = await asyncio.gather(*(ask(str(server.path), {"command": str(n)}) for n in range(20)))
        assert [answer["echo"] for answer in answers] == [str(n) for n in range(20)]
    with pytest.raises(ControlError, match="does not answer"):
        await ask(str(server.path), {"command": "hello"})
