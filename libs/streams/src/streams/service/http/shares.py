"""Fair shares: while several want something, nobody gets much more of it than the others do.

A request belongs to a client and to an account. Alone, each may use nearly everything there is. Beside others it may
have ``running_share`` requests and ``busy_share`` of the event loop's time, beside others that write ``writes_share``
orders a second, and beyond these at most ``GREED`` times the mean of the others: those who all want the same are never
slowed down by this, whatever they want. What is over its share waits for its turn in a queue of its own; where that
stays long, the newest is turned away, and told when to come again: those of one account come one after the other, since
refusals cost time, too. No clock is read here: ``now_s`` comes in.
"""

import asyncio
import heapq
import math
from collections import deque
from dataclasses import dataclass
from typing import Final

GREED: Final = 2.0
BUSY: Final = 0.5
"""Part of a share of time: a party above it for long, with a long queue, is turned away, not only made to wait."""
ACTIVE_S: Final = 1.0
"""Seconds without a request after which a party does not count among the others."""
MEMORY_S: Final = 1.0
"""Time constant by which used time is forgotten."""
WRITES_MEMORY_S: Final = 0.2
"""The same of writes: so many seconds' worth of them may begin at once. A slow fleet answers late, so that the number
of requests that run says little about what an account asks for; how fast it begins them says it in any fleet."""
AGAIN_MIN_S: Final = 1.0
AGAIN_MAX_S: Final = 10.0
"""Longest pause of a party that was turned away; a tenth of a second lies between two of one account."""
AGAIN_EVERY_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class ShareLimits:
    """``*_max``: of all together, or of one who is alone; ``*_share``: of one beside others."""

    total_max: int
    """Requests that run or wait."""
    client_running_max: int
    account_running_max: int
    """At a time, of one account that is alone. The rest up to ``client_running_max`` is for accounts with few."""
    running_share: int
    busy_share: float
    """Seconds of the event loop in a second."""
    writes_share: float
    """Orders, cancels and commands of an account in a second: others pay for them in the whole fleet."""
    waiting_share: int
    burst_s: float
    """More than ``waiting_share`` may wait for so long."""
    wait_s: float


class TooMuch(Exception):
    """Turned away: who asks is over his share (``is_greedy``), or there is no room for anybody."""

    def __init__(self, detail: str, *, is_greedy: bool, again_s: float = AGAIN_MIN_S) -> None:
        super().__init__(detail)
        self.is_greedy = is_greedy
        self.again_s = again_s
        """Seconds after which it may come again."""


class _Party:
    """One client, or one account."""

    __slots__ = ("again_s", "at_s", "queued_s", "running", "used", "waiting")

    def __init__(self, now_s: float) -> None:
        self.running = 0
        self.used = 0.0
        self.at_s = now_s
        self.again_s = 0.0
        """When the last of those that were turned away comes again."""
        self.waiting: deque[Ticket] = deque()
        self.queued_s = now_s
        """Since when some wait."""

    @property
    def asked(self) -> int:
        return self.running + len(self.waiting)

    def put_off(self, now_s: float) -> float:
        """Seconds after which one more that is turned away may come again."""
        self.again_s = min(max(self.again_s + AGAIN_EVERY_S, now_s + AGAIN_MIN_S), now_s + AGAIN_MAX_S)
        return self.again_s - now_s


