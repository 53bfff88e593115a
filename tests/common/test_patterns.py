"""Whether one pattern allows all that another does, with Python's own patterns as the referee."""

import re
from itertools import product

import pytest
from common.contracts.patterns import refused
from common.contracts.values import ListedSymbol, Symbol
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

ELEMENTS = st.tuples(
    st.sampled_from(["a", "b", "[ab]", "[a-c]", r"\."]), st.sampled_from(["", "?", "{1,2}", "{0,3}", "{2}"])
)
PATTERNS = st.lists(ELEMENTS, min_size=1, max_size=3).map(lambda parts: f"^{''.join(a + b for a, b in parts)}$")
TEXTS = ["".join(letters) for size in range(6) for letters in product("abc.", repeat=size)]


@given(PATTERNS, PATTERNS)
def test_pattern_when_compared_then_a_text_is_refused_or_none_is(written: str, read: str) -> None:
    text = refused(written, read)
    if text is None:
        assert all(re.fullmatch(read, one) for one in TEXTS if re.fullmatch(written, one))
    else:
        assert re.fullmatch(written, text)
        assert not re.fullmatch(read, text)


@pytest.mark.parametrize(
    "pattern", ["[a-z]", "^a+$", "^(ab|c)$", "^[é]$", "^a", "(", "^a{1,9999}$", "^(ab){2}$", "^[^c]$", r"^\d$"]
)
def test_pattern_when_it_is_not_understood_then_it_says_so(pattern: str) -> None:
    assert refused(pattern, pattern) is None
    with pytest.raises(ValueError):
        refused(pattern, "^a$")


def test_symbols_when_of_orders_then_a_feed_may_list_them_and_partly_paid_issues_too() -> None:
    listed, ordered = (str(TypeAdapter(of).json_schema()["pattern"]) for of in (ListedSymbol, Symbol))
    assert refused(ordered, listed) is None
    assert refused(listed, ordered) == "0@"
