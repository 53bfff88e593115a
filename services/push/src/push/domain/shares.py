"""Shares of push among clients by address, so that no one of them takes what is everybody's."""

from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address
from typing import Final

ADDRESSES_MAX: Final = 10_000
IPV6_NETWORK_BITS: Final = 64
"""One subscriber of a network usually has all addresses of such a prefix."""


class TokenBucket:
    """Grants a burst at once, and a rate per second in the long run."""

    def __init__(self, per_s: float, burst: int, now_s: float) -> None:
        self._per_s = per_s
        self._burst = float(burst)
        self._tokens = float(burst)
        self._at_s = now_s

    def take(self, now_s: float, count: int = 1) -> bool:
        """Whether there were so many."""
        self._fill(now_s)
        if self._tokens < count:
            return False
        self._tokens -= count
        return True

    def spend(self, now_s: float, cost: float) -> bool:
        """Whether any were left; more than there were are owed, and paid before the next."""
        self._fill(now_s)
        if self._tokens <= 0:
            return False
        self._tokens -= cost
        return True

    def until_some_s(self, now_s: float) -> float:
        """Seconds until ``spend`` succeeds."""
        self._fill(now_s)
        return max(0.0, (1 - self._tokens) / self._per_s)

    def is_full(self, now_s: float) -> bool:
        self._fill(now_s)
        return self._tokens >= self._burst

    def _fill(self, now_s: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s


class Share:
    """The budgets of one client address."""

    def __init__(self, handshakes: TokenBucket, subscriptions: TokenBucket, snapshot_rows: TokenBucket) -> None:
        self.handshakes = handshakes
        self.subscriptions = subscriptions
        self.snapshot_rows = snapshot_rows
        self.clients = 0

    def is_unused(self, now_s: float) -> bool:
        """Whether a new one would allow the same."""
        buckets = (self.handshakes, self.subscriptions, self.snapshot_rows)
        return not self.clients and all(bucket.is_full(now_s) for bucket in buckets)


class Shares:
    """By address. Whoever leaves and comes back finds what is left of its share, not a new one."""

    def __init__(self, handshakes_per_s: float, subscriptions_per_s: float, snapshot_rows_per_s: float, burst_s: float):
        self._rates = (handshakes_per_s, subscriptions_per_s, snapshot_rows_per_s)
        self._burst_s = burst_s
        self._by_network: dict[str, Share] = {}

    def of(self, address: str, now_s: float) -> Share:
        """The share of the address's network."""
        network = network_of(address)
        share = self._by_network.get(network)
        if share is None:
            if len(self._by_network) >= ADDRESSES_MAX:
                self._forget(self._by_network.items(), now_s)
            buckets = (TokenBucket(rate, max(1, round(rate * self._burst_s)), now_s) for rate in self._rates)
            share = self._by_network[network] = Share(*buckets)
        return share

    def _forget(self, shares: Iterable[tuple[str, Share]], now_s: float) -> None:
        kept = {network: share for network, share in shares if not share.is_unused(now_s)}
        while len(kept) >= ADDRESSES_MAX:  # so many at once: the oldest of those without a client begins anew
            oldest = next((network for network, share in kept.items() if not share.clients), None)
            if oldest is None:
                break
            del kept[oldest]
        self._by_network = kept


def network_of(address: str) -> str:
    """An IPv4 address itself, of an IPv6 address its /64; any other text as it is."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(IPv6Address(int(parsed) >> IPV6_NETWORK_BITS << IPV6_NETWORK_BITS))
    return address
