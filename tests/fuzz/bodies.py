"""What clients send: the bodies of each interface (H4)."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from cluster.gateway.compat import jobe, judge0, piston
from cluster.gateway.compat.contents import Unusable, sort_contents, unpack
from cluster.gateway.programs import program_of, read_request
from cluster.gateway.replies import HttpProblem
from cluster.gateway.schemas import FILES_MAX
from cluster.limits import Limits
from cluster.wire.codec import encode_frame
from cluster.wire.jobs import Job, Program
from cluster.wire.messages import Submit
from tests.fuzz.target import Target, require

CAPS = Limits()
SOURCE_MAX = 100_000
BYTES_MAX = 8192
"""Room for a number of more digits than Python reads (4,300)."""
SOURCE = 'public class A { public String run() { return "x"; } }'
VERSIONS = ("17.0.15",)


def _sendable(program: Program) -> None:
    """What was let in is within every bound, and can be sent on."""
    require(program.sources, "there is a source")
    require(sum(len(source.text.encode()) for source in program.sources) <= SOURCE_MAX, "not too much of it")
    for name in Limits.__struct_fields__:
        require(0 < getattr(program.limits, name) <= getattr(CAPS, name), f"{name} within its cap")
    require(all("\0" not in arg for given in program.inputs for arg in given.args), "arguments of a process")
    for file in program.files:
        require(".." not in file.name.split("/") and not file.name.startswith("/"), "a file stays below")
    encode_frame(Submit(Job("ab" * 16, 100, program), False, 0, 1.0, 1.0))


def v1(data: bytes) -> None:
    """`POST /v1/run` and `/v1/jobs`."""
    try:
        program = program_of(read_request(data, "application/json", None), CAPS, SOURCE_MAX)
    except HttpProblem as problem:
        _said(problem.status, str(problem))
        return
    _sendable(program)


def jobe_run(data: bytes) -> None:
    """`POST /jobe/index.php/restapi/runs`."""
    try:
        program = jobe.program_of(data, CAPS, SOURCE_MAX, lambda _file: b"content")
    except jobe.JobeError as error:
        _said(error.status, error.text)
        return
    _sendable(program)


def piston_execute(data: bytes) -> None:
    """`POST /api/v2/execute`."""
    try:
        program, version = piston.program_of(data, VERSIONS, CAPS, SOURCE_MAX)
    except piston.PistonError as error:
        _said(400, str(error))
        return
    require(version in VERSIONS, "a version that is there")
    _sendable(program)


def judge0_submit(data: bytes) -> None:
    """`POST /submissions`: the first byte says how the texts are encoded, and of which type the body is."""
    flags, body = data[:1], data[1:]
    encoded = flags in {b"1", b"3"}
    kind = "application/x-www-form-urlencoded" if flags in {b"2", b"3"} else "application/json"
    try:
        given = judge0.attributes_of(body, kind)
        found = judge0.submission_of(given, encoded, CAPS, SOURCE_MAX, lambda _url: "")
    except judge0.Rejected as rejected:
        msgspec.json.encode(rejected.errors)
        return
    except ValueError as error:
        require(str(error) == judge0.NO_JSON, "the one error of that kind")
        return
    _sendable(found.program)
    require(found.extra_bytes >= len(found.source_code), "what is kept is weighed")


def archive(data: bytes) -> None:
    """What a submission brings along in one archive."""
    try:
        found = unpack(data, SOURCE_MAX)
    except Unusable as error:
        str(error).encode()
        return
    require(sum(len(content) for _, content in found) <= SOURCE_MAX, "no more than was allowed")
    require(len(found) <= FILES_MAX, "nor more files")
    try:
        contents = sort_contents(found, CAPS)
    except Unusable:
        return
    for name in (*(file.name for file in contents.files), *(one.name for one in contents.sources)):
        require(not name.startswith("/") and ".." not in name.split("/"), "each stays below")


def _seeds_archive() -> Iterator[bytes]:
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", kind) as opened:
            opened.writestr("A.java", SOURCE)
            opened.writestr("data/in.txt", b"x" * 200)
            opened.writestr("folder/", b"")
        yield buffer.getvalue()


def _said(status: int, text: str) -> None:
    """A refusal blames the client, in words that can be sent."""
    require(400 <= status < 500, f"the client's fault, not {status}: {text}")
    require(text, "says why")
    msgspec.json.encode(text)


def _json(*values: Any) -> Callable[[], Iterator[bytes]]:
    return lambda: (json.dumps(value).encode() for value in values)


V1 = (
    {"source": SOURCE},
    {
        "files": {"A.java": SOURCE, "b/C.java": "package b; class C {}"},
        "main_class": "A",
        "limits": {"wall_s": 1.5, "memory_bytes": 2**26},
        "tests": [{"args": ["a"], "stdin": "x"}, {"stdin_base64": "AAEC"}],
        "tenant": "ann",
        "progress": True,
    },
    {"source": "\ud83d\ude00", "args": ["\u00e4", "1"], "stdin": "\n", "limits": {"output_bytes": 1e300}},
)
JOBE = {
    "run_spec": {
        "language_id": "java",
        "sourcecode": SOURCE,
        "sourcefilename": "A.java",
        "input": "text",
        "file_list": [["0123456789abcdef", "data.txt"], ["0123456789abcdef", "B.java", True]],
        "parameters": {"cputime": 2, "memorylimit": "100", "streamsize": 0.5, "runargs": ["a", 1]},
    }
}
PISTON = {
    "language": "java",
    "version": "17.x",
    "files": [{"name": "A.java", "content": SOURCE}, {"content": "AAEC", "encoding": "base64"}],
    "stdin": "x",
    "args": ["a"],
    "run_timeout": 1000,
    "compile_memory_limit": -1,
}
JUDGE0 = {
    "source_code": SOURCE,
    "language_id": 62,
    "stdin": "x",
    "expected_output": "y",
    "cpu_time_limit": "1.5",
    "memory_limit": 128000,
    "number_of_runs": 2,
    "command_line_arguments": "a 'b c'",
    "callback_url": "http://example/",
    "additional_files": "UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA==",
}


def _seeds_judge0() -> Iterator[bytes]:
    yield b"0" + json.dumps(JUDGE0).encode()
    texts = {"source_code": "Y2xhc3MgQSB7fQ==", "stdin": "eA==", "expected_output": "eQ=="}
    yield b"1" + json.dumps(JUDGE0 | texts).encode()
    yield b"2source_code=class+A+%7B%7D&language_id=62&stdin=%00"
    yield b"3source_code=Y2xhc3MgQSB7fQ%3D%3D&language_id=91"


_BODY = "a program within every bound, or a refusal that blames the client"
TARGETS = (
    Target("v1", _BODY, v1, _json(*V1), BYTES_MAX),
    Target("jobe", _BODY, jobe_run, _json(JOBE), BYTES_MAX),
    Target("piston", _BODY, piston_execute, _json(PISTON), BYTES_MAX),
    Target("judge0", _BODY, judge0_submit, _seeds_judge0, BYTES_MAX),
    Target("archive", "files within every bound, or a refusal", archive, _seeds_archive),
)
