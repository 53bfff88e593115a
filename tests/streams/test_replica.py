"""Replicas that are started alike: each has a name and a directory of its own, and has them again after a crash."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from streams.process.replica import as_replica
from streams.process.settings import Settings

PROGRAM = """
import json, sys
from pathlib import Path
from streams.process.replica import as_replica
from streams.process.settings import Settings
mine = as_replica(Settings(data_dir=Path(sys.argv[1]), replicas_share_data=True), "risk")
print(json.dumps([mine.worker_id, str(mine.data_dir)]), flush=True)
sys.stdin.read()
"""


class Replica:
    """A process that has taken its place."""

    def __init__(self, shared: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(shared)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.place: list[str] = json.loads(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[list[Replica]]:
    running = [Replica(tmp_path), Replica(tmp_path)]
    yield running
    for replica in running:
        replica.kill()


def test_replicas_when_started_alike_then_each_has_a_place_and_the_next_one_has_that_of_a_killed_one(
    replicas: list[Replica], tmp_path: Path
) -> None:
    first, second = replicas
    assert [first.place, second.place] == [["risk-1", str(tmp_path)], ["risk-2", str(tmp_path / "2")]]
    second.kill()
    replicas.append(again := Replica(tmp_path))
    assert again.place == second.place
    first.kill()
    replicas.append(again := Replica(tmp_path))
    assert again.place == first.place


def test_settings_when_replicas_share_nothing_then_they_are_as_they_were(tmp_path: Path) -> None:
    alone = Settings(data_dir=tmp_path, worker_id="mine")
    assert as_replica(alone, "risk") is alone


@pytest.mark.parametrize("service", ["risk", "signals"])
def test_compose_then_replicas_of_a_service_are_told_apart(service: str) -> None:
    composed = yaml.safe_load((Path(__file__).parents[2] / "compose" / "compose.yaml").read_text(encoding="utf-8"))
    described = composed["services"][service]
    assert not {"hostname", "container_name", "ports"} & described.keys(), "every replica would have the same one"
    assert described["environment"]["TIDEMARK_REPLICAS_SHARE_DATA"] == "true"
