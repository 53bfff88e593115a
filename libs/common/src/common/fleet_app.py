"""The app of a service of the fleet: what the runtime is handed in by all of them alike."""

from common.contracts.views import CONFLATED_VIEWS
from common.runtime.app import App
from common.runtime.settings import Settings


class TidemarkApp(App):
    """One per process. Nothing is opened before the worker starts."""

    def __init__(self, name: str, settings: Settings) -> None:
        super().__init__(name, settings, CONFLATED_VIEWS)
