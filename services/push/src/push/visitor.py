"""The person or program at the other end of a connection, and what may be shown to it."""

from common.access.http import Admission, Refusal
from common.access.identity import Identity
from common.contracts.rights import VIEWS

from push.domain.topic import Topic


class Visitor:
    """Nobody, until a good credential has come; then the same subject until the end."""

    def __init__(self, admission: Admission, client: str, identity: Identity | None) -> None:
        """``client``: whose failures are counted; ``identity``: what the handshake said."""
        self._admission = admission
        self._client = client
        self.identity = identity

    @property
    def is_good(self) -> bool:
        """False once the identity has ended, or was revoked."""
        return self.identity is None or self._admission.identities.is_good(self.identity)

    def may_see(self, topic: Topic) -> bool:
        """By the table of rights; of an account's views by the account."""
        return self.identity is not None and self.identity.may(VIEWS[topic.name], topic.scope)

    async def authenticate(self, credential: str) -> Identity:
        """Raises Refusal, also where it is another subject's: a screen does not become somebody else's by itself."""
        identity = await self._admission.admit(credential, self._client)
        if self.identity is not None and identity.subject != self.identity.subject:
            raise Refusal("not-permitted", "the connection is another subject's")
        self.identity = identity
        return identity
