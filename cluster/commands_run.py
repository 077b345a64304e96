"""`javacluster run`: programs from files, as plain `java` would run them, on the cluster (H4)."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from cluster import client
from cluster.commands_local import directory_option
from cluster.errors import JobError, Unavailable
from cluster.gateway.schemas import (
    STDIN_MAX,
    LimitsAsked,
    OutputEvent,
    ProgramResult,
    RestartedEvent,
    RunResult,
)
from cluster.local import LocalCluster
from cluster.wire.jobs import Verdict

_PLACE = re.compile(r"^[\w$-]+\.java(?=:\d+: )", re.MULTILINE)
"""Where the compiler names the file."""

EXIT_PROGRAM_FAILED = 1
EXIT_SIGNALLED = 128
"""And the signal's number, as shells have it."""

_LIMITS = ", ".join(LimitsAsked.__struct_fields__)


class _Split(click.Command):
    """A command that leaves what stands after `--` to the program it starts."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put it aside."""
        if "--" in args:
            at = args.index("--")
            args, ctx.meta["rest"] = args[:at], tuple(args[at + 1 :])
        return super().parse_args(ctx, args)


def _limits(_ctx: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> dict[str, float]:
    """`wall_s=2` as name and number; whether it is allowed is the gateway's to say."""
    limits: dict[str, float] = {}
    for text in texts:
        name, _equals, number = text.partition("=")
        if name not in LimitsAsked.__struct_fields__:
            raise click.BadParameter(f"`{text}` is not NAME=NUMBER with a name of {_LIMITS}")
        try:
            limits[name] = float(number)
        except ValueError:
            raise click.BadParameter(f"`{number}` is not a number") from None
    return limits


@click.command(cls=_Split)
@directory_option
@click.option("--gateway", metavar="URL", help="Another gateway than the local cluster's.")
@click.option("--main-class", default="", metavar="NAME", help="The class to start, if there are several.")
@click.option(
    "--stdin",
    "stdin",
    type=click.File("rb"),
    help="Standard input from a file.  [default: this command's own, unless it is a terminal]",
)
@click.option("--limit", "limits", multiple=True, callback=_limits, metavar="NAME=NUMBER", help=_LIMITS)
@click.option("--fresh", is_flag=True, help="Run it even if the answer is known.")
@click.option("--time", "timing", is_flag=True, help="Say on standard error where it ran and how long.")
@click.option("--json", "as_json", is_flag=True, help="The whole result, for machines.")
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE.java... [-- ARGUMENT...]", type=click.Path(path_type=Path)
)
@click.pass_context
def run(
    ctx: click.Context,
    directory: Path,
    gateway: str | None,
    main_class: str,
    stdin: Any,  # noqa: ANN401  (an open file)
    limits: dict[str, float],
    files: tuple[Path, ...],
    *,
    fresh: bool,
    timing: bool,
    as_json: bool,
) -> None:
    """Compile and run Java source files on the cluster, with arguments after -- and standard input.

    What the program writes is written as it comes; Ctrl-C cancels it. A gateway that asks for a token gets
    the one in $JAVACLUSTER_TOKEN, or in the file $JAVACLUSTER_TOKEN_FILE.

    Ends with the program's own exit status, or 1 where it has none: it does not compile, a limit was passed.
    65: the gateway refuses the request. 75: the cluster can't serve now.
    """
    request = {
        **_sources(files),
        "main_class": main_class,
        "args": ctx.meta.get("rest", ()),
        "stdin_base64": base64.b64encode(_input(stdin)).decode(),
        "limits": limits,
    }
    where, token = gateway or LocalCluster(directory).gateway_url, client.token_of_environment()
    if as_json:
        with _waiting():
            result = client.run_program(where, request, fresh=fresh, token=token)
        click.echo(msgspec.json.format(msgspec.json.encode(result)))
    else:
        result = _follow(client.follow_program(where, request, fresh=fresh, token=token))
        _show(result, files)
    if timing:
        click.echo(_told(result), err=True)
    ctx.exit(_status(result))


def _follow(told: Iterator[OutputEvent | RestartedEvent | ProgramResult]) -> ProgramResult:
    """Write what the program writes as it comes; give back its result."""
    terminal = Terminal()
    try:
        with _waiting() as sign:
            for one in told:
                if isinstance(one, ProgramResult):
                    return one
                sign()  # something is coming: the sign of life goes
                if isinstance(one, OutputEvent):
                    terminal.write(one)
                else:
                    terminal.restart()
    except KeyboardInterrupt:
        raise Unavailable("interrupted: the program was cancelled") from None
    finally:
        told.close()  # type: ignore[attr-defined]  # a generator: leaving it cancels the program
    raise AssertionError("a program ends with its result")


