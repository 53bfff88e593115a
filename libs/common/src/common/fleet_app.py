"""The app of a service of the fleet: what the runtime is handed in by all of them alike."""

from streams.process.settings import Settings
from streams.service.app import App

from common.contracts.topics import STAGES
from common.contracts.views import CONFLATED_VIEWS


class TidemarkApp(App):
    """One per process. Nothing is opened before the worker starts."""

    def __init__(self, name: str, settings: Settings) -> None:
        super().__init__(name, settings, register=STAGES, conflated_views=CONFLATED_VIEWS)