class _Level:
    """All clients, all accounts, or all accounts that write; each may use ``used_share`` a second beside others."""

    def __init__(self, limits: ShareLimits, running_max: int, used_share: float, memory_s: float = MEMORY_S) -> None:
        self._limits = limits
        self._running_max = running_max
        self._memory_s = memory_s
        self._used_share = used_share * memory_s
        self.parties: dict[str, _Party] = {}
        self._running = 0
        self._used = 0.0
        self._at_s = 0.0

    def party(self, name: str, now_s: float) -> _Party:
        """The party, which is active from now on."""
        self._forget(now_s)
        found = self.parties.setdefault(name, _Party(now_s))
        found.used *= math.exp((found.at_s - now_s) / self._memory_s)
        found.at_s = now_s
        return found

    def may_run(self, name: str, now_s: float) -> bool:
        """Whether one more of its requests fits in its share."""
        party, others = self.party(name, now_s), len(self.parties) - 1
        if self._running >= self._running_max and party.running >= self._limits.running_share:
            return False
        if not others:
            return True
        running = GREED * (self._running - party.running) / others
        return party.running < max(self._limits.running_share, running) and self._load(party) < 1

    def is_busy(self, name: str, now_s: float) -> bool:
        """Whether it uses up its share beside others. Who only waits for a slow fleet does not."""
        return self.is_contended and name in self.parties and self._load(self.party(name, now_s)) > BUSY

    def _load(self, party: _Party) -> float:
        """Use, as a part of the share."""
        others = GREED * (self._used - party.used) / (len(self.parties) - 1)
        return party.used / max(self._used_share, others)

    @property
    def is_contended(self) -> bool:
        return len(self.parties) > 1

    def began(self, name: str) -> None:
        self.parties[name].running += 1
        self._running += 1

    def ended(self, name: str, now_s: float) -> None:
        self.party(name, now_s).running -= 1
        self._running -= 1

    def use(self, name: str, used: float, now_s: float) -> None:
        """``used``: seconds, or orders; what ``used_share`` is of."""
        self.party(name, now_s).used += used
        self._used += used

    def _forget(self, now_s: float) -> None:
        self._used *= math.exp((self._at_s - now_s) / self._memory_s)
        self._at_s = now_s

    def drop_idle(self, now_s: float) -> None:
        """Forgets who has not asked for a while, and is not expected again."""
        for name in [n for n, p in self.parties.items() if not p.asked and now_s - max(p.at_s, p.again_s) > ACTIVE_S]:
            del self.parties[name]


class Ticket:
    """A request that runs, or waits for its turn."""

    __slots__ = ("account", "client", "since_s", "turn", "writes")

    def __init__(
        self, client: str, account: str, since_s: float, turn: "asyncio.Future[None]", *, writes: bool
    ) -> None:
        self.client = client
        self.account = account
        self.since_s = since_s
        self.turn = turn
        self.writes = writes


