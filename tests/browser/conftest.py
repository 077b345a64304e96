"""A live cluster and a headless Chromium that looks at its page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from selenium.common.exceptions import TimeoutException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from tests.integration.live import Live, live_cluster

REQUIRED = "JAVACLUSTER_BROWSER"
"""Set where a missing Chromium is a failure and not a reason to skip, as in continuous integration."""

PATIENCE_S = 40.0

FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
"""Of Chromium."""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One gateway, three peers."""
    with live_cluster(tmp_path_factory.mktemp("browser") / "c") as live:
        yield live


@pytest.fixture(scope="session")
def chrome() -> Iterator[Chrome]:
    """One browser for all tests."""
    chrome = start_chrome()
    if chrome is None:
        missing = "needs chromium and chromium-driver: apt-get install chromium chromium-driver"
        if os.environ.get(REQUIRED):
            pytest.fail(missing)
        pytest.skip(missing)
    yield chrome
    chrome.quit()


def start_chrome() -> Chrome | None:
    """A headless Chromium; None where it or its driver is not installed. Nothing is downloaded."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (browser and driver):
        return None
    options = ChromeOptions()
    options.binary_location = browser
    for argument in FLAGS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options=options, service=ChromeService(driver))
    chrome.set_script_timeout(PATIENCE_S)
    return chrome


@attrs.frozen
class Page:
    """The page in the browser."""

    chrome: Chrome
    url: str

    def open(self, fragment: str = "") -> None:
        """As for the first time."""
        self.chrome.get("about:blank")
        self.chrome.get(self.url + "livez")
        self.chrome.execute_script("localStorage.clear(); sessionStorage.clear()")
        self.chrome.get(self.url + fragment)
        self.until(lambda: "ready" in (self.get("state").get_attribute("class") or ""), "it serves")
        self.until(self.rows, "the nodes are listed")

    def get(self, name: str) -> WebElement:
        return self.chrome.find_element(By.ID, name)

    def all(self, selector: str) -> list[WebElement]:
        return self.chrome.find_elements(By.CSS_SELECTOR, selector)

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Poll until it is true."""
        try:
            return WebDriverWait(self.chrome, PATIENCE_S, 0.1).until(lambda _chrome: condition())
        except TimeoutException:
            pytest.fail(
                f"not within {PATIENCE_S:g} s: {what}; the page: {self.get('state').text}, {self.rows()}"
            )

    def write(self, source: str) -> None:
        """Replace the program, as a paste would."""
        box = self.get("source")
        self.chrome.execute_script(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))", box, source
        )

    def choose(self, name: str, text: str) -> None:
        """An option of a select."""
        Select(self.get(name)).select_by_visible_text(text)

    def press(self, *keys: str) -> None:
        """To whatever has the focus."""
        ActionChains(self.chrome).send_keys(*keys).perform()

    def chord(self, held: str, key: str) -> None:
        """Two at once."""
        ActionChains(self.chrome).key_down(held).send_keys(key).key_up(held).perform()

    def start(self) -> None:
        """Ctrl-Enter."""
        self.get("source").send_keys(Keys.CONTROL, Keys.ENTER)

    def text(self, selector: str) -> str:
        """What the first such element says; nothing if there is none, or it was just replaced."""
        script = "return document.querySelector(arguments[0])?.innerText ?? ''"
        return str(self.chrome.execute_script(script, selector)).strip()

    def run(self) -> str:
        """Ctrl-Enter, and the verdict."""
        self.chrome.execute_script("document.getElementById('verdict').textContent = ''")
        self.start()
        self.until(
            lambda: self.get("verdict").get_attribute("class") != "busy" and self.settled(), "a verdict"
        )
        return self.get("verdict").text

    def settled(self) -> bool:
        """Nothing runs, and something was said of what ran."""
        return self.get("run-word").text == "Run" and bool(self.get("verdict").text)

    def focused(self) -> str:
        """The id of what has the focus."""
        return str(self.chrome.execute_script("return document.activeElement.id"))

    def rows(self) -> dict[int, str]:
        """Each node's kind: `good`, `lead`, `warn`, `bad`, `gate`."""
        script = (
            "return [...document.querySelectorAll('#nodes tbody tr')]"
            ".map(row => [Number(row.dataset.node), row.className])"
        )
        return dict(self.chrome.execute_script(script))

    def leader(self) -> int | None:
        """Whom the page shows as leading."""
        return next((node for node, kind in self.rows().items() if kind == "lead"), None)

    def complaints(self) -> list[str]:
        """What the browser found wrong since it was last asked."""
        entries: list[dict[str, str]] = self.chrome.get_log("browser")  # type: ignore[no-untyped-call]  # theirs
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]


@pytest.fixture
def page(chrome: Chrome, cluster: Live) -> Iterator[Page]:
    """The page, opened; the browser must find nothing wrong with it."""
    chrome.set_window_size(1300, 1000)
    page = Page(chrome, f"http://127.0.0.1:{cluster.http_port}/")
    page.open()
    page.complaints()
    yield page
    assert page.complaints() == []
