"""The page as people use it (H7): run, err, share, watch a leader die, and all of it by keyboard."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.keys import Keys

from tests.browser.conftest import Page
from tests.integration.live import Live

pytestmark = pytest.mark.integration

NARROW = 360
"""Pixels: a small phone."""

COUNTS = """public class Counts {
    public static void main(String[] args) throws InterruptedException {
        for (int number = 1; number <= 20; number++) {
            System.out.println(number);
            Thread.sleep(200);
        }
    }
}
"""

WRONG = """public class Wrong {
    public static void main(String[] args) {
        int twice = "two";
        System.out.println(thrice);
    }
}
"""


def test_an_example_runs_and_shows_result_and_timing(page: Page) -> None:
    page.choose("examples", "Records and streams")
    assert page.run() == "OK"
    assert page.all("#outputs pre.value")[0].text.startswith("Circle[radius=1.0] has area 3.14\nSquare")
    phases = [part.get_attribute("class") for part in page.all("#timing div")]
    assert phases == ["queue", "compile", "run", "all in all"]
    assert page.get("facts").text.startswith("node ")


def test_arguments_and_input_reach_the_program(page: Page) -> None:
    page.choose("examples", "Arguments and input")
    assert page.run() == "OK"
    assert page.all("#outputs pre.stdout")[0].text == "Hello, Ada and Grace Hopper!\nThe sum is 42"


def test_errors_are_shown_at_their_lines_and_lead_there(page: Page) -> None:
    page.write(WRONG)
    assert page.run() == "Does not compile"
    assert [number.text for number in page.all("#gutter .error")] == ["3", "4"]
    notes = [note.text for note in page.all("#ink .error .note")]
    assert notes == ["incompatible types: String cannot be converted to int", "cannot find symbol"]
    page.all("#diagnostics button")[1].click()
    caret = page.chrome.execute_script("return document.getElementById('source').selectionStart")
    assert WRONG[caret:].startswith("thrice")
    page.press("x")
    assert page.all("#gutter .error") == []


def test_output_appears_as_it_comes(page: Page) -> None:
    """H5, H7: while the program still runs."""
    page.choose("examples", "Output as it comes")
    page.start()
    first = page.until(lambda: page.text("#outputs pre.stdout"), "its first line")
    assert first.startswith("8 ")
    assert "lift-off" not in first
    assert page.get("verdict").text == "Running"
    assert page.get("facts").text.startswith("node ")
    page.until(lambda: len(page.text("#outputs pre.stdout")) > len(first), "more of it")
    page.until(lambda: page.get("verdict").text == "OK", "its end")
    assert page.text("#outputs pre.stdout").endswith("1 ▪\nlift-off")


def test_output_goes_on_when_the_leader_dies(page: Page, cluster: Live) -> None:
    """W13: no line is lost, none is there twice."""
    old = page.until(page.leader, "somebody leads")
    page.write(COUNTS)
    page.start()
    page.until(lambda: "3\n" in page.text("#outputs pre.stdout") + "\n", "it counts")
    assert cluster.command("kill", str(old)).code == 0
    page.until(lambda: page.get("verdict").text == "OK", "its end")
    assert page.text("#outputs pre.stdout").split() == [str(number) for number in range(1, 21)]
    assert cluster.command("start", str(old)).code == 0
    page.until(lambda: page.rows()[old] in {"good", "lead"}, "it is back")


def test_nothing_overlaps_on_a_small_screen(page: Page) -> None:
    """H7."""
    phone = {"width": NARROW, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        _look_for_overlaps(page)
    finally:
        page.chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def _look_for_overlaps(page: Page) -> None:
    page.choose("examples", "Records and streams")
    assert page.run() == "OK"
    boxes = page.chrome.execute_script(
        "return [...document.querySelectorAll('#timing div')].map(part => {"
        " const range = document.createRange(); range.selectNodeContents(part);"
        " const [text, box] = [range.getBoundingClientRect(), part.getBoundingClientRect()];"
        " return [text.left, text.right, box.left, box.right]; })"
    )
    assert len(boxes) == 4
    for left, right, box_left, box_right in boxes:
        assert box_left <= left
        assert right <= box_right
    width = page.chrome.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1], "nobody has to scroll sideways"


def test_an_exception_shows_what_was_written_before_it(page: Page) -> None:
    """R3."""
    page.choose("examples", "An exception")
    assert page.run() == "Runtime error"
    assert page.all("#outputs pre.stdout")[0].text == "so far, so good"
    assert "ArrayIndexOutOfBoundsException" in page.all("#outputs pre.stderr")[0].text
    assert "exit code 1" in page.get("facts").text


def test_what_a_program_prints_stays_text(page: Page) -> None:
    """H8."""
    tag = "<img src=x onerror=document.title='taken'><script>document.title='taken'</script>"
    page.write(f'public class Tag {{ public String run() {{ return "{tag}"; }} }}')
    assert page.run() == "OK"
    assert page.all("#outputs pre.value")[0].text == tag
    assert page.all("#outputs img, #outputs script") == []
    assert page.chrome.title == "javacluster"


def test_stopping_frees_the_slot(page: Page, cluster: Live) -> None:
    """H8, W9."""
    page.choose("examples", "It never ends")
    page.get("source").send_keys(Keys.CONTROL, Keys.ENTER)
    page.until(lambda: any(row["running"] for row in cluster.rows().values()), "it runs")
    assert page.get("run-word").text == "Stop"
    page.get("run").click()
    page.until(lambda: page.get("verdict").text == "Stopped", "it is stopped")
    page.until(lambda: not any(row["running"] for row in cluster.rows().values()), "the slot is free")


def test_a_link_holds_the_program(page: Page) -> None:
    """H7: in the fragment, which no server sees."""
    source = 'public class Ünï { public String run() { return "🦆"; } }\n'
    page.write(source)
    page.get("share").click()
    page.until(lambda: "#p=" in page.chrome.current_url, "the address has it")
    fragment = page.chrome.current_url.partition("#")[2]
    page.open(f"#{fragment}")
    page.until(lambda: page.get("source").get_attribute("value") == source, "the program is back")


def test_a_broken_link_is_told_and_harmless(page: Page) -> None:
    page.open("#p=nonsense")
    assert "can't be read" in page.until(lambda: page.get("toast").text, "a word about it")
    assert "class Hello" in (page.get("source").get_attribute("value") or "")


def test_a_program_is_kept_over_a_reload(page: Page) -> None:
    page.write("class Kept {}")
    page.chrome.refresh()
    page.until(lambda: page.get("source").get_attribute("value") == "class Kept {}", "it is back")


def test_everything_can_be_done_with_the_keyboard(page: Page) -> None:
    seen: list[str] = []
    for _ in range(40):
        page.press(Keys.TAB)
        if page.focused() == "source":
            page.press(Keys.ESCAPE)
        seen.append(page.focused())
    wanted = {
        "theme",
        "examples",
        "share",
        "run",
        "source",
        "log-node",
        "log-level",
        "log-filter",
        "log-live",
    }
    assert wanted <= set(seen)

    page.chrome.execute_script("document.getElementById('source').focus()")
    page.chord(Keys.CONTROL, "a")
    page.press(Keys.DELETE)
    page.press("public class Typed {", Keys.ENTER, "public String run() {", Keys.ENTER, 'return "by hand";')
    page.press(Keys.ENTER, "}", Keys.ENTER, "}")
    assert page.get("source").get_attribute("value") == (
        'public class Typed {\n    public String run() {\n        return "by hand";\n    }\n}'
    )
    assert page.run() == "OK"
    assert page.all("#outputs pre.value")[0].text == "by hand"
    page.press(Keys.TAB)
    assert page.focused() == "source"
    page.press(Keys.ESCAPE, Keys.TAB)
    assert page.focused() != "source"


def test_answers_are_drawn_and_logged(page: Page) -> None:
    assert page.run() == "OK"
    page.until(lambda: page.all("#throughput .bars"), "a bar")
    page.until(lambda: "answers" in page.get("reading").text, "a number")
    page.until(lambda: "answered: ok" in page.get("log").text, "the log has it")
    page.choose("log-node", "node 1")
    page.until(lambda: " 1: " in page.get("log").text, "another node's log")
    page.get("log-filter").send_keys("no line has this")
    page.until(lambda: page.get("log").text == "", "nothing left")


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_nothing_sticks_out_whatever_the_width(page: Page, width: int) -> None:
    page.chrome.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False},
    )
    try:
        script = "const e = document.documentElement; return e.scrollWidth - e.clientWidth"
        page.until(lambda: page.chrome.execute_script(script) == 0, "no scrolling sideways")
    finally:
        page.chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_light_and_dark(page: Page) -> None:
    def background() -> str:
        script = "return getComputedStyle(document.body).backgroundColor"
        return str(page.chrome.execute_script(script))

    colours = {}
    for name in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": name}]
        page.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        colours[name] = background()
    page.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert colours["light"] != colours["dark"]
    for name in ("light", "dark", "auto"):
        page.get("theme").click()
        assert page.get("theme-name").text == name
        if name in colours:
            assert background() == colours[name]


def test_a_killed_leader_turns_red_by_itself_and_another_leads(page: Page, cluster: Live) -> None:
    """H7: nobody touches the page meanwhile; programs run again at once."""
    old = page.until(page.leader, "somebody leads")
    assert cluster.command("kill", "leader").code == 0
    page.until(lambda: page.rows()[old] == "bad", "the dead one is red")
    new = page.until(page.leader, "another leads")
    assert new != old
    assert f"node {new} leads" in page.get("epoch").text
    news = page.get("news").text
    assert f"node {new} leads" in news
    assert f"node {old} failed" in news
    assert page.all("#ring .bad text")[0].text == str(old)
    page.write('public class After { public String run() { return "still here"; } }')
    assert page.run() == "OK"
    assert cluster.command("start", str(old)).code == 0
    page.until(lambda: page.rows()[old] in {"good", "lead"}, "it is back")
    assert f"node {old} is back" in page.get("news").text
