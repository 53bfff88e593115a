"""The service's README says what the code says; the service can be built without an environment."""

from pathlib import Path

import pytest
from common.checks.gate import CHECKS
from risk.app import build
from risk.reasons import with_table
from risk.settings import RiskSettings
from streams.process.settings import Settings
from streams.process.settings_tree import places

README = Path(__file__).parents[2] / "services" / "risk" / "README.md"


def test_readme_holds_the_table_of_denials_that_is_made_from_the_checks() -> None:
    text = README.read_text(encoding="utf-8")
    assert with_table(text) == text
    assert with_table(text, CHECKS[:-1]) != text


def test_readme_names_every_setting_of_the_service_with_its_default() -> None:
    text = README.read_text(encoding="utf-8")
    shared = {place.declared for place in places(Settings)}
    for place in places(RiskSettings):
        if place.declared not in shared:
            assert f"| `{place.variable}` | `{place.field.default}` |" in text


def test_settings_become_limits_in_the_units_of_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_MARK_MAX_AGE_MS", "1500")
    monkeypatch.setenv("TIDEMARK_MARKET_COLLAR_BPS", "25")
    monkeypatch.setenv("TIDEMARK_ID_RETENTION_DAYS", "2")
    settings = RiskSettings()
    limits = settings.limits.as_limits()
    assert (limits.mark_age_max_ns, limits.market_collar_bps) == (1_500_000_000, 25)
    assert settings.id_retention_ns() == 2 * 86_400 * 10**9


def test_service_is_built_without_opening_anything(tmp_path: Path) -> None:
    app = build(RiskSettings(data_dir=tmp_path))
    assert app.service_name == "risk"
