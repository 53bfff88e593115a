"""Settings of a service that is reached by people and programs."""

import ipaddress
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from streams.process.settings import Settings
from streams.process.settings_tree import SettingsGroup


class AccessSettings(SettingsGroup):
    """Issuers and keys that are believed about identities. Without an issuer nobody is asked, on this machine only."""

    issuer: str = Field(default="", description="`iss` of tokens that are believed; empty: nobody is asked who he is")
    open: bool = Field(
        default=False, description="without an issuer, serve beyond this machine, too: for a closed network"
    )
    audience: str = Field(default="tidemark", description="`aud` that a token has to name")
    keys: str = Field(
        default="",
        description="public keys of the issuer (JWKS), a path or a URL; empty: where its discovery document says",
    )
    denied_file: Path | None = Field(
        default=None, description="tokens and subjects that are revoked; read again when it changes"
    )
    api_keys_file: Path | None = Field(default=None, description="keys of programs, hashed; read again when it changes")
    skew_s: int = Field(default=30, ge=0, le=300, description="clocks of issuer and service may differ by that")
    life_max_s: int = Field(
        default=3_600, ge=60, description="a token that lives for longer is refused: what is short need not be revoked"
    )
    roles_claim: str = Field(default="roles", description="claim with the roles; `a.b` is the member b of the claim a")
    accounts_claim: str = Field(
        default="accounts", description="claim with the subject's own accounts: ids, or beginnings that end in `*`"
    )


class ReachedSettings(Settings):
    """Settings of a service that people and programs reach."""

    access: AccessSettings = AccessSettings()

    @model_validator(mode="after")
    def _closed_to_strangers(self) -> Self:
        if not self.access.issuer and not self.access.open and not _is_this_machine(self.http.host):
            raise ValueError(
                f"open to strangers on {self.http.host}: set TIDEMARK_ACCESS_ISSUER, or TIDEMARK_ACCESS_OPEN=true"
            )
        return self


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
