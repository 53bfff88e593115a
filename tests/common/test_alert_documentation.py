"""The page of market alerts follows from their table."""

from common.contracts.alert_documentation import PAGE, page


def test_page_when_the_table_is_as_it_is_then_current() -> None:
    """``make schemas`` writes it."""
    assert PAGE.read_text("utf-8") == page()
