"""`node.yml`: decoded once, every mistake named by its place (architecture A5; L4, N5, G3, G7)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from cluster import tokens
from cluster.config import PROFILES, NodeConfig, load, parse
from cluster.errors import ConfigError
from cluster.identity import Role


def _document(**changes: Any) -> dict[str, Any]:
    return {
        "cluster": "test",
        "node": 1,
        "members": [
            {"id": 0, "role": "gateway", "host": "h", "udp": 8000, "http": 8888},
            {"id": 2, "role": "peer", "host": "h", "udp": 8020, "tcp": 8022},
            {"id": 1, "role": "peer", "host": "h", "udp": 8010, "tcp": 8012},
        ],
        "key_file": "key",
        "tls": {"authority": "a.pem", "certificate": "c.pem", "key": "c.key"},
        **changes,
    }


def _parse(**changes: Any) -> NodeConfig:
    return parse(yaml.safe_dump(_document(**changes)))


def _problems(**changes: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        _parse(**changes)
    return caught.value.problems


def test_what_is_left_out_has_the_defaults_of_the_lan() -> None:
    config = _parse()
    assert (config.timing.heartbeat_s, config.timing.lease_s, config.timing.guard_s) == (0.1, 0.4, 0.425)
    assert (config.gossip.interval_s, config.limits.wall_s) == (0.25, 10.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cluster: [", "not YAML: "),
        ("cluster: 2001-99-99", "not YAML: a value in it is none of its kind (month must be in 1..12)"),
        ('cluster: !!int ""', "not YAML: a value"),
        ("cluster: !!bool maybe", "not YAML: a value"),
        ("cluster: !!timestamp soon", "not YAML: a value"),
        ("cluster: 0x_", "not YAML: a value"),
        ("cluster: " + "9" * 5000, "not YAML: a value"),
        ('"\\uD800": 1', "not YAML: a value"),
        ('cluster: "\\uD800"', "not YAML: a value"),
        ("[" * 3000, "not YAML that can be read: it is nested too deeply"),
        ("- " * 3000, "not YAML that can be read: it is nested too deeply"),
    ],
)
def test_a_file_that_is_no_yaml_is_a_problem_of_one_line_whatever_pyyaml_raises(
    text: str, words: str
) -> None:
    for read in (parse, tokens.parse):
        with pytest.raises(ConfigError) as caught:
            read(text)
        (problem,) = caught.value.problems
        assert problem.startswith(words)
        assert "\n" not in problem


def test_voters_are_the_peers_in_order() -> None:
    assert _parse().voters == (1, 2)
    assert _parse().me.role is Role.PEER


@pytest.mark.parametrize(
    ("changes", "place", "word"),
    [
        ({"gossip": {"intervall_s": 1}}, "$.gossip", "intervall_s"),
        ({"gossip": {"interval_s": -1}}, "$.gossip.interval_s", "> 0"),
        ({"gossip": {"interval_s": "fast"}}, "$.gossip.interval_s", "float"),
        ({"gossip": {"suspect_rounds": 10, "fail_rounds": 10}}, "$.gossip.suspect_rounds", "less"),
        ({"gossip": {"cleanup_rounds": 12}}, "$.gossip.cleanup_rounds", "2 x fail_rounds"),
        ({"timing": {"guard_s": 0.41}}, "$.timing.guard_s", "L4"),
        ({"timing": {"guard_s": 0.6}}, "$.timing.guard_s", "follower_timeout_s"),
        ({"timing": {"lease_s": 0.15}}, "$.timing.lease_s", "two heartbeats"),
        ({"timing": {"rejoin_s": 2.0}}, "$.timing.rejoin_s", "N5"),
        ({"timing": {"resend_max_s": 0.05}}, "$.timing.resend_max_s", "E3"),
        ({"timing": {"cool_down_max_s": 0.5}}, "$.timing.cool_down_max_s", "E4"),
        ({"node": 7}, "$.node", "7"),
        ({"cluster": "no spaces"}, "$.cluster", "regex"),
        ({"profile": "wan"}, "$.profile", "lan, slow"),
        ({"sandbox": {"mode": "chroot"}}, "$.sandbox.mode", "bubblewrap"),
        ({"sandbox": {"require": ["luck"]}}, "$.sandbox.require", "luck"),
        ({"members": []}, "$.members", "length"),
    ],
)
def test_a_mistake_is_named_by_its_place(changes: dict[str, Any], place: str, word: str) -> None:
    (problem,) = _problems(**changes)
    assert problem.startswith(place)
    assert word in problem


def test_all_problems_are_told_at_once() -> None:
    assert len(_problems(node=7, sandbox={"mode": "chroot"}, timing={"guard_s": 0.1})) == 3


def test_a_peer_needs_a_port_for_work_and_every_port_its_own() -> None:
    members = _document()["members"]
    problems = _problems(
        members=[*members, {"id": 3, "role": "peer", "host": "h", "udp": 8010}, members[0] | {"udp": 9000}]
    )
    assert any("peer 3 needs a tcp port" in problem for problem in problems)
    assert any("udp port 8010 of h is used twice" in problem for problem in problems)
    assert any("id 0 appears twice" in problem for problem in problems)


def test_the_shipped_profiles_keep_their_own_rules() -> None:
    for profile in PROFILES:
        _parse(profile=profile)
    slow, lan = _parse(profile="slow"), _parse()
    assert slow.timing.lease_s == 4 * lan.timing.lease_s
    assert slow.timing.guard_s == 4 * lan.timing.guard_s
    assert slow.gossip.interval_s == 4 * lan.gossip.interval_s


def test_own_intervals_win_over_the_profile() -> None:
    config = _parse(profile="slow", gossip={"interval_s": 0.5})
    assert (config.gossip.interval_s, config.timing.heartbeat_s) == (0.5, 0.4)


def test_different_intervals_have_different_digests() -> None:
    assert _parse().timing_digest() == _parse(node=2).timing_digest()
    assert _parse().timing_digest() != _parse(gossip={"interval_s": 0.5}).timing_digest()


@pytest.mark.parametrize("text", ["", "[]", "a: [", "just text", "profile: []"])
def test_what_is_no_mapping_of_settings_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


def test_relative_paths_count_from_the_files_own_directory(tmp_path: Path) -> None:
    file = tmp_path / "node.yml"
    file.write_text(yaml.safe_dump(_document(key_file="/etc/key", log={"directory": "l"})))
    config = load(file)
    assert config.key_file == "/etc/key"
    assert config.tls.key == str(tmp_path / "c.key")
    assert config.state_directory == str(tmp_path / "state")
    assert config.log.directory == str(tmp_path / "l")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yml"):
        load(tmp_path / "none.yml")


def test_every_setting_is_documented_with_its_default() -> None:
    text = (Path(__file__).parents[2] / "docs/configuration.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \| (\S+)", text, re.MULTILINE))
    for key, default in _settings(NodeConfig):
        if isinstance(default, bool):
            assert rows.pop(key) == str(default).lower(), key
        elif isinstance(default, int | float):
            assert float(rows.pop(key)) == default, key
        else:
            assert rows.pop(key), key
    assert not [key for key in rows if "." in key]


def _settings(section: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key below a section with its default; the files of `tls` share one row."""
    for field in msgspec.structs.fields(section):
        nested = isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
        if nested and field.name != "tls":
            yield from _settings(field.type, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", field.default


@pytest.mark.parametrize(
    ("settings", "place", "word"),
    [
        ({"interfaces": ["jobs"]}, "$.gateway.compat.interfaces[0]", "jobs"),
        ({"callback_allow": ["http://x"]}, "$.gateway.compat.callback_allow", "http://x"),
        ({"callback_allow": ["example.org"]}, "$.gateway.compat.callback_key_file", "signed"),
        ({"callback_tries": 0}, "$.gateway.compat.callback_tries", ">= 1"),
    ],
)
def test_the_drop_in_interfaces_are_checked(settings: dict[str, Any], place: str, word: str) -> None:
    (problem, *_others) = _problems(gateway={"compat": settings})
    assert problem.startswith(place)
    assert word in problem


def test_the_key_of_call_backs_is_taken_from_the_files_own_directory(tmp_path: Path) -> None:
    compat = {"callback_allow": ["*.example.org", "10.1.0.0/16"], "callback_key_file": "callback.key"}
    (tmp_path / "node.yml").write_text(yaml.safe_dump(_document(gateway={"compat": compat})))
    loaded = load(tmp_path / "node.yml").gateway.compat
    assert loaded.callback_key_file == str(tmp_path / "callback.key")


@pytest.mark.parametrize(
    "limits", [{"wall_s": -1}, {"cpu_s": 0}, {"memory_bytes": 0}, {"processes": 3}, {"wall_s": float("nan")}]
)
def test_a_limit_that_no_program_could_run_under_is_refused(limits: dict[str, float]) -> None:
    """A5: never unlimited, and no node that can't start a virtual machine and does not know why."""
    (name,) = limits
    assert _problems(limits=limits)[0].startswith(f"$.limits.{name}: must be at least")


@pytest.mark.parametrize(
    ("host", "gateway", "refused"),
    [
        ("127.0.0.1", {}, False),
        ("127.8.9.1", {}, False),
        ("::1", {}, False),
        ("localhost", {}, False),
        ("192.0.2.10", {}, True),
        ("0.0.0.0", {}, True),  # noqa: S104  (an address that is refused)
        ("gateway.example.net", {}, True),
        ("192.0.2.10", {"allow_anonymous": True}, False),
        ("192.0.2.10", {"tokens_file": "tokens.yml"}, False),
    ],
)
def test_h9_a_gateway_that_others_can_reach_asks_for_tokens(
    host: str, gateway: dict[str, object], refused: bool
) -> None:
    if refused:
        (problem,) = _problems(node=0, listen=host, gateway=gateway)
        assert problem.startswith("$.gateway.tokens_file")
    else:
        _parse(node=0, listen=host, gateway=gateway)
    _parse(node=1, listen=host, gateway=gateway)
