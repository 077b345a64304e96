"""Asking a cluster over HTTP from outside: what the command line uses, and other people's programs.

    from cluster.client import Client

    client = Client("http://127.0.0.1:8888")
    result = client.run(source)

`TwistedClient` in `cluster.client.on_twisted` is the same for programs on Twisted, which this does not load.
"""

from cluster.client.answers import (
    ANSWER_MAX,
    ClusterView,
    NodeView,
    Refused,
    Retry,
    input_of,
    new_key,
)
from cluster.client.blocking import (
    GLANCE_S,
    Reply,
    follow_program,
    log_lines,
    look,
    look_raw,
    run,
    run_program,
    token_of_environment,
)
from cluster.client.calls import PATIENCE_S
from cluster.client.session import Client
from cluster.gateway.schemas import (
    CompilationResult,
    JobDocument,
    LimitsAsked,
    ProgramResult,
    RunResult,
    TestInput,
)
from cluster.wire.jobs import Diagnostic, Verdict

__all__ = (
    "ANSWER_MAX",
    "GLANCE_S",
    "PATIENCE_S",
    "Client",
    "ClusterView",
    "CompilationResult",
    "Diagnostic",
    "JobDocument",
    "LimitsAsked",
    "NodeView",
    "ProgramResult",
    "Refused",
    "Reply",
    "Retry",
    "RunResult",
    "TestInput",
    "Verdict",
    "follow_program",
    "input_of",
    "log_lines",
    "look",
    "look_raw",
    "new_key",
    "run",
    "run_program",
    "token_of_environment",
)
