"""The page of personal data, made from the tags of the contracts: ``make schemas``."""

import sys
from pathlib import Path
from typing import Final

from common.contracts.personal import Personal, tagged, tags_of_adapter
from common.contracts.topics import TOPICS

FILE: Final = Path(__file__).parents[5] / "docs" / "personal-data.md"
_HEAD: Final = """# Personal data

Generated from the tags of the contracts (`libs/common/src/common/contracts/personal.py`) by `make schemas`; a test
keeps it current. [ADR 87](adr/0087-erasure-throws-a-key-away.md) says why it is so.

Messages name a client by the id of his account alone. Who holds an account is known to the issuer of identities and to
nothing else in the fleet. What leaves it is masked where a keyring is given (`--keyring`, `TIDEMARK_KEYRING`): a folder
with a key and a random pseudonym for each client, made with the first row of him. Whoever has the folder can tell what
was masked.

| kind | in an export |
|---|---|
| `account` | the client's pseudonym, `client-5f0c…`; `_firm` is nobody |
| `of an account` | pseudonym, dot, and the rest sealed |
| `text` | sealed with the key of the row's client (AES-SIV), the same for the same text |

Digests of the hash chains are sealed, too: by them a guess could be confirmed.

```text
export TIDEMARK_KEYRING=/secure/keyring
tidemark read risk.ledger --from-beginning --to-end --out ledger.jsonl    rows of a topic; or --sink NAME
tidemark report --day 2026-11-30                                          positions and profit
tidemark reveal client-5f0c2d9e01b7a344 '~q1x…'                           the account, then the text
tidemark erase ACC0001 --reason "ticket 4711"                             says what it would do
tidemark erase ACC0001 --reason "ticket 4711" --yes                       throws the key away
```

Dead letters, changelogs and topics of the runtime may hold anything: with a keyring they are not read. Copies of the
keyring are keys, too: a backup that is older than an erasure undoes it.

## Fields
"""


def render() -> str:
    """The whole page."""
    lines = [_HEAD, "| topic |" + "".join(f" {kind.value} |" for kind in Personal), "|---|" + "---|" * len(Personal)]
    for topic in TOPICS:
        if topic.schema.model is None:
            continue
        fields = dict(tagged(tags_of_adapter(topic.schema.model)))
        if fields:
            cells = (", ".join(f"`{path}`" for path, of in fields.items() if of is kind) or "·" for kind in Personal)
            lines.append(f"| `{topic.name}` |" + "".join(f" {cell} |" for cell in cells))
    return "\n".join(lines) + "\n"


def main() -> int:
    FILE.write_text(render(), "utf-8")
    sys.stdout.write(f"wrote {FILE.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
