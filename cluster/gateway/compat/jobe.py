"""Jobe's requests and results, translated (the back end of Moodle's CodeRunner): pure.

Outcomes are those of the ideone interface. What Jobe's clients depend on is kept: standard error turns a
success into a runtime error, a time limit comes without standard error, overload is an outcome and no status.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from cluster.gateway.compat.contents import Unusable, is_source_name, misfit, sort_contents
from cluster.gateway.relay import Answered
from cluster.gateway.schemas import ARG_CHARACTERS_MAX, ARGS_MAX, MEMORY_MIN, STDIN_MAX
from cluster.limits import Limits
from cluster.wire.jobs import Input, Program, Refusal, Run, Source, Verdict

MB = 1_000_000
"""Jobe's megabytes, for memory, streams and disk."""

COMPILATION_ERROR, RUNTIME_ERROR, TIME_LIMIT, SUCCESS = 11, 12, 13, 15
MEMORY_LIMIT, ILLEGAL_SYSCALL, INTERNAL_ERROR, SERVER_OVERLOAD = 17, 19, 20, 21

OUTCOMES: Mapping[Verdict, int] = {
    Verdict.OK: SUCCESS,
    Verdict.COMPILE_ERROR: COMPILATION_ERROR,
    Verdict.RUNTIME_ERROR: RUNTIME_ERROR,
    Verdict.TIME_LIMIT: TIME_LIMIT,
    Verdict.MEMORY_LIMIT: MEMORY_LIMIT,
    Verdict.OUTPUT_LIMIT: TIME_LIMIT,  # what their own test expects of endless output
    Verdict.SIGNALLED: RUNTIME_ERROR,
    Verdict.INTERNAL_ERROR: INTERNAL_ERROR,
    Verdict.WORKER_LOST: INTERNAL_ERROR,
    Verdict.CANCELLED: INTERNAL_ERROR,
    Verdict.EXPIRED: INTERNAL_ERROR,
}

MISSING = "One or more of the specified files is missing/unavailable"

_LANGUAGE = "java"
_LEGACY_NAME = "prog.java"
"""What old CodeRunners call a program whose class they did not find: as good as no name."""
_ESCAPED = {byte: f"\\x{byte:02x}" for byte in {*range(256)} - {*range(0x20, 0x7F), *b"\n\r\t"}}
_FILE_ID = re.compile(r"[A-Za-z0-9]{8,128}")
_FILE_NAME = re.compile(r"[A-Za-z0-9._-]+")
_BAD_NAME = re.compile(r"""[<>:"/\\|?*\x00-\x1f\x7f\xa0\xad#\[\]@!$&'()+,;=\s{}^~`]|^[.-]|^$""")


