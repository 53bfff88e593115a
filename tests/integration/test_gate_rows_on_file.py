"""The gate's rows as the ledger's readers declare them, against the contract that is on file in the repository."""

import json
import re
from typing import Any

import pytest
from common.contracts.schemas import DIRECTORY
from common.ledger.gate_rows import TABLES
from streams.model.row_layouts import struct_layout


def newest_on_file() -> dict[str, Any]:
    """The layout of the gate's rows in the highest version there is."""
    files = {
        int(found[1]): path
        for path in DIRECTORY.iterdir()
        if (found := re.search(r"^rows-risk\.gate\.v(\d+)", path.name))
    }
    described: dict[str, Any] = json.loads(files[max(files)].read_text("utf-8"))
    return described


@pytest.mark.parametrize("table", TABLES)
def test_row_begins_with_the_fields_that_are_on_file(table: str) -> None:
    """A field that the gate appends is not read; one that it inserts, drops or retypes is noticed here."""
    declared = struct_layout(TABLES[table])
    on_file = newest_on_file()[table]
    assert on_file["array"] and declared["array"]
    assert on_file["fields"][: len(declared["fields"])] == declared["fields"]
