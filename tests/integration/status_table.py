"""What `test_statuses.py` walks: requests as arguments of curl, and what must come back (H1-H9)."""

from __future__ import annotations

import json

import attrs

from cluster.tokens import new_token

ANN, BOB, EVE = new_token(), new_token(), new_token()
JAVA = ("-H", "Content-Type: text/x-java-source")
JSON = ("-H", "Content-Type: application/json")
AS_ANN = ("-H", f"Authorization: Bearer {ANN}")
AS_BOB = ("-H", f"Authorization: Bearer {BOB}")
AS_EVE = ("-H", f"Authorization: Bearer {EVE}")
HELLO = 'public class A { public String run() { return "hi"; } }'
PROGRAM = json.dumps({"source": HELLO})
NOBODY = "0" * 32
ARGUMENT_MAX = 30_000
"""A longer argument goes through a pipe: the kernel does not take any length."""
PROBLEM = "application/problem+json"


@attrs.frozen
class Row:
    """A request, as arguments of curl, and what must come back.

    Attributes:
        path: with its query; `{job}` stands for a finished job of Ann's, `{bobs}` for one of Bob's,
            `{token}` for a submission of Ann's.
        headers: names that must be there, or whole lines.
        body: a piece of it.
    """

    path: str
    arguments: tuple[str, ...]
    status: int
    headers: tuple[str, ...] = ()
    body: str = ""


def data(text: str) -> tuple[str, ...]:
    return ("--data-binary", text)


def put(text: str, *headers: str) -> tuple[str, ...]:
    """JSON as Ann."""
    return (*JSON, *AS_ANN, *(part for header in headers for part in ("-H", header)), *data(text))


