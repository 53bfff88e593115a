"""Credentials of the command line: from the environment, or from the running fleet's own issuer."""

import os
from collections.abc import Iterable
from typing import Final

from common.contracts.rights import Role

from tidemark.control import ask
from tidemark.state import FleetRecord

CREDENTIAL_VARIABLE: Final = "TIDEMARK_CREDENTIAL"
"""A token or a program's key, for a fleet whose issuer is elsewhere."""


async def credential(record: FleetRecord | None, subject: str, roles: Iterable[Role]) -> str:
    """The credential of a command of ours; empty where nobody is asked. Raises ControlError.

    Whoever can open the supervisor's socket owns the fleet, and gets a token for the asking.
    """
    if given := os.environ.get(CREDENTIAL_VARIABLE):
        return given
    if record is None or not record.issuer:
        return ""
    request = {"command": "token", "subject": subject, "roles": [role.value for role in roles], "accounts": ["*"]}
    return str((await ask(record.control, request))["token"])


async def dashboard(record: FleetRecord) -> str:
    """Address of the dashboard that signs in whoever opens it first. Raises ControlError."""
    return str((await ask(record.control, {"command": "dashboard"}))["url"])
