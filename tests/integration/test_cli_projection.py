"""``tidemark projection``: what it refuses, and what it says. What it does is in tests/orders/test_worker_faults.py."""

import json
from pathlib import Path

import pytest
from common.contracts.topics import ORDERS_EVENTS, RISK_LEDGER
from orders.rebuild import State, tables
from tidemark.commands import projection as command
from tidemark.main import app
from tidemark.projection import LogRange
from typer.testing import CliRunner

EVENTS, LEDGER = (ORDERS_EVENTS.name, 0), (RISK_LEDGER.name, 0)
NOWHERE = "127.0.0.1:1"
WHOLE: LogRange = {EVENTS: (0, 90), LEDGER: (0, 40)}
EXPIRED: LogRange = {EVENTS: (70, 90), LEDGER: (0, 40)}


def state(*, missing: str = "", wrong: tuple[str, ...] = ()) -> State:
    rows = {name: None if name == missing else 7 for name in tables()}
    return State(rows, {EVENTS: 80}, [(*EVENTS, 3, 9)], [("today", "me", "why")], wrong)


@pytest.mark.parametrize(
    ("found", "ranges", "given", "says"),
    [
        (state(), WHOLE, {}, ""),
        (state(missing="executions"), WHOLE, {}, "executions"),
        (state(missing="executions"), WHOLE, {"recreate": True}, ""),
        (state(wrong=("orders.text",)), WHOLE, {}, "orders.text"),
        (state(), EXPIRED, {}, f"{ORDERS_EVENTS.name}/0 begins at 70"),
        (state(), EXPIRED, {"recreate": True}, "--accept-loss"),
        (state(), EXPIRED, {"accept_loss": True}, ""),
    ],
)
def test_rebuild_is_refused_where_it_would_lose_rows_or_could_not_make_them(
    found: State, ranges: LogRange, given: dict[str, bool], says: str
) -> None:
    refusal = command._refusal(found, ranges, **({"recreate": False, "accept_loss": False} | given))
    assert says in refusal
    assert bool(says) is bool(refusal)


def test_show_as_json_has_places_rows_and_history(capsys: pytest.CaptureFixture[str]) -> None:
    command._show(state(missing="orders"), EXPIRED, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["places"][0] == {
        "topic": ORDERS_EVENTS.name,
        "partition": 0,
        "log_from": 70,
        "projected": 80,
        "log_to": 90,
    }
    assert (found["rows"]["orders"], found["rows"]["balances"]) == (None, 7)
    assert found["holes"] == [{"topic": ORDERS_EVENTS.name, "partition": 0, "first": 3, "end": 9}]
    assert found["rebuilds"] == [{"at": "today", "by": "me", "reason": "why"}]


def test_projection_when_nothing_answers_then_one_line_says_so(tmp_path: Path) -> None:
    where = ("--bootstrap", NOWHERE, "--postgres", f"postgresql://{NOWHERE}/x", "--state-dir", str(tmp_path))
    result = CliRunner(env={"TERM": "dumb"}).invoke(app, ["projection", "show", *where])
    assert result.exit_code == 1
    assert "error:" in result.stderr and "Traceback" not in result.stderr


def test_every_table_is_made_by_the_migrations() -> None:
    assert set(tables()) >= {
        *("orders", "executions", "decisions", "command_results", "accounts", "ledger_entries", "balances"),
        *("projection_positions", "projection_holes", "projection_rebuilds"),
    }
