"""Who is alive, and what they say of themselves: the gossip protocol of one node (G1-G6).

Composes the table (what was heard), the failure detector (what silence means), the facts (what is said) and
the round (who is told). A round's cost is bounded: a table that fits `PUSHED_MAX` goes to each peer
whole; of a larger one each peer gets the next stretch.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from cluster.config import GossipSettings
from cluster.core.effects import FetchFacts, Level, Log, MemberFailed, MemberRecovered, Send, Steps
from cluster.core.facts import FactsStore, Known
from cluster.core.failure_detector import FailureDetector
from cluster.core.gossip_round import PeerCycle, RowWindow, datagrams
from cluster.core.gossip_table import BOOT_MAX, HEARTBEAT_MAX, STILL_ALIVE, Rise, Row, Table
from cluster.core.membership_view import MembershipSnapshot, MemberView
from cluster.identity import Boot, NodeId, Status
from cluster.wire.messages import FactsDelta, FactsWanted, Gossip, GossipEntry, NodeFacts

ROUND_DATAGRAMS_MAX = 18
"""Datagrams of one round and the replies until the next, however many nodes (G6). Replies are half full and
less: together they take less than 20 kB/s with headers at T = 1 s."""

PUSHED_MAX = 12
"""So many of these to the round's peers together; what is left is for replies."""

ASKS_MAX = 16
"""Silent nodes asked directly at once; when more are silent, they take turns."""

ASK_ROUNDS = 0.75
"""The same node is not asked again before; less than a round, so that each round asks."""

ANSWER_ROUNDS = 0.25
"""A sender gets at most one answer of a kind in this part of a round."""

EARLY_ROUNDS = 0.5
"""News of our own may bring the next round forward, to no less than this after the last."""

PUSHED_ROUNDS = 3
"""Where the peers of so many rounds are everybody, they are told soon enough: nobody replies there (G1)."""

FETCH_ROUNDS = 4
"""Rounds between two requests for facts over a channel (G5)."""

URGENT = frozenset({"state", "leader", "epoch", "slots", "draining"})
"""Facts that others act on: a change does not wait for the next round."""

_by_node = attrgetter("node")


