"""What every job of a measurement is, and what comes of it."""

from __future__ import annotations

from cluster.wire.jobs import Outcome, Program, Run, Source, Verdict

OUTCOME = Outcome(Verdict.OK, runs=(Run(Verdict.OK, value=b"Hello world!"),))

PROGRAM = Program((Source("Hello.java", "public class Hello { public String run() { return null; } }"),))
