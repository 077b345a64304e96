"""The hosts of an inventory, for tests: what runs on them, what their gateway answers, and playbooks."""

from __future__ import annotations

import http.client
import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).resolve().parents[2]
INVENTORY = os.environ.get("HOSTS_INVENTORY", str(ROOT / "inventory" / "vagrant"))
PLAYBOOK_S = 600.0
ANSWER_S = 90.0
CLIENTS = 3
PAUSE_S = 0.5
"""Between two requests of a client: the machine is shared by all hosts, and by the tools that change them."""

HELLO = 'package a.b; public class HelloWorld {{ public String run() {{ return "Hello world! {}"; }} }}'
SLOW = (
    'public class Slow {{ public String run() throws Exception {{ Thread.sleep({}); return "slept {}"; }} }}'
)


@attrs.frozen
class Answer:
    """What a gateway answered; header names in lower case."""

    status: int
    text: str
    headers: dict[str, str]


@attrs.define
class Load:
    """Distinct programs, one after another, and what was answered wrongly."""

    sent: int = 0
    wrong: list[str] = attrs.Factory(list)


def eventually(condition: Callable[[], Any], what: str, seconds: float = 120.0) -> Any:
    """What `condition` gives once it is true; fails the test if that takes longer than `seconds`."""
    deadline = time.monotonic() + seconds  # noqa: TID251  (waits on real machines)
    while True:
        if value := condition():
            return value
        left = deadline - time.monotonic()  # noqa: TID251
        assert left > 0, f"not within {seconds:g} s: {what}"
        time.sleep(PAUSE_S)


def ansible(
    tool: str, *arguments: str, inventories: tuple[str, ...] = (INVENTORY,), fails: bool = False
) -> str:
    """Run one of Ansible's commands; must work, or with `fails` must not. Gives back what it printed."""
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name(tool)),
            *(word for path in inventories for word in ("-i", path)),
            *arguments,
        ],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
        capture_output=True,
        text=True,
        timeout=PLAYBOOK_S,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    said = f"{tool} {' '.join(arguments)}\n{done.stdout[-6000:]}{done.stderr[-2000:]}"
    assert (done.returncode != 0) == fails, said
    return done.stdout


