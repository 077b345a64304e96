"""Piston's requests and results, translated (`/api/v2`): pure."""

from __future__ import annotations

import binascii
import signal
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from cluster.gateway.compat.contents import Unusable, as_text, is_source_name, misfit, sort_contents
from cluster.gateway.compat.versions import newest_matching
from cluster.gateway.relay import Answered
from cluster.gateway.schemas import ARG_CHARACTERS_MAX, ARGS_MAX, MEMORY_MIN, STDIN_MAX
from cluster.limits import Limits
from cluster.wire.jobs import Compilation, Input, Outcome, Program, Run, Source, Verdict

LANGUAGE = "java"
ALIASES: tuple[str, ...] = ()

MILLISECONDS = 1000

_STATUS: Mapping[Verdict, str] = {
    Verdict.RUNTIME_ERROR: "RE",
    Verdict.SIGNALLED: "SG",
    Verdict.TIME_LIMIT: "TO",
    Verdict.OUTPUT_LIMIT: "OL",
}
_KILLED = "SIGKILL"


class PistonError(Exception):
    """A request that Piston refuses with 400 and this message."""


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """The result of compiling or of running. Times in milliseconds, memory in bytes.

    Attributes:
        output: standard output, then standard error.
        status: `RE` an exit code, `SG` a signal, `TO` time, `OL` or `EL` output, `XX` a fault here.
    """

    stdout: str = ""
    stderr: str = ""
    output: str = ""
    code: int | None = None
    signal: str | None = None
    message: str | None = None
    status: str | None = None
    cpu_time: float | None = None
    wall_time: float | None = None
    memory: int | None = None


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `/execute`."""

    language: str
    version: str
    run: Stage
    compile: Stage | UnsetType = UNSET


def program_of(body: bytes, versions: Sequence[str], caps: Limits, source_bytes: int) -> tuple[Program, str]:
    """The program that a request asks for, and the JDK's version that will be named in the answer.

    Args:
        body: the request.
        versions: of the JDKs of the living nodes.
        caps: the most that may be asked for, and what is given without asking.
        source_bytes: the most that all sources may have together.

    Raises:
        PistonError: with Piston's words.
    """
    asked = _decoded(body)
    language, selector, files = asked.get("language"), asked.get("version"), asked.get("files")
    if not language or not isinstance(language, str):
        raise PistonError("language is required as a string")
    if not selector or not isinstance(selector, str):
        raise PistonError("version is required as a string")
    if not isinstance(files, list) or not files:
        raise PistonError("files is required as an array")
    for index, file in enumerate(files):
        if not isinstance(file, dict) or not isinstance(file.get("content"), str):
            raise PistonError(f"files[{index}].content is required as a string")
    version = newest_matching(versions, selector) if language.lower() in {LANGUAGE, *ALIASES} else None
    if version is None:
        raise PistonError(f"{language[:40]}-{selector[:40]} runtime is unknown")
    limits = limits_of(asked, caps)
    sources, data = _files(files, limits)
    stdin = asked.get("stdin") or ""
    if not isinstance(stdin, str):
        raise PistonError("stdin must be a string")
    if not stdin.endswith("\n"):
        stdin += "\n"  # as there: what reads a line finds one
    if len(stdin.encode()) > STDIN_MAX:
        raise PistonError(f"stdin is larger than {STDIN_MAX} bytes")
    given = Input(_args(asked.get("args")), stdin.encode())
    program = Program(sources, inputs=(given,), limits=limits, files=data)
    if words := misfit(program, source_bytes):
        raise PistonError(words)
    return program, version


def limits_of(asked: Mapping[str, Any], caps: Limits) -> Limits:
    """The constraints of a request. Nothing, zero, and a memory of -1 mean what this gateway gives.

    Raises:
        PistonError: no number, negative, or above what is configured.
    """
    most = {
        "compile_memory_limit": float("inf"),
        "run_memory_limit": caps.memory_bytes,
        "compile_timeout": caps.compile_s * MILLISECONDS,
        "run_timeout": caps.wall_s * MILLISECONDS,
        "compile_cpu_time": caps.compile_s * MILLISECONDS,
        "run_cpu_time": caps.cpu_s * MILLISECONDS,
    }
    chosen: dict[str, float] = {}
    for name, limit in most.items():
        value = asked.get(name)
        if not value:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise PistonError(f"If specified, {name} must be a number")
        if value > limit:
            raise PistonError(f"{name} cannot exceed the configured limit of {limit:g}")
        if value < 0:
            if name.endswith("memory_limit"):
                continue
            raise PistonError(f"{name} must be non-negative")
        chosen[name] = value
    seconds = {
        "wall_s": chosen.get("run_timeout"),
        "cpu_s": chosen.get("run_cpu_time"),
        "compile_s": min(
            (chosen[name] for name in ("compile_timeout", "compile_cpu_time") if name in chosen), default=None
        ),
    }
    changed: dict[str, Any] = {
        name: value / MILLISECONDS for name, value in seconds.items() if value is not None
    }
    if "run_memory_limit" in chosen:
        changed["memory_bytes"] = max(MEMORY_MIN, int(chosen["run_memory_limit"]))
    return msgspec.structs.replace(caps, **changed)


def execution_of(answered: Answered, version: str) -> Execution:
    """What Piston would say; a program that does not compile has its compilation in both stages, as there."""
    result = answered.result
    assert isinstance(result, Outcome)  # noqa: S101 (for the type checker: refusals are statuses)
    compilation = result.compilation or Compilation()
    if result.verdict is Verdict.COMPILE_ERROR or any(run.detail == "compile" for run in result.runs):
        failed = _compile_failed(result, compilation)
        return Execution(language=LANGUAGE, version=version, run=failed, compile=failed)
    compiled = Stage(
        stderr=compilation.text,
        output=compilation.text,
        code=0,
        wall_time=round(compilation.seconds * MILLISECONDS, 3),
    )
    if not result.runs:
        run = Stage(message=result.message or result.verdict.value, status="XX")
    else:
        run = _ran(result.runs[0])
    return Execution(language=LANGUAGE, version=version, run=run, compile=compiled)


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        asked = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PistonError(f"the body is not JSON: {error}") from error
    if not isinstance(asked, dict):
        raise PistonError("language is required as a string")
    return asked


def _files(files: list[dict[str, Any]], limits: Limits) -> tuple[tuple[Source, ...], tuple[Any, ...]]:
    """The first text is the program, whatever its name; of the others Java files are sources too."""
    first: Source | None = None
    others: list[tuple[str, bytes]] = []
    for index, file in enumerate(files):
        name = file.get("name") or f"file{index}.code"
        if not isinstance(name, str):
            raise PistonError(f"files[{index}].name must be a string")
        encoding = file.get("encoding")
        text = encoding not in ("base64", "hex")  # compared, not looked up: it may be anything
        data = _bytes(index, file["content"], encoding)
        if text and first is None:
            first = Source(name if is_source_name(name) else "", as_text(name, data))
        else:
            others.append((name, data))
    if first is None:
        raise PistonError("files must include at least one utf8 encoded file")
    try:
        contents = sort_contents(others, limits)
    except Unusable as error:
        raise PistonError(str(error)) from error
    if any(source.name == first.name for source in contents.sources):
        raise PistonError(f"the file {first.name} is there twice")
    return (first, *contents.sources), contents.files


def _bytes(index: int, content: str, encoding: Any) -> bytes:  # noqa: ANN401  (what a client sent)
    try:
        if encoding == "base64":
            return binascii.a2b_base64(content)
        if encoding == "hex":
            return binascii.unhexlify(content)
        return content.encode()
    except (binascii.Error, ValueError) as error:
        raise PistonError(f"files[{index}].content is not {encoding or 'utf8'}: {error}") from error


def _args(given: Any) -> tuple[str, ...]:  # noqa: ANN401
    args = given or []
    if not isinstance(args, list) or len(args) > ARGS_MAX:
        raise PistonError(f"args must be an array of at most {ARGS_MAX} strings")
    words = tuple(str(arg) for arg in args)
    if any(len(word) > ARG_CHARACTERS_MAX or "\0" in word for word in words):
        raise PistonError(f"an argument may have {ARG_CHARACTERS_MAX} characters, and no NUL among them")
    return words


def _compile_failed(result: Outcome, compilation: Compilation) -> Stage:
    text = compilation.text or result.message
    late = result.verdict is Verdict.TIME_LIMIT
    return Stage(
        stderr=text,
        output=text,
        code=None if late else 1,
        signal=_KILLED if late else None,
        message=result.message if late else "Exited with error status 1",
        status="TO" if late else "RE",
        wall_time=round(compilation.seconds * MILLISECONDS, 3),
    )


def _ran(run: Run) -> Stage:
    stdout = (run.stdout + (run.value or b"")).decode(errors="replace")
    stderr = run.stderr.decode(errors="replace")
    status = _status(run)
    killed = status in {"TO", "OL", "EL"}
    return Stage(
        stdout=stdout,
        stderr=stderr,
        output=stdout + stderr,
        code=None if killed else run.exit_code,
        signal=_KILLED if killed else None if run.signal is None else signal_name(run.signal),
        message=_message(run, status),
        status=status,
        cpu_time=round(run.cpu_s * MILLISECONDS, 3),
        wall_time=round(run.wall_s * MILLISECONDS, 3),
        memory=run.peak_memory_bytes or None,
    )


def _status(run: Run) -> str | None:
    if run.verdict is Verdict.OK:
        return None
    if run.verdict is Verdict.OUTPUT_LIMIT and run.detail == "stderr":
        return "EL"
    if run.verdict is Verdict.MEMORY_LIMIT:
        return "SG" if run.exit_code is None else "RE"
    return _STATUS.get(run.verdict, "XX")


def _message(run: Run, status: str | None) -> str | None:
    if status is None:
        return None
    if status in {"OL", "EL"}:
        return f"{'stdout' if status == 'OL' else 'stderr'} length exceeded"
    if status == "RE" and run.verdict is Verdict.RUNTIME_ERROR:
        return f"Exited with error status {run.exit_code}"
    if status == "TO":
        return "Time limit exceeded" + (" (wall clock)" if run.detail == "wall" else "")
    return run.message or run.verdict.value


def signal_name(number: int) -> str:
    """Such as `SIGSEGV`."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"
