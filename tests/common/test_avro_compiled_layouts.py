"""Bars, depths and marks as Avro records: the bytes that the general codec writes of the same rows."""

from typing import Any

import numpy as np
import pytest
from common.avro.compiled import LayoutWriter, SchemaUnsupported, ValueUnfit, layout_writer
from common.avro.rows import datum_of
from common.contracts.market import BAR, DEPTH, MARK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.common.avro_messages import General, framed

ID = 7
BARS = layout_writer("Bar", BAR)
DEPTHS = layout_writer("Depth", DEPTH)
MARKS = layout_writer("Mark", MARK)
SYMBOLS = st.sampled_from([b"", b"A", b"BRK.B", b"0123456789ABCDEF"])


@pytest.mark.parametrize("of", [BARS, DEPTHS, MARKS], ids=lambda of: of.schema["name"])
@given(st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_write_when_rows_are_any_then_the_bytes_are_the_general_codecs(of: LayoutWriter, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, 5))
    rows = data.draw(arrays(np.uint8, size * of.layout.itemsize)).view(of.layout).copy()
    rows["symbol"] = [data.draw(SYMBOLS) for _ in range(size)]
    if of is MARKS:
        rows["trading_state"] %= 128
    if of is DEPTHS and size:
        rows["bids"][:, data.draw(st.integers(0, 10)) :] = np.zeros(1, rows["bids"].dtype)
    general, datum = General(of.schema), datum_of(of.layout)
    assert of.write(rows, ID).values() == [framed(ID, general.encoded(datum(row))) for row in rows]


def test_write_when_a_text_is_not_ascii_then_it_does_not_fit() -> None:
    rows = np.zeros(2, MARK)
    rows["trading_state"][1] = 0xC4
    with pytest.raises(ValueUnfit, match="row 1: trading_state"):
        MARKS.write(rows, ID)


def test_write_when_rows_are_of_another_layout_then_they_are_refused() -> None:
    with pytest.raises(TypeError, match="not rows"):
        MARKS.write(np.zeros(1, BAR), ID)


@pytest.mark.parametrize("of", [[("text", "S4")], [("code", "u1")]])
def test_layout_when_rows_in_a_row_have_texts_then_it_is_refused(of: Any) -> None:
    with pytest.raises(SchemaUnsupported, match="x: only numbers"):
        layout_writer("Rows", np.dtype([("x", np.dtype(of), (2,))]))
