"""Identity of a caller: a person or a program, with its roles and the accounts that are its own."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from common.contracts.rights import Grants, Reach, Role, reach_of

EVERY_ACCOUNT: Final = "*"
"""At the end of a pattern: every account whose id begins with what stands before it."""
ACCOUNTS_MAX: Final = 1_000
"""Accounts and patterns that one identity names at most."""


@dataclass(frozen=True, slots=True)
class OwnAccounts:
    """Accounts of an identity: ids, and beginnings of ids."""

    ids: frozenset[str] = frozenset()
    beginnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Self:
        """Each pattern is an id, or a beginning followed by ``*``."""
        given = list(patterns)
        beginnings = tuple(sorted(each[:-1] for each in given if each.endswith(EVERY_ACCOUNT)))
        return cls(frozenset(each for each in given if not each.endswith(EVERY_ACCOUNT)), beginnings)

    def __contains__(self, account_id: str) -> bool:
        return account_id in self.ids or account_id.startswith(self.beginnings)

    def patterns(self) -> list[str]:
        """The patterns again, sorted."""
        return sorted([*self.ids, *(f"{each}{EVERY_ACCOUNT}" for each in self.beginnings)])


@dataclass(frozen=True, slots=True)
class Identity:
    """Seconds are since the Unix epoch. ``credential`` names the token or key, and is no secret."""

    subject: str
    roles: frozenset[Role]
    accounts: OwnAccounts = OwnAccounts()
    client: str = ""
    """The program through which the subject acts."""
    credential: str = ""
    issued_s: float = 0.0
    expires_s: float = float("inf")

    def reach(self, grants: Grants) -> Reach | None:
        """How far the right goes; None where there is none."""
        return reach_of(grants, self.roles)

    def may(self, grants: Grants, account_id: str = "") -> bool:
        """Whether the right is there, for the account where one is named."""
        reach = self.reach(grants)
        return reach is Reach.ALL or (reach is Reach.OWN and account_id in self.accounts)


ANYONE: Final = Identity("anyone", frozenset(Role), OwnAccounts.of([EVERY_ACCOUNT]))
"""Identity of everybody where no issuer is set (``AccessSettings``)."""
