"""Has a registry hold the schemas on file, under the ids that they have there.

Apicurio's Confluent API gives ids of its own. Its import takes contents with their ids, and a registration of a content
that is there keeps it: so the contents are imported, then registered as any client would, with the registry's rule of
compatibility in force. With them comes a content at the end of our range, so that ids which the registry gives to
others afterwards begin behind it.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx
from common.avro.on_file import DIRECTORY, LAST_ID, SchemaFile

from tidemark.console import CommandError
from tidemark.schema_rules import compatibility_of

JSON: Final = "application/vnd.schemaregistry.v1+json"
IMPORT: Final = "/apis/registry/v3/admin/import"
PRESERVED: Final = {"X-Registry-Preserve-ContentId": "true", "X-Registry-Preserve-GlobalId": "true"}
TIMEOUT_S: Final = 15.0
RESERVED: Final = '{"type":"string","doc":"The ids up to this one are Tidemark\'s."}'


class Registry:
    """``url``: base URL of Confluent's API. Raises CommandError where the registry refuses or does not answer."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(timeout=TIMEOUT_S)

    def versions(self, subject: str) -> Mapping[int, int]:
        """Version → id of what is registered."""
        answer = self._ask("GET", f"/subjects/{quote(subject)}/versions")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return {}
        numbers = self._sound(answer, subject)
        rows = (self._ask("GET", f"/subjects/{quote(subject)}/versions/{number}") for number in numbers)
        return {row["version"]: row["id"] for row in (self._sound(row, subject) for row in rows)}

    def push(self, files: Sequence[SchemaFile], directory: Path = DIRECTORY) -> Iterator[SchemaFile]:
        """Registers what is not there yet, in the order of the ids; yields each that was. Every subject is held to the
        topic table's rule from then on.
        """
        self._hold(file.subject for file in files)
        missing = [file for file in files if file.id not in self.versions(file.subject).values()]
        if not missing:
            return
        self._import({file.id: compact(file.schema(directory)) for file in missing} | {LAST_ID: RESERVED})
        for file in missing:
            body = {"schema": compact(file.schema(directory)), "schemaType": "AVRO"}
            answer = self._ask("POST", f"/subjects/{quote(file.subject)}/versions", body)
            given = self._sound(answer, file.subject)["id"]
            if given != file.id:
                raise CommandError(
                    f"{file.subject}: the registry has {file.file} as {given}, and records name it by {file.id}; "
                    "readers of the registry cannot read them. Push to a registry where nobody has registered it."
                )
            yield file

    def compatibility(self, subject: str) -> str:
        """The rule that the registry holds the subject to; empty where it has none of its own."""
        answer = self._ask("GET", f"/config/{quote(subject)}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return ""
        return str(self._sound(answer, subject)["compatibilityLevel"])

    def _hold(self, subjects: Iterable[str]) -> None:
        for subject in dict.fromkeys(subjects):
            wanted = compatibility_of(subject)
            if self.compatibility(subject) != wanted:
                self._sound(self._ask("PUT", f"/config/{quote(subject)}", {"compatibility": wanted}), subject)

    def _import(self, contents: Mapping[int, str]) -> None:
        parts = urlsplit(self.url)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, text in _entries(contents):
                archive.writestr(name, text)
        headers = PRESERVED | {"Content-Type": "application/zip"}
        try:
            answer = self._http.post(
                f"{parts.scheme}://{parts.netloc}{IMPORT}",
                params={"requireEmptyRegistry": "false"},
                content=packed.getvalue(),
                headers=headers,
            )
        except httpx.HTTPError as error:
            raise CommandError(f"the registry {self.url} does not answer: {error!r}") from error
        if answer.is_error:
            raise CommandError(
                f"the registry {self.url} takes no ids ({answer.status_code}): it is not Apicurio, or the client may "
                f"not import: {answer.text[:200]}"
            )

    def _ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        content = None if body is None else json.dumps(body)
        try:
            return self._http.request(method, self.url + path, content=content, headers={"Content-Type": JSON})
        except httpx.HTTPError as error:
            raise CommandError(f"the registry {self.url} does not answer: {error!r}") from error

    def _sound(self, answer: httpx.Response, subject: str) -> Any:
        if answer.is_error:
            raise CommandError(f"{subject}: the registry refuses ({answer.status_code}): {answer.text[:500]}")
        return answer.json()


def compact(schema: Any) -> str:
    """One text for one schema: ids go by content."""
    return json.dumps(schema, separators=(",", ":"), ensure_ascii=False)


def _entries(contents: Mapping[int, str]) -> Iterator[tuple[str, str]]:
    """An export as Apicurio writes it, of contents alone."""
    manifest = {"systemVersion": "3.3.3", "systemName": "Tidemark", "exportVersion": "3.0", "dbVersion": "109"}
    yield "manifest.Manifest.json", json.dumps(manifest | {"exportedOn": 0, "exportedBy": "", "systemDescription": ""})
    for number, text in contents.items():
        digest = hashlib.sha256(text.encode()).hexdigest()
        row = {
            "contentId": number,
            "canonicalHash": None,
            "contentHash": digest,
            "artifactType": "AVRO",
            "contentType": "application/json",
            "serializedReferences": None,
        }
        yield f"content/{digest}.Content.json", json.dumps(row)
        yield f"content/{digest}.Content.data", text
