"""``tidemark up --feed udp``: what ingest is told, and what cannot be meant is said before anything starts."""

from pathlib import Path

import pytest
from ingest.settings import IngestSettings
from tidemark.feeds import UdpLine, refusal, udp_feed
from tidemark.main import app
from typer.testing import CliRunner


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--udp-port says where it arrives"),
        (["--udp-port", "26400", "--udp-group", "10.1.2.3"], "no multicast group"),
        (
            ["--udp-port", "26400", "--udp-group", "ff02::1", "--udp-host", "no-such-interface"],
            "neither an address nor",
        ),
        (["--udp-port", "26400", "--udp-request", "10.0.0.1"], "has no port"),
        (["--udp-port", "26400", "--udp-request", "::1:17000"], "stands in brackets"),
        (["--udp-port", "26400", "--udp-host", "no such host"], "the line cannot be opened"),
    ],
)
def test_up_when_the_line_cannot_be_meant_then_one_line_says_why_and_nothing_starts(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    state = tmp_path / "state"
    called = ["up", "--feed", "udp", *arguments, "--state-dir", str(state)]
    result = CliRunner(env={"COLUMNS": "400", "TERM": "dumb"}).invoke(app, called)
    assert result.exit_code == 1
    assert said in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
    assert not state.exists()


def test_line_when_it_is_given_then_ingest_reads_it_as_it_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    line = UdpLine(26_400, "2024-06-03", "::1", "ff15::83", "20240603A", "[::1]:17000")
    environment = udp_feed(line)
    assert refusal(environment) is None
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = IngestSettings()
    read = (settings.feed.udp.port, str(settings.feed.date), settings.feed.udp.host, settings.feed.udp.group)
    assert (settings.feed.kind, *read) == ("udp", 26_400, "2024-06-03", "::1", "ff15::83")
    assert (settings.feed.udp.session, settings.feed.udp.request) == ("20240603A", "[::1]:17000")
