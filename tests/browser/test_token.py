"""The page at a gateway that asks for tokens (H7, H9)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.keys import Keys

from cluster import tokens
from cluster.tokens import Token, digest_of, new_token
from tests.browser.conftest import Page
from tests.integration.live import live_cluster

pytestmark = pytest.mark.integration

TOKEN = new_token()


@pytest.fixture(scope="module")
def url(chrome: Chrome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway's page; its cluster is one peer."""
    del chrome  # without a browser there is no need for a cluster
    directory = tmp_path_factory.mktemp("tokens")
    file = directory / "tokens.yml"
    file.write_text(tokens.render((Token(name="ann", sha256=digest_of(TOKEN)),)))
    with live_cluster(directory / "c", peers=1, gateway__tokens_file=file) as live:
        yield f"http://127.0.0.1:{live.http_port}/"


@pytest.fixture
def page(chrome: Chrome, url: str) -> Page:
    chrome.set_window_size(1300, 1000)
    page = Page(chrome, url)
    page.open()
    return page


def test_the_page_asks_for_a_token_and_keeps_it_for_its_tab(page: Page) -> None:
    page.until(lambda: "token" in page.get("log").text, "the log says what it needs")
    page.until(lambda: page.get("token-word").text == "token needed", "so does the header")
    page.start()
    page.until(lambda: page.focused() == "token-text", "it asks")
    page.press("jc_wrong", Keys.ENTER)
    page.until(lambda: "not known" in page.get("token-why").text, "it says that it was a wrong one")
    page.until(lambda: page.focused() == "token-text", "it asks again")
    page.press(TOKEN, Keys.ENTER)
    page.until(page.settled, "a verdict")
    assert page.get("verdict").text == "OK"
    assert page.get("token-word").text == "token given"
    page.until(lambda: "answered: ok" in page.get("log").text, "the log is there")
    kept = "return [sessionStorage.getItem('token'), JSON.stringify(localStorage), location.href]"
    stored, elsewhere, address = page.chrome.execute_script(kept)
    assert stored == TOKEN
    assert TOKEN not in elsewhere + address
    page.chrome.refresh()
    page.until(lambda: page.get("token-word").text == "token given", "it is still there")
    assert page.run() == "OK"


def test_who_has_no_token_sees_the_cluster_and_runs_nothing(page: Page) -> None:
    assert 1 in page.rows()
    page.start()
    page.until(lambda: page.focused() == "token-text", "it asks")
    page.press(Keys.ESCAPE)
    page.until(page.settled, "an end")
    assert page.get("verdict").text == "Token needed"
    page.get("token").click()
    page.until(lambda: page.focused() == "token-text", "it can be asked for")
    page.get("token-forget").click()
    page.until(lambda: page.get("token-word").text == "token needed", "without")
