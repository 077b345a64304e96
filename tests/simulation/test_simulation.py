"""The simulator in every test run: the corpus, seeds of this commit, and the simulator's own promises."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import attrs
import msgspec
import pytest
from msgspec.structs import replace

from cluster.config import WorkSettings
from cluster.core import effects as fx
from cluster.core.allegiance import Allegiance
from cluster.core.membership_view import MembershipSnapshot, MemberView
from cluster.core.record import Record
from cluster.errors import StorageError
from cluster.identity import Boot, NodeId, Status
from cluster.net.store import RECORD
from cluster.wire.jobs import Outcome, Reason, Refusal, Run, Verdict
from tests.simulation import __main__ as cli
from tests.simulation import absence_sweep, compiled, gossip_sweep
from tests.simulation.canaries import CANARIES, hunt
from tests.simulation.chance import Chance
from tests.simulation.clock import SECOND, Clock
from tests.simulation.cluster import RESTART_NS, Cluster
from tests.simulation.disk import SimulatedDisk
from tests.simulation.generate import generate
from tests.simulation.gossip_scale import next_victim
from tests.simulation.gossip_watch import BURIED_NS, GossipWatch
from tests.simulation.long_chaos import LONG_MS
from tests.simulation.patience import Patience
from tests.simulation.request import Request
from tests.simulation.schedule import BadDisk, Crash, Cut, Fault, Reset, Schedule, dump, load
from tests.simulation.shrink import ddmin, shrink
from tests.simulation.simulation import run
from tests.simulation.sweep import code, run_seed, sources, sweep_on
from tests.simulation.violation import Violation

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SEEDS_A_COMMIT = 8
REPLAY = "python -m tests.simulation replay"


def commit_seed() -> int:
    """A number that is the same for all who test this commit; 0 outside a repository."""
    asked = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return int(asked.stdout[:8], 16) if asked.returncode == 0 else 0


def corpus() -> list[int]:
    """The seeds in the corpus file."""
    lines = (HERE / "corpus" / "seeds.txt").read_text(encoding="utf-8").splitlines()
    return [int(line.split()[0]) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("seed", corpus())
def test_a_seed_of_the_corpus_holds(seed: int) -> None:
    report = run_seed(seed)
    assert not report.violation, f"{report.violation}; replay: {REPLAY} {seed}"


@pytest.mark.parametrize("path", sorted((HERE / "corpus").glob("*.json")), ids=lambda path: path.stem)
def test_a_schedule_of_the_corpus_holds(path: Path) -> None:
    report = run(load(path.read_bytes()), validate_every=1)
    assert not report.violation, f"{report.violation}; replay: {REPLAY} {path.relative_to(ROOT)}"


def test_the_seeds_of_this_commit_hold() -> None:
    """Others for each commit, so that the search goes on; the same for all who look at one commit."""
    first = commit_seed()
    failed = [report for seed in range(first, first + SEEDS_A_COMMIT) if (report := run_seed(seed)).violation]
    told = "\n".join(f"{report.violation}; replay: {REPLAY} {report.seed}" for report in failed)
    assert not failed, told


def test_a_schedule_survives_json() -> None:
    for seed in range(50):
        assert load(dump(generate(seed))) == generate(seed)


def test_the_same_seed_tells_the_same_history_under_another_hash_seed() -> None:
    """In fresh processes; nothing may hang on the order of a set of strings."""
    command = [sys.executable, "-m", "tests.simulation", "traces", "--seeds", "1"]
    told = [
        subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert told[0] == told[1]
    assert len(told[0].splitlines()) == 1


def test_a_trace_tells_what_was_answered_written_and_said_to_whom_when_and_in_which_order() -> None:
    seen: list[int] = []
    for number, runs in enumerate(
        [
            (("a", 1, 2, 0), ("b", 1, 2, 0)),
            (("b", 1, 2, 0), ("a", 1, 2, 0)),
            (("a", 1, 2, 0), ("a", 1, 2, 0)),
            (("b", 1, 2, 0), ("b", 1, 2, 0)),
            (("a", 1, 2, 0), ("b", 1, 3, 0)),
            (("a", 2, 2, 0), ("b", 1, 2, 0)),
            (("a", 1, 2, 0), ("b", 1, 2, 1)),
            (("a", 1, 2, 0), ("b", 1, 2, 1 << 32)),
        ]
    ):
        cluster = Cluster(generate(0))
        for text, node, to, cluster.now in runs:
            cluster.note(text.encode(), node, to)
        assert cluster.trace not in seen, number
        seen.append(cluster.trace)


def _traces_of(answer: fx.Answer, moment: int) -> tuple[int, int]:
    """After that answer, and after a write of the first record at that moment."""
    answering, writing = Cluster(generate(0)), Cluster(generate(0))
    text = answer.result.runs[0].value or b"" if isinstance(answer.result, Outcome) else b""
    answering.checks.requests[1] = Request(101, Boot(1), text.decode(), answer.job, 0)
    answering.checks.answered(answering.hosts[101], answer)
    host = writing.hosts[1]
    writing.start(host)
    assert host.life is not None
    host.life.on_disk, host.life.written_at = host.disk.durable, moment
    writing.now = moment
    writing._written(host, host.life, moment)
    return answering.trace, writing.trace


def test_answers_of_one_length_and_writes_at_two_moments_have_traces_of_their_own() -> None:
    one, other = (
        _traces_of(fx.Answer(1, "job", Outcome(Verdict.OK, runs=(Run(Verdict.OK, value=value),))), moment)
        for value, moment in ((b"ab", SECOND), (b"ba", 2 * SECOND))
    )
    assert one[0] != other[0]
    assert one[1] != other[1]


def test_a_draw_depends_on_its_purpose_and_its_number_alone() -> None:
    one, other = Chance(7), Chance(7)
    first = one.stream("datagram", 1, 2)
    other.stream("datagram", 2, 1).bits()
    second = other.stream("datagram", 1, 2)
    assert [first.bits() for _ in range(5)] == [second.bits() for _ in range(5)]
    assert Chance(8).stream("datagram", 1, 2).bits() != Chance(7).stream("datagram", 1, 2).bits()


@pytest.mark.parametrize("ppm", [0, 30_000, -30_000, 400_000, -400_000])
def test_a_clock_shows_a_deadline_at_the_moment_that_it_names_and_not_before(ppm: int) -> None:
    clock = Clock(123_456_789_012_345, ppm)
    draw = Chance(1).stream("deadlines")
    for _ in range(200):
        shown = clock.seconds(draw.between(0, 100 * SECOND)) + draw.unit()
        moment = clock.moment(shown)
        assert clock.seconds(moment) >= shown
        assert clock.seconds(moment - 1) < shown


def test_a_sweep_that_was_broken_off_goes_on_where_it_was(tmp_path: Path) -> None:
    """Also when its last line is torn, and with more seeds than before; what other code showed is refused."""
    progress = tmp_path / "progress"
    first = list(sweep_on(0, 1, progress, processes=1))
    whole = progress.read_bytes()
    progress.write_bytes(whole + whole[:40])
    assert list(sweep_on(0, 1, progress, processes=1)) == first
    assert progress.read_bytes() == whole
    assert [part.seeds for part in sweep_on(0, 2, progress, processes=1)] == [2]
    progress.write_bytes(whole.replace(code().encode(), b"other"))
    with pytest.raises(ValueError, match="other code"):
        list(sweep_on(0, 1, progress, processes=1))
    progress.write_bytes(b"something else\n")
    with pytest.raises(ValueError, match="no progress file"):
        list(sweep_on(0, 1, progress, processes=1))


LOADED = """
import sys
from tests.simulation.__main__ import run_seed
run_seed(0)
names = [name for name in sys.modules if name.partition(".")[0] in {"cluster", "tests"}]
print(*filter(None, (getattr(sys.modules[name], "__file__", None) for name in names)), sep="\\n")
"""


def test_the_name_of_the_code_covers_every_file_that_a_run_loads() -> None:
    """Or an old compiled copy, and old parts of a sweep, would stand for code that has changed."""
    command = [sys.executable, "-c", LOADED]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    loaded = {Path(line) for line in told.splitlines()}
    assert ROOT / "cluster" / "net" / "store.py" in loaded
    assert loaded <= set(sources())


def _disk(draw: int) -> SimulatedDisk:
    return SimulatedDisk(Record("c", 1, "hash", boot=1), Chance(draw).stream("torn"))


def _accepted(epoch: int) -> Record:
    return Record("c", 1, "hash", boot=1, accepted=epoch)


def test_a_crash_comes_before_each_call_of_a_write_or_after_the_last() -> None:
    """With the host's power, also where the content or the name hangs on luck; and what was durable stays."""
    rare = Counter[str]()
    for draw in range(300):
        disk = _disk(draw)
        found = disk.crash(_accepted(1), power=draw % 2 == 0)
        done = "crash after the last write step" in found
        assert disk.durable.accepted in ({1} if done else {0, 1})
        rare.update(found)
    steps = {f"crash at write step {step}" for step in range(disk.steps)}
    cuts = {f"power cut before the {what} was synchronised" for what in ("content", "name")}
    assert set(rare) == steps | cuts | {"crash after the last write step"}


