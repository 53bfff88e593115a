"""The bench of attacks: a short run of all of it."""

import pytest

from bench.attacks.__main__ import measure, parse
from bench.attacks.attackers import ATTACKS


def test_attacks_when_one_is_unknown_then_an_error_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--only", "one account,nonsense"])
    assert "no attack nonsense" in capsys.readouterr().err
    assert parse(["--only", "one account, connections"]).only == ["one account", "connections"]


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_attacks_when_they_are_short_then_each_struck_and_the_others_were_answered() -> None:
    rows = await measure(parse(["--short"]))
    assert [row["attack"] for row in rows] == list(ATTACKS)
    for row in rows:
        assert row["attackers saw"], f"{row['attack']} did nothing"
        assert row["p99 during"] > 0
        assert row["no answer"] == 0
