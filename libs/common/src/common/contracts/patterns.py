"""Whether every text that one pattern allows is allowed by another: a pattern may grow, and its readers go first.

Covers what contracts are made of: ``^``, then characters and classes of them, each repeated between so and so often,
then ``$``. Of any other pattern nothing is known, and only the same one reads it.
"""

import re
from collections import deque
from importlib import import_module
from typing import Any, Final

# The standard library's own reading of a pattern has no public name.
regex: Final = import_module("re._constants")
parser: Final = import_module("re._parser")
_ALPHABET: Final = tuple(chr(code) for code in range(32, 127))
"""Characters that are told apart. A class that holds any other is not understood."""
_STATES_MAX: Final = 4_096

Element = tuple[frozenset[str], bool]
"""Characters of one place, and whether a text may leave it out."""


class _NotUnderstoodError(ValueError):
    """The pattern is not of the kind that is compared here."""


def refused(written: str, read: str) -> str | None:
    """A text that ``written`` allows and ``read`` does not; None where there is none.

    Raises ValueError where the two differ and one of them is not understood.
    """
    if written == read:
        return None
    ours, theirs = _elements(written), _elements(read)
    start = (0, _reached(theirs, frozenset({0})))
    seen, waiting = {start}, deque([(start, "")])
    while waiting:
        (place, places), text = waiting.popleft()
        if _may_end(ours, place) and len(theirs) not in places:
            return text
        for after, letter in _steps(ours, place):
            following = (after, _reached(theirs, _read(theirs, places, letter)))
            if following not in seen:
                seen.add(following)
                waiting.append((following, text + letter))
    return None


def _steps(elements: list[Element], place: int) -> list[tuple[int, str]]:
    """Places behind each character that may come next, with the character."""
    found: list[tuple[int, str]] = []
    for number in range(place, len(elements)):
        letters, may_be_left_out = elements[number]
        found += [(number + 1, letter) for letter in sorted(letters)]
        if not may_be_left_out:
            break
    return found


def _may_end(elements: list[Element], place: int) -> bool:
    return all(may_be_left_out for _, may_be_left_out in elements[place:])


def _read(elements: list[Element], places: frozenset[int], letter: str) -> frozenset[int]:
    return frozenset(place + 1 for place in places if place < len(elements) and letter in elements[place][0])


def _reached(elements: list[Element], places: frozenset[int]) -> frozenset[int]:
    """The places, and those behind what may be left out."""
    found = set(places)
    for place in places:
        while place < len(elements) and elements[place][1]:
            place += 1
            found.add(place)
    return frozenset(found)


def _elements(pattern: str) -> list[Element]:
    """The pattern place by place. Raises ValueError."""
    try:
        parsed = list(parser.parse(pattern))
    except re.error as error:
        raise _NotUnderstoodError(f"{pattern!r} is no pattern: {error}") from error
    edges = [(regex.AT, regex.AT_BEGINNING), (regex.AT, regex.AT_END)]
    if len(parsed) < len(edges) or [parsed[0], parsed[-1]] != edges:
        raise _NotUnderstoodError(f"{pattern!r} does not say the whole text")
    elements: list[Element] = []
    for code, argument in parsed[1:-1]:
        elements += _repeated(argument) if code is regex.MAX_REPEAT else [(_letters(code, argument), False)]
        if len(elements) > _STATES_MAX:
            raise _NotUnderstoodError(f"{pattern!r} is longer than {_STATES_MAX} characters")
    return elements


def _repeated(argument: Any) -> list[Element]:
    least, most, inner = argument
    if most == regex.MAXREPEAT or len(inner) != 1 or most > _STATES_MAX:
        raise _NotUnderstoodError("a repeat without an end, or of more than one character")
    letters = _letters(*inner[0])
    return [(letters, number >= least) for number in range(most)]


def _letters(code: Any, argument: Any) -> frozenset[str]:
    """Characters of one place."""
    if code is regex.LITERAL:
        found = {chr(argument)}
    elif code is regex.IN:
        found = set[str]()
        for kind, value in argument:
            if kind is regex.LITERAL:
                found.add(chr(value))
            elif kind is regex.RANGE:
                found |= {chr(letter) for letter in range(value[0], value[1] + 1)}
            else:
                raise _NotUnderstoodError(f"{kind} in a class of characters")
    else:
        raise _NotUnderstoodError(f"{code} in a pattern")
    if not found <= set(_ALPHABET):
        raise _NotUnderstoodError("a character that is not printable ASCII")
    return frozenset(found)