@pytest.mark.parametrize("kind", ["error", "full"])
def test_a_bad_disk_takes_no_write_and_lets_no_node_start(kind: str) -> None:
    """Until its time is over; a start does not mend it."""
    for draw in range(60):
        disk = _disk(draw)
        disk.trouble = kind
        assert not disk.write(_accepted(1))
        assert disk.start(1000) is None
        disk.crash(None, power=draw % 2 == 0)
        assert disk.start(1000) is None
        disk.trouble = ""
        begun = disk.start(2000)
        assert begun is not None
        assert begun.boot == disk.durable.boot == 2000
        assert disk.write(replace(begun, accepted=2))


def test_only_a_bad_disk_refuses_a_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails on a good one is a finding, and so is a record that nobody can read."""

    def fails(_path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    disk = _disk(0)
    with monkeypatch.context() as patch:
        patch.setattr(disk.files, "sync_directory", fails)
        with pytest.raises(StorageError, match="can't be written"):
            disk.write(_accepted(1))
    disk.files.seen[RECORD].seen = b"torn"
    with pytest.raises(StorageError, match="damaged"):
        disk.start(1000)


def test_a_node_whose_disk_is_bad_is_put_off_as_its_unit_does_and_comes_back() -> None:
    faults = (Crash(1000, 1, 100), BadDisk(1050, 2500, 1, "full"))
    schedule = Schedule(seed=1, peers=3, faults=faults)
    report = run(schedule)
    assert not report.violation
    assert report.probes["start put off by a bad disk"] == 2
    unit = (ROOT / "roles" / "javacluster" / "templates" / "javacluster.service.j2").read_text()
    assert f"\nRestartSec={RESTART_NS // SECOND}\n" in unit


def test_a_bad_disk_is_bad_for_as_long_as_the_last_fault_says() -> None:
    faults = (BadDisk(1000, 500, 1, "full"), BadDisk(1200, 5000, 1, "error"), Crash(2000, 1, 100))
    assert run(Schedule(seed=1, peers=3, faults=faults)).probes["start put off by a bad disk"] >= 2


def test_a_few_seeds_go_on_for_long_and_lose_one_disk_at_most() -> None:
    """Else a majority of votes might be missing (N5)."""
    long = [schedule for seed in range(1000) if (schedule := generate(seed)).chaos_ms == LONG_MS]
    assert 15 < len(long) < 45
    for schedule in long:
        assert load(dump(schedule)) == schedule
        wiped = {fault.node for fault in schedule.faults if isinstance(fault, Crash) and fault.wipe}
        assert len(wiped) <= 1
        assert not (wiped and (schedule.broken or schedule.new))


def test_a_client_waits_for_as_long_as_it_was_promised() -> None:
    """Not given up early (W11), nor answered late (W4)."""

    def told(result: Outcome | Refusal, waited: float, still_s: float = 1.0) -> None:
        patience = Patience(WorkSettings(deadline_s=12), Counter())
        patience.asked(1, 100.0)
        patience.answered(fx.Answer(1, "job", result), 100.0 + waited, still_s)

    in_vain, expired = Refusal(Reason.NO_LEADER, "none"), Outcome(Verdict.EXPIRED, "no outcome")
    told(in_vain, 10.0)
    told(expired, 12.0)
    told(expired, 15.0, still_s=0.0)
    for result, waited in ((in_vain, 9.9), (expired, 12.3)):
        with pytest.raises(Violation, match="request 1"):
            told(result, waited)


def test_a_schedule_that_holds_is_not_made_smaller() -> None:
    """Nothing would be left of it."""
    with pytest.raises(ValueError, match="nothing to shrink"):
        shrink(msgspec.structs.replace(generate(3), faults=(), asks=()))


@pytest.mark.parametrize("fault", [BadDisk(1, 1, 77, "full"), Cut(1, 1, ((1, 9),)), Reset(1, (0, 9))])
def test_a_schedule_about_nodes_that_it_has_not_is_refused(fault: Fault) -> None:
    with pytest.raises(ValueError, match="there is none"):
        load(dump(msgspec.structs.replace(generate(3, peers=3), faults=(fault,))))


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("bogus", 1, "unknown field"),
        ("broken", [9], "node 9"),
        ("chaos_ms", -1, "below 0"),
        ("asks", [{"at_ms": 1, "gateway": 101, "run_ms": -5}], "run_ms"),
        ("knobs", {"drift_ppm": [1]}, "for 1 nodes of 4"),
        ("knobs", {"delay_us": [500, 100]}, "500 to 100"),
    ],
)
def test_a_schedule_that_can_not_be_is_refused_before_it_runs(field: str, value: object, why: str) -> None:
    """Or its own mistake would be told as one of the cores."""
    told = {"seed": 1, "peers": 3, field: value}
    with pytest.raises(ValueError, match=why):
        load(msgspec.json.encode(told))


def test_a_schedule_with_a_fault_that_nobody_knows_is_refused() -> None:
    schedule = msgspec.structs.replace(generate(3), faults=(BadDisk(1, 1, 1, "full"),))
    with pytest.raises(ValueError, match="Invalid enum value 'tired'"):
        load(dump(schedule).replace(b'"full"', b'"tired"'))


def test_delta_debugging_finds_the_two_that_matter() -> None:
    tried: list[tuple[int, ...]] = []

    def fails(items: tuple[int, ...]) -> bool:
        tried.append(items)
        return {3, 17} <= set(items)

    assert sorted(ddmin(tuple(range(20)), fails)) == [3, 17]
    assert len(tried) < 120


def test_a_failing_schedule_is_shrunk_to_what_it_needs() -> None:
    """Here what fails is any schedule in which a disk is lost and a client asks twice."""

    def fails(schedule: Schedule) -> bool:
        lost = any(isinstance(fault, Crash) and fault.wipe for fault in schedule.faults)
        return lost and len(schedule.asks) >= 2

    whole = next(schedule for seed in range(400) if fails(schedule := generate(seed)))
    small = shrink(whole, fails)
    assert [type(fault) for fault in small.faults] == [Crash]
    assert len(small.asks) == 2
    assert (small.knobs.loss, small.knobs.drift_ppm) == (0.0, ())
    assert small.seed == whole.seed


@pytest.mark.parametrize("seed", range(10))
def test_gossip_alone_keeps_its_promises_while_members_come_and_go(seed: int) -> None:
    """I12, G2, G3: `python -m tests.simulation gossip` for more."""
    assert gossip_sweep.run_seed(seed) == ""


def test_a_mutation_that_no_longer_fits_the_cores_has_found_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    fitting = CANARIES["boots ignored"]
    unfit = attrs.evolve(fitting, patches=((Allegiance, "heartbeat", lambda: ()),))
    monkeypatch.setitem(CANARIES, "unfit", unfit)
    found = hunt("unfit", 1)
    assert found.seeds == 0
    assert "TypeError" in found.violation


def test_the_page_of_mutations_has_all_of_them_each_found() -> None:
    """Who adds one runs `canaries --table docs/benchmarks/canaries.md`."""
    lines = (ROOT / "docs" / "benchmarks" / "canaries.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    found = {name: seeds for name, _, seeds, *_ in rows if seeds.isdigit()}
    assert set(found) == set(CANARIES)


def test_over_a_long_time_nobody_is_killed_twice_in_a_row() -> None:
    """It would not be back for everybody yet, and who takes it for FAILED still can't find out anew."""
    stream, victims = Chance(1).stream("victim"), [0]
    for _ in range(200):
        victims.append(next_victim(stream, [1, 2, 3], victims[-1]))
    assert set(victims[1:]) == {1, 2, 3}
    assert all(one != other for one, other in pairwise(victims))


