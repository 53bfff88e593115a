"""The command line itself: every command explains itself, and errors say what to do."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from common.contracts.topics import MD_BARS, MD_TICKS
from tidemark.main import app
from typer.testing import CliRunner

COMMANDS = ("demo", "up", "down", "status", "config", "replay", "read", "audit", "projection", "auditor", "dump")
NOWHERE = "127.0.0.1:1"


def tidemark(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_help_then_every_command_is_listed() -> None:
    code, text, _ = tidemark("--help")
    assert code == 0
    assert all(f" {command} " in text for command in COMMANDS)


def test_command_when_its_script_is_on_no_path_then_python_runs_it_as_a_module() -> None:
    asked = [sys.executable, "-m", "tidemark", "--help"]
    text = subprocess.run(asked, env=os.environ | {"TERM": "dumb"}, check=True, capture_output=True, text=True).stdout
    assert "Usage: tidemark [OPTIONS] COMMAND" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_then_it_says_what_it_does_and_every_option_is_explained(command: str) -> None:
    code, text, _ = tidemark(command, "--help")
    assert code == 0
    assert f"Usage: tidemark {command}" in text
    assert len(text.splitlines()) > 8


def test_status_when_nothing_runs_then_says_how_to_start(tmp_path: Path) -> None:
    code, _, errors = tidemark("status", "--state-dir", str(tmp_path))
    assert code == 1
    assert "tidemark up" in errors


def test_down_when_nothing_runs_then_it_is_no_error(tmp_path: Path) -> None:
    code, _, errors = tidemark("down", "--state-dir", str(tmp_path))
    assert code == 0
    assert "no fleet runs" in errors


def test_read_when_topic_is_unknown_then_the_known_are_named(tmp_path: Path) -> None:
    code, _, errors = tidemark("read", "md.tick", "--state-dir", str(tmp_path))
    assert code == 1
    assert MD_TICKS.name in errors


def test_read_when_no_broker_answers_then_one_line_says_where_it_was_looked_for(tmp_path: Path) -> None:
    code, _, errors = tidemark("read", MD_BARS.name, "--bootstrap", NOWHERE, "--state-dir", str(tmp_path))
    assert code == 1
    assert "error:" in errors
    assert "Traceback" not in errors


def test_replay_when_the_name_has_no_date_then_asks_for_one(tmp_path: Path) -> None:
    path = tmp_path / "feed.itch"
    path.write_bytes(b"")
    code, _, errors = tidemark("replay", str(path))
    assert code == 1
    assert "--date" in errors


def test_replay_when_speed_is_no_speed_then_says_so(tmp_path: Path) -> None:
    path = tmp_path / "2024-01-02.itch"
    path.write_bytes(b"")
    code, _, errors = tidemark("replay", str(path), "--speed", "fast")
    assert code == 1
    assert "--speed" in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_read_when_interrupted_while_it_waits_then_ends_at_once_with_130(
    tmp_path: Path, number: signal.Signals
) -> None:
    # A broker that accepts and never answers, as one that is stuck does.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bootstrap = f"127.0.0.1:{listener.getsockname()[1]}"
        command = [sys.executable, "-m", "tidemark.main", "read", MD_BARS.name, "--bootstrap", bootstrap]
        with subprocess.Popen(
            [*command, "--state-dir", str(tmp_path)], stderr=subprocess.PIPE, text=True, env=dict(os.environ)
        ) as process:
            connection, _ = listener.accept()
            with connection:
                began = time.monotonic()
                process.send_signal(number)
                assert process.wait(20) == 130
                assert time.monotonic() - began < 10


def test_status_as_json_when_nothing_runs_then_no_broken_json(tmp_path: Path) -> None:
    code, text, _ = tidemark("status", "--json", "--state-dir", str(tmp_path))
    assert code == 1
    assert not text or json.loads(text)
