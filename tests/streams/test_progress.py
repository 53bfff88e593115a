"""How far a restore is, in the log."""

import logging
from collections.abc import Iterator

import pytest
import structlog
from streams.stage.progress import Meter, Progress


@pytest.fixture
def heard_logs() -> Iterator[None]:
    """Tests are quiet otherwise."""
    before = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    yield
    structlog.configure(wrapper_class=before)


@pytest.mark.usefixtures("heard_logs")
def test_meter_when_a_restore_goes_on_then_the_log_has_rows_rate_and_the_rest_once_a_second() -> None:
    now_s = 100.0
    shown: list[Progress] = []
    meter = Meter("risk.gate", 3, shown.append, lambda: now_s)
    with structlog.testing.capture_logs() as logs:
        for step in range(1, 26):
            now_s = 100.0 + step / 10
            meter("restoring", step * 100, 10_000, step * 90)
    assert len(shown) == 25
    assert [(line["done"], line["remaining"], line["rows"], line["rows_per_s"]) for line in logs] == [
        (1_000, 9_000, 900, 900),
        (2_000, 8_000, 1_800, 900),
    ]
    assert {(line["event"], line["stage"], line["partition"]) for line in logs} == {("task_progress", "risk.gate", 3)}