def test_the_watch_over_gossip_sees_what_goes_back_and_who_rises_from_the_dead() -> None:
    """I12 in whole clusters."""

    def shown(heartbeat: int, status: Status) -> MembershipSnapshot:
        view = MemberView(NodeId(2), status, Boot(7), heartbeat, 0.0, None)
        return MembershipSnapshot(members=(view,), stretch=1.0, counters={})

    watch = GossipWatch()
    watch.look(1, shown(5, Status.ALIVE), 0)
    watch.look(1, shown(6, Status.FAILED), SECOND)
    with pytest.raises(Violation, match="shows 2 at"):
        watch.look(1, shown(5, Status.FAILED), SECOND)
    watch.died(2, 2 * SECOND)
    watch.look(1, shown(6, Status.SUSPECT), 3 * SECOND)
    with pytest.raises(Violation, match="the dead 2 as alive"):
        watch.look(1, shown(6, Status.ALIVE), 2 * SECOND + BURIED_NS + 1)
    watch.born(1)
    watch.look(1, shown(3, Status.UNKNOWN), 9 * SECOND)


@pytest.mark.parametrize("seed", range(8))
def test_a_gateway_that_was_away_as_long_as_its_jobs_are_kept_gets_each_answer(seed: int) -> None:
    """W5, W9: it sends them again to workers that are stopping them."""
    assert absence_sweep.run_seed(seed) == ""


