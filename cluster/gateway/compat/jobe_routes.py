"""Jobe's endpoints: languages, runs, and files by id, below the address that CodeRunner is given."""

# mypy: allow-untyped-calls
# Twisted's web requests are not annotated.

from __future__ import annotations

import binascii
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from http import HTTPStatus

import msgspec

from twisted.web.server import Request

from cluster.core.fair_share import FairRoom
from cluster.gateway.compat import jobe
from cluster.gateway.compat.jobe import JobeError
from cluster.gateway.compat.parts import CompatParts, authorization_of
from cluster.gateway.door import Entrance
from cluster.gateway.endpoint import Endpoint, body_of
from cluster.gateway.replies import JSON, HttpProblem, Reply

BASE = "/jobe/index.php/restapi"

FILE_OVERHEAD = 256
"""Bytes that a file counts for beside its contents and its id: empty ones need memory, too."""


class Files:
    """Uploaded files by tenant and id, bounded by bytes.

    Whoever has most makes room, with the one that was unused for longest (`core.fair_share`).
    """

    def __init__(self, bytes_max: int) -> None:
        """Hold so many bytes at most."""
        self._files: OrderedDict[tuple[str | None, str], bytes] = OrderedDict()
        self._room = FairRoom(bytes_max)

    @property
    def held(self) -> int:
        """What they take."""
        return self._room.held

    def __len__(self) -> int:
        """How many there are."""
        return len(self._files)

    def get(self, tenant: str | None, file_id: str) -> bytes | None:
        """Its contents, if it is still there; another tenant's is not."""
        key = (tenant, file_id)
        found = self._files.get(key)
        if found is not None:
            self._files.move_to_end(key)
        return found

    def put(self, tenant: str | None, file_id: str, data: bytes) -> bool:
        """Keep it; False when it is larger than the room that its tenant can have."""
        key = (tenant, file_id)
        size = _size(key, data)
        if key in self._files:
            self._drop(key)
        held = ((other, other[0] or "", _size(other, kept)) for other, kept in self._files.items())
        going = self._room.giving_way(tenant or "", size, held)
        if going is None:
            return False
        for other in going:
            self._drop(other)
        self._files[key] = data
        self._room.take(tenant or "", size)
        return True

    def _drop(self, key: tuple[str | None, str]) -> None:
        self._room.give_back(key[0] or "", _size(key, self._files.pop(key)))


def _size(key: tuple[str | None, str], data: bytes) -> int:
    return len(data) + len(key[1]) + FILE_OVERHEAD


class Jobe:
    """The endpoints. A refusal is a JSON string, as CodeRunner expects."""

    open_paths = frozenset({f"{BASE}/languages", f"{BASE}/languages/"})

    def __init__(self, parts: CompatParts) -> None:
        """Keep uploaded files in memory."""
        self._parts = parts
        self._files = Files(parts.settings.compat.files_bytes)

    def entrances(self) -> Iterable[Entrance]:
        """Where bodies are sent that strangers need not send."""
        return (Entrance(path, authorization_of, _refused) for path in (f"{BASE}/runs", f"{BASE}/files/"))

    def endpoints(self) -> Iterable[tuple[str, str, Endpoint]]:
        """Path, method, and what answers."""
        return (
            (f"{BASE}/languages", "GET", self.languages),
            (f"{BASE}/languages/", "GET", self.languages),
            (f"{BASE}/runs", "POST", self.runs),
            (f"{BASE}/files/<file>", "PUT", self.put_file),
            (f"{BASE}/files/<file>", "GET", self.has_file),
        )

    async def languages(self, _request: Request) -> Reply:
        """Pairs of language and version."""
        newest = self._parts.newest_version
        return _json([["java", newest]] if newest else [])

    async def runs(self, request: Request) -> Reply:
        """Compile and run, and wait for it."""
        settings = self._parts.settings
        try:
            caller = self._parts.sender(request)
            program = jobe.program_of(
                body_of(request),
                self._parts.limits,
                settings.source_bytes,
                lambda file: self._files.get(caller.name, file),
            )
            return _json(jobe.result_of(await self._parts.run(program, caller)))
        except JobeError as error:
            return _json(error.text, error.status)
        except HttpProblem as problem:
            return _refused(problem)

    async def put_file(self, request: Request, file: str) -> Reply:
        """Keep a file under its id, for its tenant; it counts for his rate as a program does."""
        try:
            caller = self._parts.sender(request)
        except HttpProblem as problem:
            return _refused(problem)
        if not jobe.valid_file_id(file):
            return _json("put: the file id must be 8 to 128 letters and digits", HTTPStatus.BAD_REQUEST)
        try:
            sent = msgspec.json.decode(body_of(request), type=_Upload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _json("put: missing file_contents parameter", HTTPStatus.BAD_REQUEST)
        try:
            data = binascii.a2b_base64(sent.file_contents, strict_mode=True)
        except (binascii.Error, ValueError):
            text = f"put: contents of file {file} are not valid base-64"
            return _json(text, HTTPStatus.BAD_REQUEST)
        if not self._files.put(caller.name, file, data):
            text = f"put: file {file} is larger than {self._parts.settings.compat.files_bytes} bytes"
            return _json(text, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return Reply(HTTPStatus.NO_CONTENT)

    async def has_file(self, request: Request, file: str) -> Reply:
        """Whether a file is here (HEAD, and GET)."""
        try:
            caller = self._parts.caller(request)
        except HttpProblem as problem:
            return _refused(problem)
        if self._files.get(caller.name, file) is None:
            return _json("head: file not found", HTTPStatus.NOT_FOUND)
        return Reply(HTTPStatus.NO_CONTENT)


class _Upload(msgspec.Struct):
    file_contents: str


def _refused(problem: HttpProblem) -> Reply:
    """CodeRunner takes 403 for a bad key, and 401 for too many submissions."""
    unknown = problem.status == HTTPStatus.UNAUTHORIZED
    status = HTTPStatus.FORBIDDEN if unknown else HTTPStatus.UNAUTHORIZED
    return _json(problem.detail, status, {} if unknown else problem.headers)


def _json(
    value: object, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> Reply:
    return Reply(status, msgspec.json.encode(value), JSON, headers or {})
