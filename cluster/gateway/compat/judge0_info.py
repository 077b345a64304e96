"""What a Judge0 tells of itself: statuses, languages, configuration, workers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster.config import CompatSettings
from cluster.gateway.compat import judge0
from cluster.gateway.compat.judge0 import KB
from cluster.gateway.view import ClusterView
from cluster.identity import Role, Status
from cluster.limits import Limits

VERSION = "1.13.1"
"""Of the interface that is spoken: clients look up language numbers by it."""

QUEUE_MAX = 100
"""Judge0's own default; how many may really wait is the cluster's `work.queue_max`."""

IN_QUEUE, PROCESSING, ACCEPTED, WRONG_ANSWER, TIME_LIMIT, COMPILATION_ERROR = range(1, 7)
SIGSEGV, SIGXFSZ, SIGFPE, SIGABRT, NZEC, OTHER, INTERNAL_ERROR, EXEC_FORMAT_ERROR = range(7, 15)

STATUSES: Mapping[int, str] = {
    IN_QUEUE: "In Queue",
    PROCESSING: "Processing",
    ACCEPTED: "Accepted",
    WRONG_ANSWER: "Wrong Answer",
    TIME_LIMIT: "Time Limit Exceeded",
    COMPILATION_ERROR: "Compilation Error",
    SIGSEGV: "Runtime Error (SIGSEGV)",
    SIGXFSZ: "Runtime Error (SIGXFSZ)",
    SIGFPE: "Runtime Error (SIGFPE)",
    SIGABRT: "Runtime Error (SIGABRT)",
    NZEC: "Runtime Error (NZEC)",
    OTHER: "Runtime Error (Other)",
    INTERNAL_ERROR: "Internal Error",
    EXEC_FORMAT_ERROR: "Exec Format Error",
}


def language_name(number: int, version: str) -> str:
    """Such as `Java (OpenJDK 17.0.15)`."""
    return f"Java ({f'{judge0.JAVA_IDS[number]} {version}'.strip()})"


def languages(version: str, archived: bool) -> list[dict[str, Any]]:
    """What `/languages` lists, or with `archived` what `/languages/all` does."""
    return [
        {"id": number, "name": language_name(number, version)} | ({"is_archived": False} if archived else {})
        for number in judge0.JAVA_IDS
    ]


def language(number: int, version: str) -> dict[str, Any]:
    """What `/languages/ID` tells: the commands are what it amounts to, none is run."""
    return {
        "id": number,
        "name": language_name(number, version),
        "is_archived": False,
        "source_file": "Main.java",
        "compile_cmd": "/usr/bin/javac %s Main.java",
        "run_cmd": "/usr/bin/java Main",
    }


def statuses() -> list[dict[str, Any]]:
    """What `/statuses` lists."""
    return [{"id": number, "description": text} for number, text in STATUSES.items()]


def config_info(caps: Limits, compat: CompatSettings) -> dict[str, Any]:
    """What `/config_info` tells: this gateway's limits in Judge0's words and units."""
    memory = caps.memory_bytes // KB
    return {
        "maintenance_mode": False,
        "enable_wait_result": True,
        "enable_compiler_options": False,
        "allowed_languages_for_compile_options": [],
        "enable_command_line_arguments": True,
        "enable_submission_delete": True,
        "enable_callbacks": bool(compat.callback_allow),
        "callbacks_max_tries": compat.callback_tries,
        "callbacks_timeout": compat.callback_timeout_s,
        "enable_additional_files": True,
        "max_queue_size": QUEUE_MAX,
        "cpu_time_limit": caps.cpu_s,
        "max_cpu_time_limit": caps.cpu_s,
        "cpu_extra_time": 1.0,
        "max_cpu_extra_time": judge0.CPU_EXTRA_MAX,
        "wall_time_limit": caps.wall_s,
        "max_wall_time_limit": caps.wall_s,
        "memory_limit": memory,
        "max_memory_limit": memory,
        "stack_limit": 64_000,
        "max_stack_limit": judge0.STACK_MAX,
        "max_processes_and_or_threads": caps.processes,
        "max_max_processes_and_or_threads": caps.processes,
        "enable_per_process_and_thread_time_limit": False,
        "allow_enable_per_process_and_thread_time_limit": False,
        "enable_per_process_and_thread_memory_limit": False,
        "allow_enable_per_process_and_thread_memory_limit": False,
        "max_file_size": 1024,
        "max_max_file_size": judge0.FILE_MAX,
        "number_of_runs": 1,
        "max_number_of_runs": judge0.RUNS_MAX,
        "redirect_stderr_to_stdout": False,
        "max_extract_size": judge0.EXTRACT_BYTES // KB,
        "enable_batched_submissions": True,
        "max_submission_batch_size": judge0.BATCH_MAX,
        "submission_cache_duration": 0.0,
        "use_docs_as_homepage": False,
        "allow_enable_network": False,
        "enable_network": False,
        "disable_implicit_base64_encoding": True,
    }


def workers(view: ClusterView) -> list[dict[str, Any]]:
    """What `/workers` tells: one queue, and the slots of the living nodes."""
    nodes = [
        node
        for node in view.nodes
        if node.role is not Role.GATEWAY and node.status in {Status.ALIVE, Status.SUSPECT}
    ]
    slots, running = sum(node.slots for node in nodes), sum(node.running for node in nodes)
    return [
        {
            "queue": "default",
            "size": sum(node.queued for node in nodes),
            "available": slots,
            "idle": max(0, slots - running),
            "working": running,
            "paused": 0,
            "failed": 0,
        }
    ]


def about(version: str) -> dict[str, str]:
    """What `/about` tells; the version is the interface's, the rest is ours."""
    return {
        "version": VERSION,
        "homepage": "",
        "source_code": "",
        "maintainer": f"javacluster {version}",
    }
