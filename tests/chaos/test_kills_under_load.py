"""Every service dies by SIGKILL while orders come in over HTTP and through the topic; the money adds up."""

from pathlib import Path

import pytest
from tidemark.deployment import Deployment, DeploymentOptions
from tidemark.feeds import synthetic_feed
from tidemark.load.trial import Crowd, TrialOptions
from tidemark.quotes import QuoteBoard
from tidemark.services import SERVICES
from tidemark.state import StateDir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


async def test_money_when_every_service_is_killed_in_turn_under_load_then_the_audit_finds_nothing(
    tmp_path: Path,
) -> None:
    feed = synthetic_feed(seed=11, rate_per_s=1_000, symbols=20)
    options = DeploymentOptions(any_free_ports=True, feed=feed, keep=False)
    async with (
        Deployment(StateDir(tmp_path), options) as deployment,
        QuoteBoard(deployment.addresses.redis_url) as quotes,
    ):
        crowd = Crowd(deployment, quotes, print)
        await crowd.open(accounts=20)
        outcome = await crowd.trial(
            TrialOptions("kills", over_http=600, http_per_s=20, through_topic=3_000, kills=SERVICES)
        )
        assert outcome.killed == SERVICES
        assert outcome.unanswered == 0
        assert outcome.sent == 3_000
        assert outcome.audit.fills > 0
        assert [c for c in outcome.audit.comparisons if not c.is_sound] == []
        assert outcome.tally.unexpected == []
        assert outcome.audit.ledger_sum_e4 == 0
