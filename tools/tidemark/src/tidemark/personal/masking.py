"""Rows of a topic with pseudonyms in place of accounts, and sealed texts in place of what people chose or wrote."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import pyarrow as pa
from common.contracts.controls import FIRM
from common.contracts.personal import Personal, Tags, tags_of_adapter
from common.contracts.topics import ACCOUNTS, DEAD_LETTERS, Topic
from streams.model.message import Message

from tidemark.errors import CommandError
from tidemark.personal.keyring import Client, Keyring
from tidemark.tabular import Decoder, ModelDecoder, RawDecoder, Row, column_of, decoder_of, table_of

ACCOUNT_ID: Final = "account_id"


class Masks:
    """Masks values of rows, each by the key of the row's own account; what names no account by the firm's."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def account(self, account_id: str) -> str:
        """The pseudonym; the firm is nobody."""
        return account_id if account_id == FIRM else self._keyring.client(account_id).pseudonym

    def body(self, body: Row, tags: Mapping[str, Tags]) -> Row:
        """A message as JSON has it, masked."""
        account_id = str(body.get(ACCOUNT_ID, FIRM))
        owner = _Owner(account_id, self.account(account_id), self._keyring.client(account_id))
        masked: Row = self._value(body, tags, owner)
        return masked

    def _value(self, value: Any, tag: Tags, owner: "_Owner") -> Any:
        if tag is None or value is None:
            return value
        if isinstance(value, list):
            return [self._value(each, tag, owner) for each in value]
        if isinstance(tag, Mapping):
            return {name: self._value(each, tag.get(name), owner) for name, each in value.items()}
        text = str(value)
        if tag is Personal.ACCOUNT:
            return self.account(text)
        if tag is Personal.IN_ACCOUNT and text.startswith(f"{owner.account_id}."):
            return f"{owner.shown}.{owner.client.seal(text.removeprefix(f'{owner.account_id}.'))}"
        return owner.client.seal(text)


class _Owner(NamedTuple):
    """The account that a row is about, and how it is shown."""

    account_id: str
    shown: str
    client: Client


class MaskedDecoder:
    """Rows of messages, masked, with the columns that they have unmasked."""

    def __init__(self, topic: Topic, masks: Masks) -> None:
        assert topic.schema.model is not None, "a decoder of messages is made of their model"
        self._rows = ModelDecoder(topic.schema)
        self._tags = {column_of(name): tag for name, tag in tags_of_adapter(topic.schema.model).items()}
        self._masks = masks
        self._key_is_account = topic.partitioning is ACCOUNTS
        self.columns = self._rows.columns

    def rows(self, messages: Sequence[Message]) -> Iterator[Row]:
        for row in self._rows.rows(messages):
            masked = self._masks.body(row, self._tags)
            if self._key_is_account:
                masked["key"] = self._masks.account(row["key"])
            yield masked

    def table(self, messages: Sequence[Message]) -> pa.Table:
        return table_of(self.rows(messages), self.columns)


def masked_decoder_of(topic: Topic, masks: Masks) -> Decoder:
    """Raises CommandError for topics of which nobody knows what they hold: they leave the fleet raw or not at all."""
    plain = decoder_of(topic)
    if topic.schema is DEAD_LETTERS or isinstance(plain, RawDecoder):
        raise CommandError(f"{topic.name} may hold anything, so it cannot be masked; without --keyring it is read raw")
    return MaskedDecoder(topic, masks) if isinstance(plain, ModelDecoder) else plain