class JobeError(Exception):
    """A request that Jobe refuses; its client shows the text."""

    def __init__(self, text: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


class RunResult(msgspec.Struct, frozen=True):
    """The answer to a run."""

    run_id: str | None
    outcome: int
    cmpinfo: str = ""
    stdout: str = ""
    stderr: str = ""


def program_of(body: bytes, caps: Limits, source_bytes: int, file: Callable[[str], bytes | None]) -> Program:
    """The program that a `run_spec` asks for; `file` gives the contents of an uploaded one.

    Raises:
        JobeError: 400 with Jobe's words; 404 where a file is missing, which makes CodeRunner upload it.
    """
    spec = _run_spec(body)
    text = _text(spec, "sourcecode")
    if (language := _text(spec, "language_id")).lower() != _LANGUAGE:
        raise JobeError(f"Language '{language[:40]}' is not known")
    parameters = spec.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise JobeError("The parameters of the run_spec must be an object")
    limits = limits_of(parameters, caps)
    name = _source_name(spec)
    named = [(name, _found(file, file_id)) for file_id, name in _file_list(spec)]
    try:
        contents = sort_contents(named, limits)
    except Unusable as error:
        raise JobeError(f"Invalid file specifier: {error}") from error
    sources = (Source(name, text), *(source for source in contents.sources if source.name != name))
    stdin = str(spec.get("input") or "").encode()
    if len(stdin) > STDIN_MAX:
        raise JobeError(f"The input is {len(stdin)} bytes: {STDIN_MAX} are the most")
    args = _words(parameters.get("runargs"))
    main_class = _main_class(parameters, sources)
    program = Program(sources, main_class, (Input(args, stdin),), limits, contents.files)
    if words := misfit(program, source_bytes):
        raise JobeError(words, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return program


def limits_of(parameters: Mapping[str, Any], caps: Limits) -> Limits:
    """Jobe's limits as ours; zero and what is no number is the default, as there. Wall is twice the CPU time.

    Raises:
        JobeError: more processor time than this gateway allows.
    """
    cpu_s = _number(parameters.get("cputime"))
    if cpu_s is not None and cpu_s > caps.cpu_s:
        raise JobeError(f"cputime exceeds maximum allowed on this Jobe server ({caps.cpu_s:g} secs)")
    chosen = {"cpu_s": cpu_s, "wall_s": None if cpu_s is None else 2 * cpu_s}
    for name, ours, least in (
        ("memorylimit", "memory_bytes", MEMORY_MIN),
        ("streamsize", "output_bytes", 1),
        ("disklimit", "tmp_bytes", MB),
    ):
        value = _number(parameters.get(name))
        chosen[ours] = None if value is None else max(least, int(min(value * MB, getattr(caps, ours))))
    return msgspec.structs.replace(
        caps,
        **{name: min(value, getattr(caps, name)) for name, value in chosen.items() if value is not None},
    )


def result_of(answered: Answered) -> RunResult:
    """What Jobe would say of that outcome."""
    result = answered.result
    if isinstance(result, Refusal):
        return RunResult(answered.job or None, SERVER_OVERLOAD, stderr=result.message)
    outcome = OUTCOMES[result.verdict]
    if outcome == COMPILATION_ERROR or not result.runs:
        told = (result.compilation.text if result.compilation else "") or result.message
        if outcome in {COMPILATION_ERROR, TIME_LIMIT}:
            return RunResult(answered.job, COMPILATION_ERROR, cmpinfo=told or "The source does not compile")
        return RunResult(answered.job, outcome, stderr=told)
    run = result.runs[0]
    if run.detail == "compile":
        return RunResult(answered.job, COMPILATION_ERROR, cmpinfo=run.message)
    stdout = run.stdout + (run.value or b"")
    stderr = _clean(run.stderr).replace("\n\t", "\n        ")
    if outcome in {TIME_LIMIT, MEMORY_LIMIT}:
        stderr = ""  # with anything here CodeRunner would call it a runtime error
    elif outcome != SUCCESS:
        stderr = stderr or _ending(run)
    elif stderr:
        outcome = RUNTIME_ERROR
    return RunResult(answered.job, outcome, stdout=_clean(stdout), stderr=stderr)


def valid_file_id(file_id: str) -> bool:
    """Letters and digits, eight at least; usually an MD5."""
    return _FILE_ID.fullmatch(file_id) is not None


def _run_spec(body: bytes) -> dict[str, Any]:
    try:
        data = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise JobeError("Non-JSON post data received") from error
    if not isinstance(data, dict):
        raise JobeError("Non-JSON post data received")
    spec = data.get("run_spec")
    if not isinstance(spec, dict):
        raise JobeError("No run_spec attribute found in post data")
    return spec


def _text(spec: Mapping[str, Any], name: str) -> str:
    value = spec.get(name)
    if value is None:
        raise JobeError(f"run_spec is missing the required attribute '{name}'")
    if not isinstance(value, str):
        raise JobeError(f"The attribute '{name}' of the run_spec must be a string")
    return value


def _source_name(spec: Mapping[str, Any]) -> str:
    """The source's name; empty where the compiler is to name it after its class."""
    name = spec.get("sourcefilename")
    if name is None or name in ("", _LEGACY_NAME):  # compared, not looked up: it may be anything
        return ""
    if not isinstance(name, str) or _BAD_NAME.search(name):
        raise JobeError("The sourcefilename for the run_spec is illegal")
    return name if is_source_name(name) else ""


def _file_list(spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    listed = spec.get("file_list") or []
    if not isinstance(listed, list):
        raise JobeError("Invalid file specifier: file_list must be an array")
    for pair in listed:
        good = (
            isinstance(pair, list) and len(pair) in {2, 3} and all(isinstance(part, str) for part in pair[:2])
        )
        if not good or not valid_file_id(pair[0]) or not _FILE_NAME.fullmatch(pair[1]):
            raise JobeError(f"Invalid file specifier: {str(pair)[:80]}")
    return [(pair[0], pair[1]) for pair in listed]


def _found(file: Callable[[str], bytes | None], file_id: str) -> bytes:
    contents = file(file_id)
    if contents is None:
        raise JobeError(MISSING, HTTPStatus.NOT_FOUND)
    return contents


def _main_class(parameters: Mapping[str, Any], sources: tuple[Source, ...]) -> str:
    """The class that is asked for, or that of the file, where others could be meant."""
    wanted = parameters.get("main_class")
    if isinstance(wanted, str) and wanted:
        return wanted
    return sources[0].name.partition(".")[0] if len(sources) > 1 else ""


def _words(given: Any) -> tuple[str, ...]:  # noqa: ANN401  (what a client sent)
    words = given if isinstance(given, list) else []
    args = tuple(str(word) for word in words)
    if len(args) > ARGS_MAX or any(len(arg) > ARG_CHARACTERS_MAX or "\0" in arg for arg in args):
        raise JobeError("The runargs are too many, too long, or hold a NUL")
    return args


def _number(value: Any) -> float | None:  # noqa: ANN401
    """A positive number, also as text; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 < number < float("inf") else None


def _clean(data: bytes) -> str:
    r"""UTF-8 as it is; anything else with what is not printable ASCII as `\xNN`, as Jobe has it."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1").translate(_ESCAPED)


def _ending(run: Run) -> str:
    """For an ending that left nothing on standard error."""
    if run.message:
        return run.message
    if run.signal is not None:
        return f"Killed by signal {run.signal}"
    return f"Exited with status {run.exit_code}"
