"""Whether one pattern allows all that another does, with Python's own patterns as the referee."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import pytest
from common.contracts.patterns import refused
from common.contracts.schemas import contracts
from common.contracts.values import SYMBOL_PATTERN
from common.testing.listed_symbols import LISTED
from hypothesis import given
from hypothesis import strategies as st

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


def symbol_patterns(schema: Any) -> Iterator[str]:
    """Patterns of every field of a JSON Schema that is called ``symbol``."""
    if isinstance(schema, Mapping):
        for name, field in schema.get("properties", {}).items():
            if name == "symbol":
                yield from (one["pattern"] for one in (field, *field.get("anyOf", ())) if "pattern" in one)
        for inner in schema.values():
            yield from symbol_patterns(inner)
    elif isinstance(schema, Sequence) and not isinstance(schema, str):
        for inner in schema:
            yield from symbol_patterns(inner)


def test_symbols_when_a_message_has_one_then_any_that_a_feed_may_list() -> None:
    found = {contract.name: set(symbol_patterns(contract.document)) for contract in contracts()}
    with_symbol = {name: patterns for name, patterns in found.items() if patterns}
    assert {"instrument", "order-intent", "risk-decision", "execution-report", "order-event"} <= with_symbol.keys()
    assert all(patterns == {f"^{SYMBOL_PATTERN}$"} for patterns in with_symbol.values()), with_symbol
    assert all(re.fullmatch(SYMBOL_PATTERN, symbol) for symbol in LISTED)


def test_symbols_when_a_release_of_before_reads_them_then_only_the_sign_of_partly_paid_issues_is_new() -> None:
    before = r"^[A-Z0-9][A-Z0-9.+=^#*/$!~%-]{0,15}$"
    assert refused(before, f"^{SYMBOL_PATTERN}$") is None
    assert refused(f"^{SYMBOL_PATTERN}$", before) == "0@"
