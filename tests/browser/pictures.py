"""Makes the pictures of the page that the documentation shows.

    python -m tests.browser.pictures

On a cluster of its own, whose leader is killed: takes about a minute and needs Chromium.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from selenium.webdriver import Chrome

from tests.browser.conftest import Page, start_chrome
from tests.documentation.reference import DOCS
from tests.integration.live import Live, eventually, live_cluster

WIDE, NARROW = (1300, 1010), (390, 1500)
LOAD_S = 40.0
PEERS = 5
EXAMPLE = "Output as it comes"

SOURCE = 'public class A {{ public String run() {{ return "{number}"; }} }}'
BROKEN = "public class A {{ int x = {number} }}"


def main() -> None:
    """Write them."""
    with (
        tempfile.TemporaryDirectory() as place,
        browser() as chrome,
        live_cluster(Path(place) / "c", peers=PEERS) as cluster,
    ):
        page = Page(chrome, f"http://127.0.0.1:{cluster.http_port}/")
        say("load")
        load(cluster)
        page.open()
        page.complaints()  # of the address that was opened before it, which is no page
        page.choose("examples", "An error to find")
        assert page.run() == "Does not compile"
        picture(chrome, "light", WIDE, "page-light")
        page.choose("examples", EXAMPLE)
        say("a program, and the leader's end")
        page.start()
        page.until(lambda: "▪" in page.text("#outputs pre.stdout"), "its first line")
        before = cluster.leader()
        assert cluster.command("kill", "leader").code == 0
        eventually(lambda: cluster.leader() not in {None, before}, "another leads")
        page.until(lambda: page.settled() and page.get("verdict").text == "OK", "it ends well")
        page.until(lambda: "bad" in page.rows().values(), "the page shows who failed")
        picture(chrome, "dark", WIDE, "page-dark")
        picture(chrome, "light", NARROW, "page-narrow")
        assert page.complaints() == []


@contextlib.contextmanager
def browser() -> Iterator[Chrome]:
    """One that is closed in the end."""
    chrome = start_chrome()
    if chrome is None:
        sys.exit("needs chromium and chromium-driver: apt-get install chromium chromium-driver")
    try:
        yield chrome
    finally:
        chrome.quit()


def load(cluster: Live) -> None:
    """Two clients for a while: most programs are right, half of them known."""
    over = threading.Event()
    timer = threading.Timer(LOAD_S, over.set)
    timer.start()

    def send(first: int) -> None:
        number = first
        while not over.is_set():
            number += 2
            text = BROKEN if number % 24 == first else SOURCE
            cluster.run(text.format(number=number if number % 4 < 2 else number // 40))

    clients = [threading.Thread(target=send, args=(first,)) for first in (0, 1)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()


def picture(chrome: Chrome, theme: str, size: tuple[int, int], name: str) -> None:
    """What the page looks like to somebody who likes that theme."""
    width, height = size
    preference = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", preference)
    chrome.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    chrome.execute_script("window.scrollTo(0, 0)")
    moving = "return document.getAnimations().some(one => one instanceof CSSTransition)"
    eventually(lambda: not chrome.execute_script(moving), "the colours are those of the theme")
    file = DOCS / "images" / f"{name}.png"
    assert chrome.save_screenshot(str(file))
    say(f"written: {file}")


def say(text: str) -> None:
    """Progress."""
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