SHOWN_EARLY = (
    "no fsync",
    "no fsync of the directory",
    "fsync after the rename",
    "left-over not removed",
    "boot not raised",
    "promise not durable",
    "office shown without lease",
    "acts without lease",
    "vote falls back",
    "attempt not checked",
    "expired with its leader",
    "first loss is the last",
    "nothing withdrawn",
)


@pytest.mark.parametrize("name", SHOWN_EARLY)
def test_a_mutation_is_noticed(name: str) -> None:
    """All of them: `python -m tests.simulation canaries`; here those that show early."""
    assert hunt(name, 60).seeds, CANARIES[name].breaks


def test_machine_code_is_believed_only_of_these_sources_and_after_it_told_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    said = "1 ab\n"
    monkeypatch.setattr(compiled, "_compile", lambda _directory: None)
    monkeypatch.setattr(compiled, "_traces", lambda directory: said if directory == copy else "1 ab\n")
    assert not compiled.is_current(copy)
    compiled.make(copy)
    assert compiled.is_current(copy)
    monkeypatch.setattr(compiled, "code", lambda: "of other sources")
    assert not compiled.is_current(copy)
    said = "1 cd\n"
    with pytest.raises(compiled.OtherHistories, match="DIFFERENT"):
        compiled.make(copy)
    assert not compiled.is_current(copy)


def test_a_directory_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(FileExistsError):
        compiled.make(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "all of it"


def test_without_a_compiler_a_sweep_is_interpreted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert not cli.compile_for(cli.WORTH, tmp_path / "copy")
    assert "no C compiler" in capsys.readouterr().out
    assert not (tmp_path / "copy").exists()


def test_few_seeds_do_not_wait_for_a_compilation(tmp_path: Path) -> None:
    assert not cli.compile_for(cli.WORTH - 1, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