class FairShares:
    """Turns of all parties. Whoever enters leaves; ``settle`` is called a few times a second."""

    def __init__(self, limits: ShareLimits) -> None:
        self._limits = limits
        self._clients = _Level(limits, limits.client_running_max, limits.busy_share)
        self._accounts = _Level(limits, limits.account_running_max, limits.busy_share)
        self._writers = _Level(limits, limits.account_running_max, limits.writes_share, WRITES_MEMORY_S)
        """Accounts again, by what they write: who only reads is no reason to hold up orders."""
        self._total = 0
        self._queued: dict[str, _Party] = {}
        """The accounts of which some requests wait."""

    @property
    def total(self) -> int:
        """Requests that run or wait."""
        return self._total

    @property
    def is_waited_for(self) -> bool:
        return bool(self._queued)

    def enter(self, client: str, account: str, now_s: float, *, writes: bool = False) -> Ticket:
        """A ticket; it runs once its ``turn`` is done, which it may be already. ``writes``: it is an order, a cancel or
        a command. Raises TooMuch.

        An account is told apart by client, so that nobody uses up another's share under his name.
        """
        account = f"{client} {account}"
        if self._total >= self._limits.total_max:
            self._turn_one_away(account, now_s)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ticket = Ticket(client, account, now_s, turn, writes=writes)
        party = self._accounts.party(account, now_s)
        self._clients.party(client, now_s)
        if not party.waiting and self._may_run(ticket, now_s):
            self._begin(ticket, now_s)
        elif self._is_queue_long(account, party, now_s):
            detail = f"{len(party.waiting)} requests wait already, and others are there"
            raise TooMuch(detail, is_greedy=True, again_s=party.put_off(now_s))
        else:
            if not party.waiting:
                party.queued_s = now_s
            party.waiting.append(ticket)
            self._queued[account] = party
        self._total += 1
        return ticket

    def leave(self, ticket: Ticket, used_s: float, now_s: float) -> None:
        """The request has ended, or does not want its turn any more."""
        self._total -= 1
        if ticket.turn.done() and not ticket.turn.cancelled() and ticket.turn.exception() is None:
            for level, name in self._levels(ticket):
                level.ended(name, now_s)
            self._clients.use(ticket.client, used_s, now_s)
            self._accounts.use(ticket.account, used_s, now_s)
            self._give_turns(now_s)
        elif (party := self._queued.get(ticket.account)) and ticket in party.waiting:
            party.waiting.remove(ticket)
            self._unqueue(ticket.account)

    def settle(self, now_s: float) -> None:
        """Forgets who is gone, turns away who waited for too long, and gives turns that time has made free."""
        for level in (self._clients, self._accounts, self._writers):
            level.drop_idle(now_s)
        for name, party in list(self._queued.items()):
            while party.waiting and now_s - party.waiting[0].since_s > self._limits.wait_s:
                self._refuse(party, party.waiting.popleft(), f"no turn within {self._limits.wait_s:g} s", now_s)
            self._unqueue(name)
        self._give_turns(now_s)

    def _is_queue_long(self, account: str, party: _Party, now_s: float) -> bool:
        return (
            (self._accounts.is_busy(account, now_s) or self._writers.is_busy(account, now_s))
            and len(party.waiting) >= self._limits.waiting_share
            and now_s - party.queued_s > self._limits.burst_s
        )

    def _may_run(self, ticket: Ticket, now_s: float) -> bool:
        return all(level.may_run(name, now_s) for level, name in self._levels(ticket))

    def _levels(self, ticket: Ticket) -> tuple[tuple[_Level, str], ...]:
        """Levels at which the ticket counts, each with its party's name."""
        levels = ((self._accounts, ticket.account), (self._clients, ticket.client))
        return (*levels, (self._writers, ticket.account)) if ticket.writes else levels

    def _begin(self, ticket: Ticket, now_s: float) -> None:
        for level, name in self._levels(ticket):
            level.began(name)
        if ticket.writes:
            self._writers.use(ticket.account, 1, now_s)
        ticket.turn.set_result(None)

    def _give_turns(self, now_s: float) -> None:
        """Those with the fewest running first."""
        queues = [(party.running, name) for name, party in self._queued.items()]
        heapq.heapify(queues)
        while queues:
            _, name = heapq.heappop(queues)
            party = self._queued[name]
            if party.waiting and self._may_run(party.waiting[0], now_s):
                ticket = party.waiting.popleft()
                if not ticket.turn.done():
                    self._begin(ticket, now_s)
                heapq.heappush(queues, (party.running, name))
            else:
                self._unqueue(name)

    def _turn_one_away(self, account: str, now_s: float) -> None:
        """There is no room: the newest of the account that asked for most goes, if it asked for more than this one."""
        asking = self._accounts.party(account, now_s)
        greediest = max(self._queued, key=lambda name: self._queued[name].asked, default=account)
        if greediest != account and self._queued[greediest].asked > asking.asked + 1:
            party = self._queued[greediest]
            self._refuse(party, party.waiting.pop(), "others want a part, too", now_s)
            self._unqueue(greediest)
            return
        is_greedy = asking.asked > self._total / len(self._accounts.parties)
        again_s = asking.put_off(now_s) if is_greedy else AGAIN_MIN_S
        raise TooMuch(f"{self._total} requests run or wait", is_greedy=is_greedy, again_s=again_s)

    def _refuse(self, party: _Party, ticket: Ticket, detail: str, now_s: float) -> None:
        if not ticket.turn.done():
            ticket.turn.set_exception(TooMuch(detail, is_greedy=True, again_s=party.put_off(now_s)))

    def _unqueue(self, account: str) -> None:
        if account in self._queued and not self._queued[account].waiting:
            del self._queued[account]
