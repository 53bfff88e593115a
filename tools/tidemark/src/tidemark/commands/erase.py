"""``tidemark erase`` and ``tidemark reveal``: the key of a client, and what it opens."""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.markup import escape

from tidemark import console
from tidemark.issuer.store import AccessStore, Holders
from tidemark.operations import Operation, carry_out, done_before, operators_log
from tidemark.options import DEFAULT_STATE, BootstrapOption, StateDirOption, addresses, reader_settings
from tidemark.personal.keyring import ERASED, Keyring, NotSealed
from tidemark.state import StateDir

OPERATION: Final = "erase"
KeyringDirectory = Annotated[
    Path, typer.Option("--keyring", envvar="TIDEMARK_KEYRING", help="Folder with a key for each client.")
]


def erase(
    account: Annotated[str, typer.Argument(help="The account of the client.")],
    keyring: KeyringDirectory,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, it only says what it would do.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept, so it names nobody.")] = "",
    bootstrap: BootstrapOption = None,
    state_dir: StateDirOption = DEFAULT_STATE,
) -> None:
    """Throw away the key of a client, and whoever the issuer of this state directory knows as holder of the account.

    What was exported of him cannot be opened or led back to him any more, and what is exported from now on shows him as
    erased. The log, its ledger and every balance stay as they are: they know an account, and no holder. It is recorded
    as an operation. It cannot be taken back; done again it changes nothing.
    """
    settings = reader_settings(addresses(StateDir(state_dir), kafka_bootstrap=bootstrap))
    store = AccessStore(StateDir(state_dir).access)
    has_issuer = store.people.exists()

    async def main() -> None:
        async with operators_log(settings) as log:  # first: what cannot be recorded is not done
            keys = Keyring(keyring)
            held = store.holders(account) if has_issuer else Holders([], [])
            pseudonym = keys.pseudonym(account)
            _say(pseudonym, held, has_issuer=has_issuer)
            key = f"{OPERATION}/{account}"
            if pseudonym == ERASED and not held.people and not held.keys and key in await done_before(log):
                console.out.print(escape(f"the client of {account} was erased before"))
                return
            if not yes:
                console.err.print("nothing was done; --yes does it, and nothing takes it back")
                return
            keys.erase(account)
            if has_issuer:
                store.forget(account)
            # The record has the account and not the pseudonym: the two together are what is to be gone.
            details = {"people": len(held.people), "keys": len(held.keys)}
            await carry_out(log, Operation(key, OPERATION, reason, details), {})
            console.out.print(escape(f"the client of {account} is erased"))

    with console.reported():
        console.run(main())


def _say(pseudonym: str | None, held: Holders, *, has_issuer: bool) -> None:
    words = {None: "none: nothing was exported of him", ERASED: "thrown away before"}
    console.err.print(escape(f"key: {words.get(pseudonym, f'of {pseudonym}')}"))
    if has_issuer:
        console.err.print(escape(f"people: {', '.join(held.people) or 'none'}; keys of programs: {len(held.keys)}"))
    else:
        console.err.print("people: no issuer here; the provider's own directory is to forget him, too")


def reveal(
    pseudonym: Annotated[str, typer.Argument(help="As an export has it.")],
    keyring: KeyringDirectory,
    text: Annotated[list[str] | None, typer.Argument(help="Sealed texts of the same client.")] = None,
) -> None:
    """Print the account behind a pseudonym, then sealed texts in the clear, one a line."""
    with console.reported():
        found = Keyring(keyring).holder(pseudonym)
        if found is None:
            raise console.CommandError(f"nobody has the pseudonym {pseudonym} here, or his key was thrown away")
        account_id, client = found
        try:
            lines = [account_id, *(client.open(each) for each in text or ())]
        except NotSealed as error:
            raise console.CommandError(f"{error} was not sealed with the key of {pseudonym}") from None
    sys.stdout.write("\n".join(lines) + "\n")
