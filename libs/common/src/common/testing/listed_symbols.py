"""Symbols as exchanges list them, for tests that must not stop at the letters of most."""

from typing import Final

_WRITTEN: Final = "- -A -Z .A .Z -$ $ + +A * .A* -* -A* -A# ! @ % %* .A% -A% -A$ ^ = # ^# -# .A# +# ~"
SUFFIXES: Final = ("", *_WRITTEN.split())
"""Every suffix of Nasdaq's integrated platform (nasdaqtrader.com, "Ticker Symbol Convention"); A stands for A to Z."""
LISTED: Final = tuple(f"{root}{suffix}" for root in ("X", "ABCD") for suffix in SUFFIXES)
