"""Asking a cluster over HTTP from outside: what the command line uses, and other people's programs."""

from cluster.client.blocking import (
    ANSWER_MAX,
    GLANCE_S,
    PATIENCE_S,
    ClusterView,
    NodeView,
    Reply,
    follow_program,
    log_lines,
    look,
    look_raw,
    run,
    run_program,
    token_of_environment,
)

__all__ = (
    "ANSWER_MAX",
    "GLANCE_S",
    "PATIENCE_S",
    "ClusterView",
    "NodeView",
    "Reply",
    "follow_program",
    "log_lines",
    "look",
    "look_raw",
    "run",
    "run_program",
    "token_of_environment",
)