class Terminal:
    """What was written to standard output and error so far, byte for byte.

    Another attempt (its worker was lost) mostly writes the same again: what was shown is not shown twice. If
    it writes otherwise, that is said, and shown from its beginning.
    """

    def __init__(self) -> None:
        self._shown = {"stdout": bytearray(), "stderr": bytearray()}
        self._again: dict[str, bytearray] = {}

    def write(self, event: OutputEvent) -> None:
        """The next bytes of a stream."""
        data = _bytes_of(event)
        again = self._again.get(event.stream)
        if again is None:
            self._put(event.stream, data)
            return
        again += data
        shown = self._shown[event.stream]
        if not (shown.startswith(again) or again.startswith(shown)):
            click.echo("\nanother attempt wrote otherwise, from its beginning:", err=True)
            shown.clear()
        if len(again) >= len(shown):
            del self._again[event.stream]
            self._put(event.stream, bytes(again[len(shown) :]))

    def restart(self) -> None:
        """Another attempt begins."""
        self._again = {name: bytearray() for name in self._shown}

    def _put(self, name: str, data: bytes) -> None:
        self._shown[name] += data
        stream = sys.stdout if name == "stdout" else sys.stderr
        stream.flush()
        stream.buffer.write(data)
        stream.buffer.flush()


def _bytes_of(event: OutputEvent) -> bytes:
    if isinstance(event.base64, str):
        return base64.b64decode(event.base64)
    return event.text.encode() if isinstance(event.text, str) else b""


def _sources(files: tuple[Path, ...]) -> dict[str, Any]:
    """One file is named after its public class by the compiler; several keep their names and folders."""
    texts = {}
    base = Path(os.path.commonpath([file.absolute().parent for file in files]))
    for file in files:
        try:
            texts[file.absolute().relative_to(base).as_posix()] = file.read_text(encoding="utf-8")
        except OSError as error:
            raise JobError(f"{file}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise JobError(f"{file}: not UTF-8 at byte {error.start}") from error
    return {"files": texts} if len(texts) > 1 else {"source": next(iter(texts.values()))}


def _input(stdin: Any) -> bytes:  # noqa: ANN401
    """A file's bytes, or what comes through a pipe; a terminal is not waited for."""
    if stdin is None:
        if sys.stdin is None or sys.stdin.isatty():
            return b""
        stdin = sys.stdin.buffer
    data: bytes = stdin.read(STDIN_MAX + 1)
    if len(data) > STDIN_MAX:
        raise JobError(f"standard input is larger than {STDIN_MAX} bytes")
    return data


@contextlib.contextmanager
def _waiting() -> Iterator[Callable[[], None]]:
    """A sign of life on a terminal, until it is called off."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    with Console(stderr=True).status("running on the cluster …") as sign:
        yield sign.stop


def _show(result: ProgramResult, files: tuple[Path, ...]) -> None:
    """What `run()` returned; then what became of the program, if it did not end well."""
    compilation = result.compilation
    for one in result.runs:
        if one.verdict is Verdict.OK and compilation is not None and compilation.entry == "run":
            click.echo("null" if one.value is None else one.value)
    if compilation is not None and compilation.text:
        click.echo(_named(compilation.text, files), err=True, nl=False)
    run = _telling(result)
    told = run is not None and (run.exit_code or run.stderr)
    if result.verdict is Verdict.OK or (result.verdict is Verdict.RUNTIME_ERROR and told):
        return  # it has spoken for itself
    if result.verdict is not Verdict.COMPILE_ERROR or not (compilation and compilation.text):
        click.echo(f"{result.verdict}: {result.message}".removesuffix(": "), err=True)


def _named(text: str, files: tuple[Path, ...]) -> str:
    """The compiler's words with the name that a file has here: a single one travels without it."""
    return _PLACE.sub(lambda _place: str(files[0]), text) if len(files) == 1 else text


def _telling(result: ProgramResult) -> RunResult | None:
    """The run that gave the verdict."""
    return next((run for run in result.runs if run.verdict is result.verdict), None)


def _status(result: ProgramResult) -> int:
    if result.verdict is Verdict.OK:
        return 0
    run = _telling(result)
    if run is None or result.verdict not in {Verdict.RUNTIME_ERROR, Verdict.SIGNALLED}:
        return EXIT_PROGRAM_FAILED
    if run.signal:
        return EXIT_SIGNALLED + run.signal
    return run.exit_code or EXIT_PROGRAM_FAILED


def _told(result: ProgramResult) -> str:
    """One line: where, and how long each phase took."""
    where = "from the cache" if result.cached else f"node {result.worker}"
    compiled = result.compilation.seconds if result.compilation else 0.0
    ran = sum(run.wall_s for run in result.runs)
    memory = max((run.peak_memory_bytes for run in result.runs), default=0) // 2**20
    times = f"queue {result.queue_s:.3f} s, compile {compiled:.3f} s, run {ran:.3f} s"
    return f"{result.verdict}, {where}: {times}, {memory} MiB, job {result.job}"


COMMANDS = (run,)
