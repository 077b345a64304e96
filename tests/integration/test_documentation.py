"""The documentation does what it says: commands are run, the site builds, the metrics are those of nodes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

import pytest

from cluster.telemetry.metrics import Metrics
from cluster.telemetry.readings import access_readings
from tests.documentation.blocks import Block, blocks_of, missing
from tests.documentation.reference import DOCS, PAGES, metrics_page
from tests.integration.live import free_base_port, live_cluster

pytestmark = pytest.mark.integration

ROOT = DOCS.parent
RUN_S = 900
"""A page with a dozen commands takes a minute; a machine that other work keeps busy, many times that."""
MARK = "=== end of block {} ==="

PRELUDE = r"""
set -euo pipefail
export PATH={bin}:$PATH JAVACLUSTER_DIRECTORY={work}/cluster
cd {work}
ln -s {root}/examples examples
# On ports of this test's own; everything else is as it is written.
javacluster() {{
  if [ "$1" = up ]; then shift; set -- up --base-port {base} --http-port {port} "$@"; fi
  command javacluster "$@"
}}
curl() {{ command curl $curl_must "${{@//:8888/:{port}}}"; }}
python() {{ command python "${{@//:8888/:{port}}}"; }}
.venv/bin/javacluster() {{ javacluster "$@"; }}
make() {{
  case "$1" in
    up) javacluster up --example examples/Hello.java ;;
    *) javacluster "$1" ;;
  esac
}}
"""


def _pages() -> Iterator[Path]:
    for page in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]:
        if any(block.mark == "run" for block in blocks_of(page.read_text(encoding="utf-8"))):
            yield page


REFUSED = re.compile(r"HTTP/1\.1 [45]\d\d")
"""In what a block prints: its request is meant to be refused. Every other one must succeed."""


def _script(blocks: list[Block], port: int) -> Iterator[str]:
    """What is run of these, with a line after each block that tells its output from the next one's."""
    for number, block in enumerate(blocks):
        if block.mark != "run":
            continue
        told = blocks[number + 1] if number + 1 < len(blocks) else None
        refused = told is not None and told.mark == "prints" and REFUSED.search(told.text)
        yield f"curl_must={'' if refused else '--fail-with-body'}"
        if block.language == "python":
            text = block.text.replace(":8888", f":{port}")
            yield f"command python - <<'END-OF-PYTHON'\n{text}\nEND-OF-PYTHON"
        else:
            yield block.text
        yield f"echo; echo '{MARK.format(block.line)}'"


@pytest.mark.parametrize("page", list(_pages()), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_its_commands_do_what_it_says(page: Path, tmp_path: Path) -> None:
    """Each page on a cluster of its own, as somebody who follows it would."""
    base = free_base_port()
    blocks = [block for block in blocks_of(page.read_text(encoding="utf-8")) if block.mark]
    runs = [block for block in blocks if block.mark == "run"]
    values = {
        "bin": Path(sys.executable).parent,
        "work": tmp_path,
        "root": ROOT,
        "base": base,
        "port": base + 1,
    }
    starts = re.match(r"(javacluster|make) up|token=", runs[0].text)
    lines = ["" if starts else "javacluster up", *_script(blocks, base + 1)]
    script = PRELUDE.format(**values) + "\n".join(lines)
    environment = {**os.environ, "JAVACLUSTER_DIRECTORY": str(tmp_path / "cluster")}
    log = tmp_path / "output"
    try:
        with log.open("w") as file:
            done = subprocess.run(
                ["bash", "-c", script],
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                timeout=RUN_S,
                check=False,
            )
    finally:
        down = [sys.executable, "-m", "cluster.cli", "down"]
        subprocess.run(down, check=False, env=environment, cwd=ROOT, timeout=RUN_S, capture_output=True)
    told = log.read_text(encoding="utf-8", errors="replace")
    assert done.returncode == 0, told[-3000:]
    for number, block in enumerate(blocks):
        if block.mark == "prints":
            ran = blocks[number - 1]
            output = told.partition(MARK.format(ran.line))[0].rpartition("=== end of block")[2]
            line = missing(block.text, output)
            assert not line, f"{page.name}:{block.line}: not printed: {line}\n{output[-2000:]}"


PAGE = """
<!-- run -->

    curl --silent http://127.0.0.1:8888/there
"""
REFUSAL = """
<!-- run -->

    curl --silent --include http://127.0.0.1:8888/nowhere

<!-- prints -->

    HTTP/1.1 404 Not Found
"""
LOST = PAGE.replace("/there", "/nowhere")


@pytest.mark.parametrize(
    ("page", "good"),
    [
        (PAGE, True),
        (LOST, False),
        (LOST.rstrip() + " | cat", False),
        (LOST.replace("curl", "x=$(curl").rstrip() + " | cat)", False),
        (REFUSAL, True),
        (PAGE + REFUSAL, True),
        (REFUSAL + LOST, False),
        (PAGE + REFUSAL.replace("404 Not Found", "…"), False),
    ],
)
def test_a_request_that_fails_fails_its_page(tmp_path: Path, page: str, good: bool) -> None:
    """Unless what it prints says that it is refused; also where its answer goes into a pipe."""

    class Server(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/there" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_port
        values = {"bin": "/nowhere", "work": tmp_path, "root": ROOT, "base": port, "port": port}
        script = PRELUDE.format(**values) + "\n".join(_script(list(blocks_of(page)), port))
        done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=RUN_S, check=False)
        server.shutdown()
    assert (done.returncode == 0) == good, done.stdout + done.stderr


def test_the_site_builds_without_a_warning_and_asks_nobody(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout + done.stderr
    pages = list((tmp_path / "build" / "site").rglob("*.html"))
    assert len(pages) > 20
    for built in pages:
        text = built.read_text(encoding="utf-8")
        fetched = re.findall(r"""(?:src|<link[^>]*href)=["']?(https?://[^"' >]+)""", text)
        assert fetched == [], f"{built.name} asks somebody else for something"


def test_the_metrics_page_is_what_nodes_show(tmp_path: Path) -> None:
    with live_cluster(tmp_path / "c", peers=3) as cluster:
        assert cluster.run("public class A { public static void main(String[] a) { } }").status == 200
        nodes = [cluster.http_port, *(cluster.base_port + 10 * node + 3 for node in (1, 2, 3))]
        scraped = [urlopen(f"http://127.0.0.1:{port}/metrics").read().decode() for port in nodes]
    scraped.append(Metrics(lambda: access_readings(1, {("course", "taken"): 1})).exposition().decode())
    assert (PAGES / "metrics.md").read_text(encoding="utf-8") == metrics_page(scraped), (
        "run `python -m tests.documentation http://GATEWAY http://PEER…` and commit what it writes"
    )
