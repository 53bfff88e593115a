"""A directory with the data of one broker is not started as a cluster of three, or the other way round."""

import re
from pathlib import Path

import pytest
from parts import PartsError
from parts.native_kafka import META, NativeKafka


@pytest.mark.parametrize(("kept", "brokers"), [(1, 3), (3, 1), (2, 3)])
def test_brokers_when_data_are_of_another_number_then_none_is_started(tmp_path: Path, kept: int, brokers: int) -> None:
    for node in range(1, kept + 1):
        (tmp_path / str(node) / "data").mkdir(parents=True)
        (tmp_path / str(node) / "data" / META).touch()
    said = re.escape(f"{tmp_path} has the data of {kept} brokers, not of {brokers}")
    with pytest.raises(PartsError, match=said):
        NativeKafka(tmp_path, brokers=brokers).start()
