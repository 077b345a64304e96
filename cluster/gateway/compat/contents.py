"""Named contents that a client sent along, as sources and data files; archives unpacked within bounds."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable

import msgspec

from cluster.core.sizes import program_bytes
from cluster.gateway.schemas import FILES_MAX, NAME_CHARACTER
from cluster.limits import FRAME_MAX, MIB, Limits
from cluster.wire.jobs import DataFile, Program, Source

PAGE = 4096
"""A file takes whole pages of the memory file system that it is put on, and one for its name."""

PROGRAM_MAX = FRAME_MAX - 8 * MIB
"""Bytes of one program with all that goes with it: it travels in one frame."""

_SOURCE = re.compile(rf"({NAME_CHARACTER}+/)*{NAME_CHARACTER}+\.java")
_SEGMENT = re.compile(
    r"[A-Za-z0-9_\u00a1-\ud7ff][A-Za-z0-9_ .+@\u00a1-\ud7ff-]*|\.[A-Za-z0-9_-][A-Za-z0-9_.-]*"
)
_NAME_MAX = 255
_LISTED = b"PK\x01\x02"
"""What each entry of an archive's list begins with."""
_LISTED_MAX = 10 * FILES_MAX
"""Entries of an archive, folders among them: a list of a hundred thousand takes seconds to read."""


class Unusable(Exception):
    """What was sent can't be given to a program; the text says which file and why."""


class Contents(msgspec.Struct, frozen=True):
    """Files, told apart."""

    sources: tuple[Source, ...] = ()
    files: tuple[DataFile, ...] = ()


def is_source_name(name: str) -> bool:
    """Whether the compiler takes a file of that name."""
    return len(name) <= _NAME_MAX and _SOURCE.fullmatch(name) is not None


def sort_contents(named: Iterable[tuple[str, bytes]], limits: Limits) -> Contents:
    """Java files become sources, all others data files in the program's working directory.

    Raises:
        Unusable: a name that leads elsewhere or comes twice, text that is not UTF-8, too much of something.
    """
    sources: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for name, data in named:
        if name in sources or name in files:
            raise Unusable(f"the file {name} is there twice")
        if len(name) > _NAME_MAX or not all(_SEGMENT.fullmatch(part) for part in name.split("/")):
            raise Unusable(f"the file name {name[:80]!r} is not allowed")
        if is_source_name(name):
            sources[name] = as_text(name, data)
        else:
            files[name] = data
    if len(sources) + len(files) > FILES_MAX:
        raise Unusable(f"{len(sources) + len(files)} files: {FILES_MAX} are the most")
    room = sum(
        (len(data) + PAGE - 1) // PAGE * PAGE + PAGE * (1 + name.count("/")) for name, data in files.items()
    )
    if room > limits.tmp_bytes:
        raise Unusable(f"the files take {room} bytes: {limits.tmp_bytes} are the most")
    return Contents(
        tuple(Source(name, text) for name, text in sorted(sources.items())),
        tuple(DataFile(name, data) for name, data in sorted(files.items())),
    )


def misfit(program: Program, source_bytes: int) -> str:
    """Why a program is too large; empty when it is not."""
    if (size := sum(len(source.text.encode()) for source in program.sources)) > source_bytes:
        return f"{size} bytes of source: {source_bytes} are the most"
    if (size := program_bytes(program)) > PROGRAM_MAX:
        return f"{size} bytes of program, files and input: {PROGRAM_MAX} are the most"
    return ""


def as_text(name: str, data: bytes) -> str:
    """A source's text.

    Raises:
        Unusable: it is not UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Unusable(f"the file {name or 'source'} is not UTF-8 at byte {error.start}") from error


def unpack(archive: bytes, most_bytes: int) -> list[tuple[str, bytes]]:
    """The files of a ZIP archive; folders are left out, sizes are counted while they are inflated.

    Raises:
        Unusable: no archive, encrypted, or more than `most_bytes` or the number of files that is allowed.
    """
    try:
        listing = _Listing(archive)
        with zipfile.ZipFile(listing) as opened:
            listing.whole = True
            return _inflated(opened, most_bytes)
    except Unusable:
        raise
    except Exception as error:  # zipfile passes on whatever a number in a broken archive leads to
        raise Unusable(f"the archive can't be read: {error}") from error


class _Listing(io.BytesIO):
    """An archive's bytes, of whose list no more is read than may be in it.

    What its end says of the number of entries is no bound: zipfile goes by the list's size. So what it reads
    as the list is looked at, before it makes anything of it; what is stored elsewhere in the bytes, which may
    be an archive itself, is not.

    Attributes:
        whole: the list has been read.
    """

    whole = False
    _entries = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes; the rest of the archive is only asked for in search of the list."""
        data = super().read(size)
        if not self.whole and size is not None and size >= 0:
            self._entries += data.count(_LISTED)
            if self._entries > _LISTED_MAX:
                raise Unusable(f"the archive lists more than {_LISTED_MAX} files and folders")
        return data


def _inflated(opened: zipfile.ZipFile, most_bytes: int) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    left = most_bytes
    for entry in opened.infolist():
        if entry.is_dir():
            continue
        if len(found) == FILES_MAX:
            raise Unusable(f"the archive holds more than {FILES_MAX} files")
        # The others inflate all that they have read, whatever was asked for: a bomb in 300 bytes.
        if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise Unusable(f"the archive's {entry.filename[:80]!r} is neither stored nor deflated")
        with opened.open(entry) as file:
            data = file.read(left + 1)
        if len(data) > left:
            raise Unusable(f"the archive holds more than {most_bytes} bytes")
        left -= len(data)
        found.append((entry.filename, data))
    return found
