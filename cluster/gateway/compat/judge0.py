"""Judge0's submissions, translated: attributes of a request to a program, or to the errors of a 422. Pure."""

from __future__ import annotations

import base64
import binascii
import math
import shlex
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from cluster.gateway.compat.contents import Contents, Unusable, as_text, misfit, sort_contents, unpack
from cluster.gateway.programs import OUTPUTS_MAX, STREAMS
from cluster.gateway.schemas import MEMORY_MIN, STDIN_MAX
from cluster.limits import MIB, Limits
from cluster.wire.jobs import Input, Program, Source

KB = 1024
JAVA_IDS: Mapping[int, str] = {62: "OpenJDK", 91: "JDK"}
"""Judge0's numbers for its two Javas; both run on the JDK that is here."""
BATCH_MAX = 20
RUNS_MAX = 20
CPU_EXTRA_MAX = 5.0
STACK_MAX = 128_000
FILE_MAX = 4096
OPTIONS_MAX = 512
EXTRACT_BYTES = 10 * MIB
THREADS_MIN = 32
"""A virtual machine starts about a dozen threads of its own."""
MEMORY_LEAST = 2048

NO_JSON = "the body is neither JSON nor a form"

Errors = dict[str, list[str]]
Given = Mapping[str, Any]


class Rejected(Exception):
    """A submission with mistakes.

    Attributes:
        errors: what is wrong, by attribute; the body of the 422.
    """

    def __init__(self, errors: Errors) -> None:
        super().__init__(str(errors))
        self.errors = errors


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for, as far as it is told again. Texts are bytes: they may be anything.

    Attributes:
        cpu_time_limit, wall_time_limit: seconds; memory_limit: kilobytes.
        callback_url: empty for none.
    """

    source_code: bytes
    language_id: int
    program: Program
    stdin: bytes | None = None
    expected_output: bytes | None = None
    command_line_arguments: str | None = None
    cpu_time_limit: float = 0.0
    cpu_extra_time: float = 1.0
    wall_time_limit: float = 0.0
    memory_limit: int = 0
    stack_limit: int = 64_000
    max_processes_and_or_threads: int = 60
    max_file_size: int = 1024
    number_of_runs: int = 1
    redirect_stderr_to_stdout: bool = False
    additional_files: bytes | None = None
    callback_url: str = ""

    @property
    def extra_bytes(self) -> int:
        """What it weighs beside its program."""
        return sum(
            len(text or b"")
            for text in (self.source_code, self.stdin, self.expected_output, self.additional_files)
        )


def attributes_of(body: bytes, content_type: str) -> dict[str, Any]:
    """The attributes that a body has: JSON, or a form.

    Raises:
        ValueError: it is neither.
    """
    if content_type.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
        return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
    try:
        data = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(NO_JSON) from error
    if not isinstance(data, dict):
        raise ValueError(NO_JSON)  # noqa: TRY004  (one kind of error for one kind of refusal)
    return data


def submission_of(
    given: Given, encoded: bool, caps: Limits, source_bytes: int, callback: Callable[[str], str]
) -> Submission:
    """The submission that the attributes describe.

    Args:
        given: the attributes; unknown ones are ignored, as there.
        encoded: texts are in base64.
        caps: the most that may be asked for, and what is given without asking.
        source_bytes: the most that all sources may have together.
        callback: why a call-back to that URL is refused; empty when it is not.

    Raises:
        Rejected: with Judge0's words for what Judge0 refuses too.
    """
    reader = _Reader(given, encoded)
    source = reader.text("source_code")
    language = reader.number("language_id", None, None, None)
    archive = reader.binary("additional_files")
    if not source:
        reader.wrong("source_code", "can't be blank")
    if "language_id" not in reader.errors:
        if not language:
            reader.wrong("language_id", "can't be blank")
        elif language not in JAVA_IDS:
            reader.wrong("language_id", f"language with id {language:g} doesn't exist")
    limits = _limits(reader, caps)
    for name, words in (
        ("enable_network", "enabling network is not allowed"),
        ("enable_per_process_and_thread_time_limit", "this option cannot be enabled"),
        ("enable_per_process_and_thread_memory_limit", "this option cannot be enabled"),
    ):
        if reader.wanted(name):
            reader.wrong(name, words)
    if reader.string("compiler_options"):
        reader.wrong("compiler_options", "setting compiler options is not allowed")
    arguments = reader.string("command_line_arguments")
    args = _arguments(reader, arguments)
    stdin = reader.text("stdin")
    if len(stdin or b"") > STDIN_MAX:
        reader.wrong("stdin", f"is too long (maximum is {STDIN_MAX} bytes)")
    url = reader.string("callback_url")
    if url and (words := callback(url)):
        reader.wrong("callback_url", words)
    contents = _contents(reader, archive, limits)
    sources = (Source("", _source_text(reader, source)), *contents.sources)
    runs = int(reader.number("number_of_runs", 1, 1, RUNS_MAX) or 1)
    share = min(limits.output_bytes, OUTPUTS_MAX // (STREAMS * runs))
    program = Program(
        sources,
        "Main" if contents.sources else "",
        (Input(args, stdin or b""),) * runs,
        msgspec.structs.replace(limits, output_bytes=share),
        contents.files,
    )
    if words := misfit(program, source_bytes):
        reader.wrong("source_code", words)
    submission = Submission(
        source_code=source or b"",
        language_id=int(language or 0),
        program=program,
        stdin=stdin,
        expected_output=reader.text("expected_output"),
        command_line_arguments=arguments or None,
        cpu_time_limit=limits.cpu_s,
        cpu_extra_time=reader.number("cpu_extra_time", 1.0, 0, CPU_EXTRA_MAX) or 0.0,
        wall_time_limit=limits.wall_s,
        memory_limit=limits.memory_bytes // KB,
        stack_limit=int(reader.number("stack_limit", 64_000, 0, STACK_MAX) or 0),
        max_processes_and_or_threads=limits.processes,
        max_file_size=int(reader.number("max_file_size", 1024, 0, FILE_MAX) or 0),
        number_of_runs=runs,
        redirect_stderr_to_stdout=reader.wanted("redirect_stderr_to_stdout"),
        additional_files=archive,
        callback_url=url,
    )
    if reader.errors:
        raise Rejected(reader.errors)
    return submission


def _limits(reader: _Reader, caps: Limits) -> Limits:
    cpu = reader.number("cpu_time_limit", caps.cpu_s, 0, caps.cpu_s)
    wall = reader.number("wall_time_limit", caps.wall_s, min(1, caps.wall_s), caps.wall_s)
    memory = reader.number("memory_limit", caps.memory_bytes / KB, MEMORY_LEAST, caps.memory_bytes // KB)
    threads = reader.number("max_processes_and_or_threads", caps.processes, 1, caps.processes)
    return msgspec.structs.replace(
        caps,
        cpu_s=cpu or caps.cpu_s,
        wall_s=wall or caps.wall_s,
        memory_bytes=max(int((memory or 0) * KB), MEMORY_MIN),
        processes=max(int(threads or 1), min(THREADS_MIN, caps.processes)),
    )


def _arguments(reader: _Reader, text: str) -> tuple[str, ...]:
    """Split as the shell there would: after its special characters were taken out."""
    if len(text) > OPTIONS_MAX:
        reader.wrong("command_line_arguments", f"is too long (maximum is {OPTIONS_MAX} characters)")
        return ()
    try:
        return tuple(shlex.split("".join(c for c in text if c not in "$&;<>|`\0")))
    except ValueError as error:
        reader.wrong("command_line_arguments", f"can't be split into words: {error}")
        return ()


def _contents(reader: _Reader, archive: bytes | None, limits: Limits) -> Contents:
    if not archive:
        return Contents()
    try:
        return sort_contents(unpack(archive, EXTRACT_BYTES), limits)
    except Unusable as error:
        reader.wrong("additional_files", str(error))
        return Contents()


def _source_text(reader: _Reader, source: bytes | None) -> str:
    try:
        return as_text("", source or b"")
    except Unusable:
        reader.wrong("source_code", "is not UTF-8")
        return ""


class _Reader:
    """Reads attributes as Rails would: numbers and truths may be texts, nothing and null are the same."""

    def __init__(self, given: Given, encoded: bool) -> None:
        self._given = given
        self._encoded = encoded
        self.errors: Errors = {}

    def wrong(self, name: str, words: str) -> None:
        """Remember a mistake."""
        self.errors.setdefault(name, []).append(words)

    def string(self, name: str) -> str:
        """A short text; empty for none."""
        value = self._given.get(name)
        return "" if value is None else str(value).strip()

    def text(self, name: str) -> bytes | None:
        """A text that may be in base64; None for none."""
        return self._bytes(name, self._encoded)

    def binary(self, name: str) -> bytes | None:
        """Always in base64."""
        return self._bytes(name, encoded=True)

    def wanted(self, name: str) -> bool:
        """A truth."""
        return str(self._given.get(name) or "").lower() in {"true", "1", "t", "yes", "on"}

    def number(
        self, name: str, default: float | None, least: float | None, most: float | None
    ) -> float | None:
        """A number within its bounds, or the default where there is none."""
        value = self._given.get(name)
        if value is None or value == "":
            return default
        try:
            number = float(value) if isinstance(value, int | float | str) else float("nan")
        except (ValueError, OverflowError):
            number = float("nan")
        if not math.isfinite(number) or isinstance(value, bool):
            self.wrong(name, "is not a number")
            return default
        if least is not None and number < least:
            self.wrong(name, f"must be greater than or equal to {least:g}")
            return default
        if most is not None and number > most:
            self.wrong(name, f"must be less than or equal to {most:g}")
            return default
        return number

    def _bytes(self, name: str, encoded: bool) -> bytes | None:
        value = self._given.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self.wrong(name, "is not a text")
            return None
        if not encoded:
            return value.encode("utf-8", "replace")
        try:
            return binascii.a2b_base64(value.encode("ascii", "ignore"))
        except binascii.Error:
            self.wrong(name, "is not base64")
            return None


def encoded(data: bytes | None) -> str | None:
    """In base64 with a line end after every sixty characters and at the end, as Ruby has it."""
    if data is None:
        return None
    text = base64.b64encode(data).decode()
    return "".join(f"{text[at : at + 60]}\n" for at in range(0, len(text), 60))
