"""The public interface: small, whole, and nothing is imported before it is asked for."""

import subprocess
import sys
from typing import Any

import pytest
import streams

NAMES = dir(streams)


@pytest.mark.parametrize("name", NAMES)
def test_public_name_when_it_is_asked_for_then_it_is_there_and_the_readme_says_what_it_is(
    name: str, readme: Any
) -> None:
    assert getattr(streams, name) is not None
    assert f"`{name}`" in readme.table


def test_public_interface_when_something_else_is_asked_for_then_it_is_an_attribute_error() -> None:
    assert len(NAMES) <= 22
    with pytest.raises(AttributeError, match="utils"):
        _ = streams.utils


def test_process_without_stages_when_it_imports_what_it_needs_then_no_client_of_kafka_is_loaded() -> None:
    program = (
        "import sys; from streams import Message, Settings, Topic, View; import streams.service.frame; "
        "print([name for name in ('aiokafka', 'rocksdict', 'faust') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "[]"