FRESH = "Cached-Response: false"
TABLE = [
    # H1: the original's interface; `Cached-Response` on every answer
    Row("/compileandrun", (*JAVA, *AS_ANN, *data(HELLO)), 200, ("Cached-Response", "X-Job-Id", "Server-Timing"), "hi"),
    Row("/compileandrun", (*JAVA, *AS_ANN, *data(HELLO)), 200, ("Cached-Response: true", "Age"), "hi"),
    Row("/compileandrun", ("-H", "Content-Type: text/x-java-source; charset=utf-8", *AS_ANN, *data(HELLO)), 200),
    Row("/compileandrun", (*JAVA, *AS_ANN, *data("class A {")), 400, (FRESH, "X-Job-Verdict: compile_error"), "Main.java:1"),
    Row(
        "/compileandrun",
        (*JAVA, *AS_ANN, *data("public class A { public String run() { return null.toString(); } }")),
        400,
        (FRESH,),
    ),
    Row("/compileandrun", (*JAVA, *AS_ANN, *data("")), 400, (FRESH,), "empty"),
    Row("/compileandrun", (*JSON, *AS_ANN, *data(HELLO)), 400, (FRESH,), "Content-Type"),
    Row("/compileandrun", (*JAVA, *AS_ANN, "-H", "Content-Encoding: gzip", *data(HELLO)), 400, (FRESH,)),
    Row("/compileandrun", (*JAVA, *AS_ANN, "-X", "PUT", *data(HELLO)), 405, (FRESH, "Allow: POST")),
    Row("/compileandrun", AS_ANN, 405, (FRESH, "Allow: POST")),
    Row("/compileandrun", (*JAVA, *AS_ANN, "-H", "Expect:", *data("x" * 2_000_000)), 413, (FRESH,)),
    Row("/compileandrun", (*JAVA, *data(HELLO)), 401, (FRESH, "WWW-Authenticate: Bearer")),
    Row("/compileandrun", (*JAVA, "-H", "Authorization: Bearer jc_no", *data(HELLO)), 401, (FRESH, "invalid_token")),
    Row("/compileandrun/more", (*JAVA, *AS_ANN, *data(HELLO)), 404, (FRESH,)),
    # H4
    Row("/v1/run", put(PROGRAM), 200, ("X-Job-Verdict: ok",), '"value":"hi"'),
    Row("/v1/run", put(json.dumps({"source": "class A {"})), 200, ("X-Job-Verdict: compile_error",)),
    Row("/v1/run", put(PROGRAM, "Accept: text/event-stream"), 200, ("text/event-stream",), "event: verdict"),
    Row("/v1/run", put(PROGRAM, "Idempotency-Key: table"), 200, ("X-Job-Id",)),
    Row("/v1/run", put(json.dumps({"source": HELLO + " "}), "Idempotency-Key: table"), 409, (PROBLEM,)),
    Row("/v1/run", put(PROGRAM, "Idempotency-Key;"), 400, (PROBLEM,)),
    Row("/v1/run", put("{"), 400, (PROBLEM,), "not JSON"),
    Row("/v1/run", put("[" * 100_000), 422, (PROBLEM,)),
    Row("/v1/run", put("{}"), 422, (PROBLEM,), "exactly one of"),
    Row("/v1/run", put('{"source": ' + "[" * 50_000), 422, (PROBLEM,)),
    Row("/v1/run", put(json.dumps({"source": HELLO, "limits": {"wall_s": 1e9}})), 422, (PROBLEM,), "$.limits.wall_s"),
    Row("/v1/run", put(json.dumps({"source": HELLO, "bogus": 1})), 422, (PROBLEM,), "bogus"),
    Row("/v1/run", put(json.dumps({"source": "x" * 1_100_000}), "Expect:"), 413, (PROBLEM,)),
    Row("/v1/run", (*JAVA, *AS_ANN, *data(HELLO)), 415, (PROBLEM,)),
    Row("/v1/run", (*AS_ANN, "-X", "GET"), 405, (PROBLEM, "Allow: POST")),
    Row("/v1/run", (*JSON, *data(PROGRAM)), 401, (PROBLEM, "WWW-Authenticate: Bearer")),
    # H5
    Row("/v1/jobs", put(PROGRAM), 202, ("Location: /v1/jobs/",), '"status":"'),
    Row("/v1/jobs", put("{"), 400, (PROBLEM,)),
    Row("/v1/jobs", put("{}"), 422, (PROBLEM,)),
    Row("/v1/jobs", AS_ANN, 405, (PROBLEM, "Allow: POST")),
    Row("/v1/jobs", (*JSON, *data(PROGRAM)), 401, (PROBLEM,)),
    Row("/v1/jobs/{job}?wait=10", AS_ANN, 200, ("X-Job-Verdict: ok",), '"status":"finished"'),
    Row("/v1/jobs/{job}?wait=x", AS_ANN, 400, (PROBLEM,)),
    Row("/v1/jobs/{job}?wait=61", AS_ANN, 400, (PROBLEM,)),
    Row("/v1/jobs/{job}", (), 401, (PROBLEM,)),
    Row("/v1/jobs/{job}", AS_BOB, 404, (PROBLEM,)),
    Row("/v1/jobs/" + NOBODY, AS_ANN, 404, (PROBLEM,)),
    Row("/v1/jobs/x", AS_ANN, 404, (PROBLEM,)),
    Row("/v1/jobs/{job}", (*AS_ANN, "-X", "PATCH"), 405, (PROBLEM, "Allow")),
    Row("/v1/jobs/{job}/events", AS_ANN, 200, ("text/event-stream",), "id: 1\nevent: queued"),
    Row("/v1/jobs/{job}/events", (*AS_ANN, "-H", "Last-Event-ID: 1"), 200, ("text/event-stream",), "event: verdict"),
    Row("/v1/jobs/{job}/events", (*AS_ANN, "-H", "Last-Event-ID: 999999999"), 204, ("X-Job-Verdict: ok",)),
    Row("/v1/jobs/{job}/events", (*AS_ANN, "-H", "Last-Event-ID: no"), 400, (PROBLEM,)),
    Row("/v1/jobs/{job}/events", (), 401, (PROBLEM,)),
    Row("/v1/jobs/{bobs}/events", AS_ANN, 404, (PROBLEM,)),
    Row("/v1/jobs/{bobs}", (*AS_ANN, "-X", "DELETE"), 404, (PROBLEM,)),
    Row("/v1/jobs/{job}", ("-X", "DELETE"), 401, (PROBLEM,)),
    Row("/v1/jobs/%ff", (*AS_ANN, "-X", "DELETE"), 400, (PROBLEM,)),
    Row("/v1/jobs/{bobs}", (*AS_BOB, "-X", "DELETE"), 200),
    Row("/v1/jobs/{bobs}", AS_BOB, 404, (PROBLEM,)),
    # H2
    Row("/cluster-info", (), 200, ("application/json",), '"leader":1'),
    Row("/cluster-info?format=text", (), 200, ("text/plain",), "Server 1 - LEADER"),
    Row("/cluster-info", ("-H", "Accept: text/plain"), 200, ("text/plain",), "Server 1 - LEADER"),
    Row("/cluster-info?format=xml", (), 400, (PROBLEM,)),
    Row("/cluster-info", data("x"), 405, (PROBLEM, "Allow: GET, HEAD")),
    Row("/v1/cluster", (), 200, ("application/json",)),
    Row("/v1/cluster?format=xml", (), 400, (PROBLEM,)),
    # H3
    Row("/logs/summary?lines=5", AS_ANN, 200, ("text/plain",)),
    Row("/logs/verbose?lines=5&node=1", AS_ANN, 200, ("text/plain",)),
    Row("/logs/summary?follow=1", ("-I", *AS_ANN), 200, ("text/plain",)),
    Row("/logs/summary?lines=-1", AS_ANN, 400, (PROBLEM,)),
    Row("/logs/summary?node=77", AS_ANN, 404, (PROBLEM,)),
    Row("/logs/summary?node=1&follow=1", AS_ANN, 400, (PROBLEM,)),
    Row("/logs/summary", (), 401, (PROBLEM,)),
    Row("/logs/verbose?node=77", AS_ANN, 404, (PROBLEM,)),
    Row("/logs/verbose?follow=2", AS_ANN, 400, (PROBLEM,)),
    Row("/logs/verbose", (), 401, (PROBLEM,)),
    Row("/logs/other", AS_ANN, 404, (PROBLEM,)),
    # H6, H7
    Row("/v1/runtimes", (), 200, ("application/json",), '"language":"java"'),
    Row("/v1/runtimes", data("x"), 405, (PROBLEM, "Allow: GET, HEAD")),
    Row("/v1/stats", (), 200, ("application/json",)),
    Row("/v1/stats", data("x"), 405, (PROBLEM, "Allow: GET, HEAD")),
    Row("/livez", (), 200, (), "alive"),
    Row("/readyz", (), 200, (), "ready"),
    Row("/readyz", data("x"), 405, (PROBLEM,)),
    Row("/metrics", data("x"), 405, (PROBLEM,)),
    Row("/openapi.json", data("x"), 405, (PROBLEM,)),
    Row("/", data("x"), 405, (PROBLEM,)),
    Row("/metrics", (), 200, ("version=0.0.4",), "javacluster_tokens 3"),
    Row("/openapi.json", (), 200, ("application/json",), '"openapi":"3.1.0"'),
    Row("/", (), 200, ("text/plain",), "/v1/run"),
    Row("/", ("-H", "Accept: text/html"), 200, ("text/html", "Content-Security-Policy"), "<!doctype html>"),
    Row("/pages/page.js", (), 200, ("text/javascript",)),
    Row("/pages/page.html", (), 404, (PROBLEM,)),
    Row("/pages/..%2f..%2fservice.py", (), 404, (PROBLEM,)),
    Row("/nothing", (), 404, (PROBLEM,)),
    Row("/livez", ("-X", "DELETE"), 405, (PROBLEM, "Allow: GET, HEAD")),
    Row("/livez", ("-X", "OPTIONS"), 204, ("Allow: GET, HEAD",)),
    # H8: what can't be parsed
    Row("/v1/run", ("-H", "Content-Length: 5", "-H", "Content-Length: 6", *data("x")), 400, (PROBLEM, FRESH)),
    Row("/compileandrun", ("-H", "Content-Length: no", *data("x")), 400, (FRESH,), "length"),
    Row("/livez", tuple(part for n in range(120) for part in ("-H", f"X-{n}: y")), 431, (FRESH,)),
    Row("/livez", ("-H", "X-Long: " + "y" * 20_000), 431, (FRESH,)),
    Row("/livez", ("-H", "Host: \xff"), 400),
    # H9
    Row("/v1/run", (*JSON, *AS_EVE, *data(PROGRAM)), 200),
    Row("/v1/run", (*JSON, *AS_EVE, *data(PROGRAM)), 429, (PROBLEM, "Retry-After")),
    Row("/compileandrun", (*JAVA, *AS_EVE, *data(HELLO)), 429, (FRESH, "Retry-After")),
]  # fmt: skip

