"""One node under systemd with the settings of this project's own unit: does its sandbox work there?

Takes every setting of the unit's template that neither depends on the host nor belongs to a gateway.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import msgspec

from cluster.bench.driver import RunnerProcess
from cluster.wire.jobs import Verdict
from tests.support.java_driver import main_class, program

TEMPLATE = Path("roles/javacluster/templates/javacluster.service.j2")
WANTED = ("namespaces", "seccomp", "cgroup2")
STATE = "hostile"
UNIT = "javacluster.service"

PROGRAMS = {
    'System.out.print("hello");': (Verdict.OK, ""),
    "var l = new ArrayList<byte[]>(); while (true) l.add(new byte[1 << 20]);": (Verdict.MEMORY_LIMIT, "heap"),
    'var f = sun.misc.Unsafe.class.getDeclaredField("theUnsafe"); f.setAccessible(true);'
    " var u = (sun.misc.Unsafe) f.get(null);"
    " while (true) u.setMemory(u.allocateMemory(1 << 24), 1 << 24, (byte) 1);": (
        Verdict.MEMORY_LIMIT,
        "native",
    ),
    "while (true) { }": (Verdict.TIME_LIMIT, "cpu"),
    "Runnable w = () -> { try { Thread.sleep(99999); } catch (Exception e) { } };"
    " while (true) new Thread(w).start();": (Verdict.MEMORY_LIMIT, "threads"),
}


def hardening(template: str) -> list[str]:
    """The settings of a peer's unit, as arguments of systemd-run."""
    service = template.partition("[Service]")[2].partition("[Install]")[0]
    peers = re.sub(r"(?s)\{% if javacluster_role == 'gateway' %\}.*?\{% (?:else|endif) %\}", "", service)
    lines = [line.strip() for line in peers.splitlines() if re.match(r"[A-Z]\w+=", line) and "{{" not in line]
    skipped = ("Type=", "NotifyAccess=", "Exec", "Restart", "KillMode=")
    return [f"--property={line}" for line in lines if not line.startswith(skipped)]


class AsUnit(RunnerProcess):
    """Started by systemd, spoken to through its pipes."""

    patience = 10.0
    prefix = (
        "systemd-run",
        "--pipe",
        "--wait",
        "--quiet",
        "--collect",
        f"--unit={UNIT}",
        "--property=User=javacluster",
        "--property=Group=javacluster",
        f"--property=StateDirectory={STATE}",
        "--property=StateDirectoryMode=0700",
        "--property=WorkingDirectory=/srv/work",
        *(f"--setenv={name}" for name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "LC_ALL")),
        *hardening(TEMPLATE.read_text(encoding="utf-8")),
        "--",
    )


def main() -> int:
    """The number of programs that ended otherwise than they should."""
    click.echo("\n".join(word for word in AsUnit.prefix if "=" in word))
    caps = {"cpu_s": 60.0, "wall_s": 300.0, "compile_s": 120.0}  # emulated: everything takes longer
    node = AsUnit(Path("/var/lib") / STATE, slots=1, sandbox={"require": WANTED}, caps=caps)
    click.echo(node.start.text)
    if not node.start.started:
        return 1
    wrong = 0
    for body, right in PROGRAMS.items():
        outcome = node.outcome(program(main_class(body), cpu_s=15.0, wall_s=120.0, compile_s=120.0), 600.0)
        run = outcome.runs[0] if outcome.runs else None
        told = (run.verdict, run.detail) if run else (outcome.verdict, outcome.message)
        peak = run.peak_memory_bytes >> 20 if run else 0
        click.echo(f"{'ok   ' if told == right else 'WRONG'} {told} peak {peak} MiB: {body[-60:]}")
        wrong += told != right
    group = Path("/sys/fs/cgroup/system.slice", UNIT)
    click.echo(
        subprocess.run(
            ["systemd-cgls", "--no-pager", str(group)], capture_output=True, text=True, check=False
        ).stdout
    )
    cells = sorted(path.name for path in (group / "machines").iterdir() if path.is_dir())
    click.echo(msgspec.json.encode(cells).decode())
    node.stop()
    return wrong


if __name__ == "__main__":
    sys.exit(main())
