"""The market of a running fleet as DataFrames: VWAP of each minute out of its seconds, alerts by kind, quotes.

    python examples/minute_vwap.py

Ends with 1 where a minute's VWAP is not the service's.
"""

import sys

from tidemark.client import Fleet

MINUTE_NS = 60_000_000_000


def main() -> int:
    fleet = Fleet()
    seconds = fleet.bars(window="1s").to_pandas()
    seconds["window_start_ns"] -= seconds["window_start_ns"] % MINUTE_NS
    sums = seconds.groupby(["symbol", "window_start_ns"])[["notional_e4", "volume"]].sum()
    ours = sums["notional_e4"] // sums["volume"]
    theirs = fleet.bars(window="1m").to_pandas().set_index(["symbol", "window_start_ns"])["vwap_e4"]
    both = ours.to_frame("ours").join(theirs, how="inner")  # the last minute may be open
    different = both[both["ours"] != both["vwap_e4"]]
    print(f"{len(both)} minutes, of which {len(different)} differ")
    print(fleet.alerts().to_polars().group_by("kind").len().sort("kind"))
    print(fleet.marks().to_arrow().select(["symbol", "bid_e4", "ask_e4", "last_e4"]))
    return 1 if len(different) or both.empty else 0


if __name__ == "__main__":
    sys.exit(main())