class Membership:
    """One node's gossip: feed it messages and time, perform what it returns."""

    def __init__(
        self,
        settings: GossipSettings,
        facts: NodeFacts,
        configured: frozenset[NodeId],
        rng: random.Random,
        now: float,
    ) -> None:
        """Start a life of the node that `facts` describes (version 1)."""
        self._me = NodeId(facts.node)
        self._boot = Boot(facts.boot)
        self._interval = settings.interval_s
        self._fanout = settings.fanout
        self._share = max(1, PUSHED_MAX // self._fanout)
        self._rng = rng
        self._heartbeat = 0
        self._facts = FactsStore(facts)
        self._table = Table(self._me, self._boot, configured, settings.table_max, now)
        self._detector = FailureDetector(settings, now)
        self._counters = self._table.drops
        self._cycle = PeerCycle(rng)
        self._window, self._aside = RowWindow(), RowWindow()
        self._replies_left = ROUND_DATAGRAMS_MAX
        self._met_somebody = False
        self._round_at = now
        self._last_round_at = -math.inf
        self._judge_at = math.inf
        self._fetch_at = now

    # --- what comes in ------------------------------------------------------------------------------

    def receive(
        self, sender: NodeId, boot: Boot, message: Gossip | FactsWanted | FactsDelta, now: float
    ) -> Steps:
        """Take a gossip datagram, straight from `sender` in this life of it."""
        if sender == self._me:
            self._counters["from_myself"] += 1
            return ()
        if isinstance(message, Gossip):
            return self._merge(sender, boot, message, now)
        steps = self.heard(sender, boot, now)
        if isinstance(message, FactsDelta):
            return steps + self.merge_facts(message.facts, now)
        row = self._table.rows.get(sender)
        if row is not None and now - row.served_at >= ANSWER_ROUNDS * self._interval:
            delta = self._facts.delta(message)
            if delta is not None:
                row.served_at = now
                return (*steps, Send(sender, delta))
        return steps

    def heard(self, node: NodeId, boot: Boot, now: float) -> Steps:
        """Any other authentic datagram or frame straight from a node: a direct sign of life (G2)."""
        if node == self._me:
            return ()
        rise = self._table.touch(node, boot, now)
        if rise is None:
            return ()
        self._met_somebody = True
        excused = self._detector.heard(now)
        if excused < now:
            self._table.excuse(excused, now)
        return () if rise is STILL_ALIVE else self._report(rise, node, now)

    def update_facts(self, now: float, **changes: object) -> Steps:
        """Say something new of ourselves (G5); spreads with the next round, urgent news in an early one."""
        before = self._facts.own
        if self._facts.update(changes) and any(
            getattr(before, name) != getattr(self._facts.own, name) for name in URGENT.intersection(changes)
        ):
            early = max(now, self._last_round_at + EARLY_ROUNDS * self._interval)
            self._round_at = min(self._round_at, early)
        return ()

    def merge_facts(self, facts: Iterable[NodeFacts], now: float) -> Steps:
        """Keep what is newer, from a datagram or a channel's reply (G5)."""
        del now
        for fact in facts:
            known = NodeId(fact.node) in self._table.rows and 0 < fact.boot <= BOOT_MAX
            if not (known and self._facts.accept(fact)):
                self._counters["facts_ignored"] += 1
        return ()

    def facts_newer_than(self, known: Iterable[Known]) -> tuple[NodeFacts, ...]:
        """Answer a channel's `FactsRequest`: nodes that it does not list are unknown there."""
        return self._facts.newer_than(known)

    def lagged(self, seconds: float, now: float) -> None:
        """Our own loop stood still: doubt ourselves, and hold that time against nobody (G4)."""
        self._table.excuse(self._detector.lagged(seconds, now), now)

    # --- time ---------------------------------------------------------------------------------------

    def tick(self, now: float) -> Steps:
        """Do what is due: a round, a verdict."""
        self.lagged(now - self.next_deadline(), now)
        steps: list[Any] = []
        if now >= self._round_at:
            steps.extend(self._round(now))
        if now >= self._judge_at:
            steps.extend(self._judge(now))
        return tuple(steps)

    def next_deadline(self) -> float:
        """When `tick` has something to do."""
        return min(self._round_at, self._judge_at)

    def _round(self, now: float) -> Iterator[Any]:
        self._heartbeat += 1
        self._counters["rounds"] += 1
        self._last_round_at = now
        due = self._round_at + self._interval
        self._round_at = due if due > now else now + self._interval
        yield from self._judge(now)
        self._detector.end_round(now)
        ask = not self._met_somebody
        live = [row.node for row in self._table if row.status is not Status.FAILED]
        peers = self._cycle.draw(self._fanout, live)
        whole = self._datagrams(ask=ask)
        pushed = [Send(peer, part) for peer in peers for part in self._window.share(whole, self._share)]
        self._replies_left = ROUND_DATAGRAMS_MAX - len(pushed)
        yield from pushed
        given_up = [row.node for row in self._table if row.status is Status.FAILED]
        if given_up and self._rng.random() < len(given_up) / (len(live) + 1):
            peer = self._rng.choice(given_up)
            yield from (Send(peer, part) for part in self._aside.share(self._datagrams(ask=True), 1))

    def _judge(self, now: float) -> Iterator[Any]:
        """Verdicts by the local clock (G3), unless we doubt ourselves (G4)."""
        accusing = self._detector.may_accuse()
        if accusing:
            for row in tuple(self._table):
                yield from self._sentence(row, now)
        yield from self._ask_the_silent(now)
        self._judge_at = math.inf
        if accusing:
            changes = (self._detector.next_change(row.status, row.since) for row in self._table)
            self._judge_at = min(changes, default=math.inf)
        if self._judge_at >= self._round_at:
            self._judge_at = math.inf  # the round judges anyway

    def _ask_the_silent(self, now: float) -> Iterator[Any]:
        """Ask those who are about to be given up, the longest unasked first (G3)."""
        silent = [
            row
            for row in self._table
            if self._detector.to_be_asked(row.status, now - row.since)
            and now - row.asked_at >= ASK_ROUNDS * self._interval
        ]
        for row in sorted(silent, key=lambda row: row.asked_at)[:ASKS_MAX]:
            row.asked_at = now
            accusation = self._row_entry(row, suspected=True)
            asked = datagrams(self._own_entry(), (accusation,), self._interval, ask=True)
            yield from (Send(row.node, part) for part in asked)

    def _sentence(self, row: Row, now: float) -> Iterator[Any]:
        verdict = self._detector.judge(row.status, row.since, now)
        if verdict is not row.status:
            row.status = verdict
            if verdict is Status.FAILED:
                row.signs = 0
                yield Log(Level.SUMMARY, f"{self._me}: no heartbeat from server {row.node} - SERVER FAILED")
                yield MemberFailed(row.node)
            else:
                yield Log(Level.VERBOSE, f"{self._me}: server {row.node} is suspected, asking it")
        elif self._detector.to_be_removed(now - row.since) and row.node not in self._table.configured:
            self._table.remove(row)
            self._facts.forget(row.node)

    # --- merging ------------------------------------------------------------------------------------

    def _merge(self, sender: NodeId, boot: Boot, message: Gossip, now: float) -> Steps:
        entries = message.entries
        if not entries or entries[0].node != sender or entries[0].boot != boot:
            self._counters["not_own_entry_first"] += 1
            return self.heard(sender, boot, now)
        table, facts, detector = self._table, self._facts, self._detector
        table.met(boot)
        rows = " ".join([f"{e.node}={e.heartbeat}" for e in entries])
        text = f"{self._me}: received gossip from {sender}: {rows} at node time {_ms(now)}"
        steps: list[Any] = [Log(Level.VERBOSE, text)]
        accused, lacking = False, []
        for position, entry in enumerate(entries):
            node = NodeId(entry.node)
            if node == self._me:
                accused = accused or self._rise_above(entry)
                continue
            if not table.knows(node, entry.boot, entry.heartbeat):
                rise = table.merge(node, (entry.boot, entry.heartbeat), now, detector)
                if rise is not None:
                    steps += self._report(rise, sender, now)
            if position == 0:
                steps += self.heard(sender, boot, now)
            if facts.lacks(node, entry.boot, entry.version) and self._wants_facts(entry, now):
                lacking.append(node)
        if accused or message.ask:
            steps += self._answer(sender, accused, now)
        elif not message.reply and len(table.rows) > PUSHED_ROUNDS * self._fanout:
            steps += self._reply(sender, boot, entries)
        if lacking:
            steps += self._ask_for_facts(sender, lacking, now)
        return tuple(steps)

    def _rise_above(self, entry: GossipEntry) -> bool:
        """Somebody holds our silence against us, or knows more of us than we do: rise above that (G4)."""
        if entry.boot > self._boot:
            self._counters["own_boot_surpassed"] += 1
        if entry.boot == self._boot and self._heartbeat < entry.heartbeat < HEARTBEAT_MAX:
            self._heartbeat = entry.heartbeat
        return entry.suspected and entry.boot <= self._boot

    def _answer(self, sender: NodeId, accused: bool, now: float) -> Iterator[Any]:
        row = self._table.rows.get(sender)
        if row is None:
            return
        if now - row.answered_at < ANSWER_ROUNDS * self._interval:
            self._counters["answers_withheld"] += 1
            return
        row.answered_at = now
        if accused:
            self._heartbeat += 1
            self._counters["refutations"] += 1
            yield from (Send(sender, part) for part in datagrams(self._own_entry(), (), self._interval))
        else:
            yield from (Send(sender, part) for part in self._aside.share(self._datagrams(), self._share))

    def _reply(self, sender: NodeId, boot: Boot, entries: Iterable[GossipEntry]) -> Iterator[Any]:
        """Tell the sender what it is behind of, so that news travels both ways in each round (G1)."""
        row = self._table.rows.get(sender)
        if row is None or row.boot != boot or self._replies_left <= 0:
            return
        rows = [self._row_entry(row) for row in self._table.newer_than(entries)]
        if rows:
            self._replies_left -= 1
            yield Send(sender, datagrams(self._own_entry(), rows, self._interval, reply=True)[0])

    def _report(self, rise: Rise, source: NodeId, now: float) -> Steps:
        row = rise.row
        steps: list[Any] = []
        if rise.spread:
            steps.append(
                Log(
                    Level.VERBOSE,
                    f"{self._me}: updated {row.node}'s heartbeat sequence to {row.heartbeat} "
                    f"based on message from {source} at node time {_ms(now)}",
                )
            )
        if rise.was in (None, Status.FAILED) and row.status is not Status.FAILED:
            self._cycle.insert(row.node)
        if rise.was is not Status.ALIVE and row.status is Status.ALIVE:
            level = Level.VERBOSE if rise.was is Status.SUSPECT else Level.SUMMARY
            again = " again" if rise.lived else ""
            steps.append(Log(level, f"{self._me}: server {row.node} is ALIVE{again}"))
            steps.append(MemberRecovered(row.node))
        return tuple(steps)

    # --- facts --------------------------------------------------------------------------------------

    def _wants_facts(self, entry: GossipEntry, now: float) -> bool:
        """Whether to ask for facts that are lacking: of this life, and not again within a round."""
        row = self._table.rows.get(NodeId(entry.node))
        return row is not None and entry.boot <= row.boot and now - row.wanted_at >= self._interval

    def _ask_for_facts(self, peer: NodeId, nodes: list[NodeId], now: float) -> Iterator[Any]:
        wanted, large = self._facts.wanted(nodes)
        for node, _, _ in wanted.known:
            self._table.rows[NodeId(node)].wanted_at = now
        yield Send(peer, wanted)
        if large and now >= self._fetch_at:
            self._fetch_at = now + FETCH_ROUNDS * self._interval
            self._counters["facts_fetched"] += 1
            yield FetchFacts(peer, self._facts.known((self._me, *self._table.rows)))

    # --- what goes out ------------------------------------------------------------------------------

    def _datagrams(self, *, ask: bool = False) -> list[Gossip]:
        return datagrams(self._own_entry(), self._entries(), self._interval, ask=ask)

    def _own_entry(self) -> GossipEntry:
        return GossipEntry(self._me, self._boot, self._heartbeat, self._facts.own.version)

    def _entries(self) -> list[GossipEntry]:
        """Everybody who was heard of and is not given up (G3)."""
        rows = [row for row in self._table if row.boot and row.status is not Status.FAILED]
        return [self._row_entry(row) for row in sorted(rows, key=_by_node)]

    def _row_entry(self, row: Row, *, suspected: bool = False) -> GossipEntry:
        version = self._facts.version(row.node, row.boot)
        suspected = suspected or row.status is Status.SUSPECT
        return GossipEntry(row.node, row.boot, row.heartbeat, version, suspected)

    # --- what others may look at --------------------------------------------------------------------

    def status(self, node: NodeId) -> Status:
        """What this node thinks of another's health; of itself it thinks well."""
        if node == self._me:
            return Status.ALIVE
        row = self._table.rows.get(node)
        return Status.UNKNOWN if row is None else row.status

    def strangers(self) -> list[NodeId]:
        """Who is in no member list and made itself known, by node."""
        return sorted(self._table.rows.keys() - self._table.configured)

    def facts(self, node: NodeId) -> NodeFacts | None:
        """The newest facts held about a node, itself included."""
        return self._facts.get(node)

    def snapshot(self, now: float) -> MembershipSnapshot:
        """The whole table as it is now."""
        age = max(0.0, now - self._last_round_at) if self._heartbeat else 0.0
        views = [MemberView(self._me, Status.ALIVE, self._boot, self._heartbeat, age, self._facts.own)]
        views.extend(
            MemberView(
                row.node, row.status, Boot(row.boot), row.heartbeat, now - row.since, self.facts(row.node)
            )
            for row in self._table
        )
        return MembershipSnapshot(
            members=tuple(sorted(views, key=lambda view: view.node)),
            stretch=self._detector.stretch,
            counters=MappingProxyType(dict(self._counters)),
        )

    def validate(self) -> None:
        """Assert I12 and what must hold between the parts."""
        self._table.validate()
        self._detector.validate()
        self._facts.validate(self._table.rows)
        assert self._me not in self._cycle, "a node gossips with others"
        assert math.isfinite(self.next_deadline()), "gossip never stops (S38)"


def _ms(now: float) -> int:
    return int(now * 1000)