JOBE = "/jobe/index.php/restapi"
FILE = "randomid0129798"
SPEC = {"language_id": "java", "sourcecode": "public class A { public static void main(String[] a) { } }"}
RUN = json.dumps({"run_spec": SPEC})
MISSING = json.dumps({"run_spec": SPEC | {"file_list": [["nosuchfile99", "words.txt"]]}})
EXECUTE = json.dumps({"language": "java", "version": "*", "files": [{"content": SPEC["sourcecode"]}]})
SUBMISSION = json.dumps({"language_id": 62, "source_code": SPEC["sourcecode"]})
BATCH = json.dumps({"submissions": [{"language_id": 62, "source_code": SPEC["sourcecode"]}]})
NOTHING = "00000000-0000-0000-0000-000000000000"
WORDS = ("application/json",)


def told(path: str, body: str = "", kind: str = "application/json") -> tuple[Row, Row]:
    """What a service tells of itself, to everybody who asks rightly."""
    return Row(path, (), 200, (kind,), body), Row(path, ("-X", "PATCH"), 405, (PROBLEM, "Allow"))


DROP_INS = [
    # Jobe: a refusal is a JSON string; 403 for a stranger, 401 for too much, 404 for a file that is not there
    *told(f"{JOBE}/languages", '["java"'),
    *told(f"{JOBE}/languages/", '["java"'),
    Row(f"{JOBE}/runs", put(RUN), 200, WORDS, '"outcome":15'),
    Row(f"{JOBE}/runs", put("what"), 400, WORDS, "Non-JSON"),
    Row(f"{JOBE}/runs", put(json.dumps({"run_spec": SPEC | {"language_id": "c"}})), 400, WORDS),
    Row(f"{JOBE}/runs", put(MISSING), 404, WORDS),
    Row(f"{JOBE}/runs", (*JSON, *data(RUN)), 403, WORDS, "token"),
    Row(f"{JOBE}/runs", (*JSON, "-H", "X-API-KEY: jc_no", *data(RUN)), 403, WORDS, "token"),
    Row(f"{JOBE}/runs", (*JSON, "-H", f"X-API-KEY: {EVE}", *data(RUN)), 401, ("Retry-After",), "programs a second"),
    Row(f"{JOBE}/files/{FILE}", ("-X", "PUT", *put('{"file_contents": "eA=="}')), 204),
    Row(f"{JOBE}/files/{FILE}", ("-I", *AS_ANN), 204),
    Row(f"{JOBE}/files/{FILE}", AS_ANN, 204),
    Row(f"{JOBE}/files/{FILE}", AS_BOB, 404, WORDS),
    Row(f"{JOBE}/files/{FILE}", ("-X", "PUT", *put('{"file_contents": "!"}')), 400, WORDS),
    Row(f"{JOBE}/files/{FILE}", ("-X", "PUT", *JSON, *data("{}")), 403, WORDS),
    Row(f"{JOBE}/files/{FILE}", (), 403, WORDS),
    # Piston: a refusal has a `message`
    *told("/api/v2/runtimes", '"language":"java"'),
    *told("/api/v2/packages", '"installed":true'),
    Row("/api/v2/execute", put(EXECUTE), 200, WORDS, '"code":0'),
    Row("/api/v2/execute", put("what"), 400, WORDS, '"message"'),
    Row("/api/v2/execute", put(json.dumps({"language": "c", "version": "*", "files": [{"content": "x"}]})), 400, WORDS),
    Row("/api/v2/execute", (*JAVA, *AS_ANN, *data(EXECUTE)), 415, WORDS, '"message"'),
    Row("/api/v2/execute", (*JSON, *data(EXECUTE)), 401, WORDS, '"message"'),
    Row("/api/v2/execute", (*JSON, *AS_EVE, *data(EXECUTE)), 429, ("Retry-After",), '"message"'),
    # Judge0: a refusal has an `error`, or the mistakes by attribute
    Row("/submissions?wait=true", put(SUBMISSION), 201, WORDS, '"description":"Accepted"'),
    Row("/submissions", put(SUBMISSION), 201, WORDS, '"token"'),
    Row("/submissions/", put(SUBMISSION), 201, WORDS, '"token"'),
    Row("/submissions/", put("{}"), 422, WORDS, "can't be blank"),
    Row("/submissions", put("what"), 400, WORDS, '"error"'),
    Row("/submissions", put("{}"), 422, WORDS, "can't be blank"),
    Row("/submissions?fields=nothing", put(SUBMISSION), 400, WORDS, "invalid fields"),
    Row("/submissions", (*JSON, *data(SUBMISSION)), 401, WORDS, '"error"'),
    Row("/submissions", (*JSON, "-H", f"X-Auth-Token: {EVE}", *data(SUBMISSION)), 429, ("Retry-After",), '"error"'),
    Row("/submissions/{token}?fields=token,status", AS_ANN, 200, WORDS, '"Accepted"'),
    Row("/submissions/{token}", AS_BOB, 404, WORDS, '"error"'),
    Row("/submissions/{token}", (), 401, WORDS),
    Row(f"/submissions/{NOTHING}", AS_ANN, 404, WORDS),
    Row("/submissions/batch", put(BATCH), 201, WORDS, '"token"'),
    Row("/submissions/batch", put('{"submissions": [{}]}'), 422, WORDS, "can't be blank"),
    Row("/submissions/batch", put("{}"), 400, WORDS, '"error"'),
    Row("/submissions/batch?tokens={token}," + NOTHING, AS_ANN, 200, WORDS, "null"),
    Row("/submissions/batch?tokens=", AS_ANN, 400, WORDS, '"error"'),
    Row("/submissions/batch?tokens={token}", (), 401, WORDS),
    Row(f"/submissions/{NOTHING}", (*AS_ANN, "-X", "DELETE"), 404, WORDS),
    Row("/submissions/{token}", (*AS_ANN, "-X", "DELETE"), 200, WORDS),
    Row("/submissions/{token}", (*AS_ANN, "-X", "DELETE"), 404, WORDS),
    *told("/languages", '"id":62'),
    *told("/languages/", '"id":62'),
    *told("/languages/all", '"is_archived":false'),
    *told("/languages/62", "OpenJDK"),
    Row("/languages/1", (), 404, WORDS),
    *told("/statuses", '"Accepted"'),
    *told("/config_info", '"cpu_time_limit"'),
    *told("/about", '"version"'),
    *told("/version", "1.13.1", "text/plain"),
    *told("/isolate", "javacluster", "text/plain"),
    *told("/license", "Apache", "text/plain"),
    *told("/workers", '"available"'),
]  # fmt: skip
"""The same for clients of other systems: each in the words that they understand (docs/drop-in.md)."""