class Fleet:
    """The cluster on its hosts. Every host is named as in the inventory."""

    @cached_property
    def inventory(self) -> dict[str, Any]:
        """As Ansible sees it."""
        decoded: dict[str, Any] = json.loads(ansible("ansible-inventory", "--list"))
        return decoded

    def group(self, name: str) -> list[str]:
        """Its hosts."""
        return list(self.inventory.get(name, {}).get("hosts", []))

    @property
    def peers(self) -> list[str]:
        """In the order of the inventory."""
        return self.group("peers")

    @property
    def all(self) -> list[str]:
        """Every host of the cluster."""
        return [host for group in ("gateways", "peers", "workers") for host in self.group(group)]

    def variable(self, host: str, name: str, default: str = "") -> str:
        """A host's variable; Ansible marks those that an inventory plugin made."""
        value = self.inventory["_meta"]["hostvars"][host].get(name, default)
        return str(value["__ansible_unsafe"] if isinstance(value, dict) else value)

    def address(self, host: str) -> str:
        """Where it is reached."""
        return self.variable(host, "ansible_host", host)

    def on(self, host: str) -> Any:
        """Its testinfra host, as root, by ssh."""
        testinfra: Any = importlib.import_module("testinfra")  # of the dependency group `hosts`, and untyped
        return testinfra.get_host(
            f"ssh://{self.variable(host, 'ansible_user', 'root')}@{self.address(host)}",
            ssh_identity_file=self.variable(host, "ansible_ssh_private_key_file") or None,
            ssh_extra_args=self.variable(host, "ansible_ssh_common_args") or None,
            sudo=True,
        )

    def run(self, host: str, command: str) -> str:
        """Run a shell command as root; must work."""
        done = self.on(host).run(command)
        assert done.rc == 0, f"{host}: {command}\n{done.stdout}{done.stderr}"
        return str(done.stdout)

    def playbook(self, name: str, *arguments: str, extra: str = "", fails: bool = False) -> str:
        """Run a playbook; must work, or with `fails` must not. `extra` is the text of a further inventory."""
        if not extra:
            return ansible("ansible-playbook", f"playbooks/{name}.yml", *arguments, fails=fails)
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "extra.yml"
            path.write_text(extra)
            return ansible(
                "ansible-playbook",
                f"playbooks/{name}.yml",
                *arguments,
                inventories=(INVENTORY, str(path)),
                fails=fails,
            )

    def versions(self) -> set[str]:
        """The software that the nodes say they run."""
        return {str(row["software"]) for row in self.info()["nodes"]}

    def lives(self, *but: str) -> dict[str, str]:
        """Each host's life of the service, by the process that systemd started; not of `but`."""
        return {
            host: self.run(host, "systemctl show --value -p MainPID,NRestarts javacluster")
            for host in self.all
            if host not in but
        }

    # --- HTTP ---------------------------------------------------------------------------------------

    def request(
        self, host: str, port: int, method: str, path: str, body: bytes | None = None, token: str = ""
    ) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection(self.address(host), port, timeout=ANSWER_S)
        try:
            headers = {"Content-Type": "text/x-java-source"} if body is not None else {}
            if token:
                headers["Authorization"] = f"Bearer {token}"
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
            return Answer(response.status, text, {k.lower(): v for k, v in response.getheaders()})
        finally:
            connection.close()

    def submit(self, source: str, token: str = "") -> Answer:
        """A program through the first gateway."""
        gateway = self.group("gateways")[0]
        return self.request(gateway, 8888, "POST", "/compileandrun", source.encode(), token)

    def info(self) -> dict[str, Any]:
        """`/cluster-info` of the first gateway."""
        answer = self.request(self.group("gateways")[0], 8888, "GET", "/cluster-info")
        decoded: dict[str, Any] = json.loads(answer.text)
        return decoded

    def status(self, host: str) -> str:
        """What the gateway says of a host's node: ALIVE, FAILED, GONE."""
        address = self.address(host)
        return next((str(row["status"]) for row in self.info()["nodes"] if row["host"] == address), "GONE")

    def role(self, host: str) -> str:
        """What the gateway says that a host's node is; empty if it knows none there."""
        address = self.address(host)
        return next((str(row["role"]) for row in self.info()["nodes"] if row["host"] == address), "")

    def leader(self, *but: str) -> str:
        """The host that leads, once there is one, and it is none of `but`."""

        def led() -> str | None:
            number = self.info()["leader"]
            rows = {row["id"]: row["host"] for row in self.info()["nodes"]}
            found = next((host for host in self.peers if self.address(host) == rows.get(number)), None)
            return found if found not in but else None

        return str(eventually(led, f"a leader other than {but or 'none'}"))

    def followers(self) -> list[str]:
        """The peers that do not lead."""
        leader = self.leader()
        return [host for host in self.peers if host != leader]

    def healthy(self) -> None:
        """Wait until a leader is known, every node is alive and ready to work, and the gateway serves."""

        def whole() -> bool:
            info = self.info()
            alive = [row for row in info["nodes"] if row["status"] == "ALIVE"]
            warm = all(row["slots"] for row in alive if row["role"] != "gateway")
            return bool(info["ready"]) and info["leader"] is not None and len(alive) == len(self.all) and warm

        eventually(whole, "every node alive under one leader")

    @contextmanager
    def load(self) -> Iterator[Load]:
        """Distinct programs in the background; at its end every one must have been answered rightly."""
        load, stop = Load(), threading.Event()

        def client() -> None:
            while not stop.is_set():
                load.sent += 1
                tag = f"load {threading.get_ident()} {time.monotonic_ns()}"
                try:
                    answer = self.submit(HELLO.format(tag))
                    if answer.status != 200 or answer.text != f"Hello world! {tag}":
                        load.wrong.append(f"{time.strftime('%X')} {answer.status} {answer.text[:200]}")
                except (OSError, http.client.HTTPException) as error:
                    load.wrong.append(f"{time.strftime('%X')} {error!r}")
                stop.wait(PAUSE_S)

        threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield load
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        print(f"load: {load.sent} sent, {len(load.wrong)} failed")  # noqa: T201  (the summary's figure)
        assert not load.wrong, "\n".join(load.wrong[:20])
        assert load.sent > 2 * CLIENTS
