"""The text that the CSV kernel writes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from signals.domain.csv_kernel import csv_lines

INT64 = st.one_of(st.integers(-(2**63) + 1, 2**63 - 1), st.integers(0, 18).map(lambda n: 10**n), st.integers(-9, 9))


@settings(deadline=None)
@given(st.lists(st.tuples(INT64, st.integers(0, 2), INT64), max_size=20))
def test_csv_lines_when_any_integers_then_as_python_writes_them(rows: list[tuple[int, int, int]]) -> None:
    symbols = np.array([b"A", b"BRK.A", b"SIXTEEN.LETTERS!"], "S16")
    numbers = np.array(rows, np.int64).reshape(-1, 3)
    expected = "".join(f"{a},{symbols[i].decode()},{b}\n" for a, i, b in rows)
    assert csv_lines(numbers, 1, symbols).decode() == expected
