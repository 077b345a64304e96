"""What the documentation says of itself: its links lead somewhere, its generated pages are current.

That its commands do what it says is `tests/integration/test_documentation.py`.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.documentation.blocks import blocks_of, missing
from tests.documentation.figures import COMPARISON, figures, with_figures
from tests.documentation.reference import DOCS, PAGES, STATIC, metrics_page

ROOT = DOCS.parent
PAGES_ALL = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|<img[^>]* src=\"([^\"]+)\"")
_CODE = re.compile(r"```.*?```|`[^`\n]*`|<!--.*?-->", re.DOTALL)


def _id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _anchors(page: Path) -> set[str]:
    """The headings as the site names them, and explicit ones."""
    found: set[str] = set()
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        if explicit := re.search(r"\{ *#([\w-]+) *\}\s*$", heading):
            found.add(explicit[1])
            continue
        plain = re.sub(r"[^\w\s-]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)).strip().lower()
        slug = re.sub(r"[-\s]+", "-", plain)
        while slug in found:
            slug = f"{slug}_1"
        found.add(slug)
    return found


@pytest.mark.parametrize("page", PAGES_ALL, ids=_id)
def test_no_link_is_dead(page: Path) -> None:
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    for one, other in _LINK.findall(text):
        target = one or other
        if re.match(r"[a-z]+:", target):
            assert not target.startswith("http:") or "127.0.0.1" in target, target
            continue
        name, _hash, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{_id(page)}: {target}"
        if anchor:
            assert anchor in _anchors(file), f"{_id(page)}: {target}"


def _rules() -> set[str]:
    page = (DOCS / "protocol.md").read_text(encoding="utf-8")
    return set(re.findall(r"^- \*\*([A-Z]\d+)\*\*", page, re.MULTILINE))


def test_every_rule_of_the_protocol_has_a_test_that_is_named_after_it() -> None:
    """As the page says; W12 is about processes, of which a core knows none, and X1 to X4 about the wire."""
    rules = _rules()
    tests = "\n".join(
        file.read_text(encoding="utf-8") for file in (ROOT / "tests" / "protocol").glob("test_*.py")
    )
    names = re.findall(r"^def test_((?:[a-z]\d+_)+)", tests, re.MULTILINE)
    named = {rule.upper() for name in names for rule in name.split("_")}
    assert {"N1", "E1", "L1", "G1", "W1", "C1", "X1"} <= rules
    assert {rule for rule in rules - named if not rule.startswith("X")} == {"W12"}


def test_every_rule_that_is_cited_is_on_the_protocols_page() -> None:
    """In a page: N, E, L, G, W, C or X with a number, within brackets."""
    rules = _rules()
    cited = {
        rule
        for page in DOCS.rglob("*.md")
        for brackets in re.findall(r"\(([^()]*)\)", page.read_text(encoding="utf-8"))
        for rule in re.findall(r"\b[NELGWCX]\d+\b", brackets)
    }
    assert "C4" in cited
    assert cited <= rules


def test_every_page_is_in_the_sites_navigation() -> None:
    listed = re.findall(
        r"^ +- .*: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


@pytest.mark.parametrize("name", sorted(STATIC))
def test_generated_pages_are_current(name: str) -> None:
    assert (PAGES / name).read_text(encoding="utf-8") == STATIC[name](), (
        "run `python -m tests.documentation` and commit what it writes"
    )


def test_the_comparison_has_the_figures_of_the_benchmarks() -> None:
    """Newer ones are written there by the same command."""
    assert (DOCS / COMPARISON).read_text(encoding="utf-8") == with_figures(DOCS), (
        "run `python -m tests.documentation` and commit what it writes"
    )


def test_the_engines_figures_are_taken_once_they_are_there(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs")
    docs = tmp_path / "docs"
    head = (
        "| program | way | p50 ms | p90 ms | p99 ms | jobs/s | CPU ms a job | times faster | wrong |\n"
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    )
    rows = (
        "| hello | javac, java | 800.0 | 1 | 2 | 1.2 | 900 | 1.0 | 0 |\n"
        "| hello | cluster, HTTP | 24.5 | 1 | 2 | 30.1 | 60 | 25.1 | 0 |\n"
        "| streams | cluster, HTTP | 99.9 | 1 | 2 | 9.9 | 60 | 9.9 | 0 |\n"
    )
    page = f"# E\n\n## One after another\n\n{head}{rows}\n## 8 clients\n\n{head}{rows}\n## Memory\n\n- x\n"
    (docs / "benchmarks" / "java.md").write_text(page, encoding="utf-8")
    (first, second, *_others) = figures(docs)
    assert first[0] == "hello, one after another"
    assert (
        first[1] == "24.5 ms at p50, 30.1 a second; plain `javac`, then `java`: 800.0 ms at p50, 1.2 a second"
    )
    assert second[0] == "hello, 8 clients"
    assert "24.5 ms" in with_figures(docs)


def test_metrics_are_told_with_type_labels_and_words() -> None:
    """The page is compared with running nodes in `tests/integration/test_documentation.py`."""
    exposition = (
        "# HELP a_seconds Time.\n# TYPE a_seconds histogram\n"
        'a_seconds_bucket{le="1",phase="run"} 1\na_seconds_count{phase="run"} 1\n'
        "# HELP b_total Things | more.\n# TYPE b_total counter\nb_total 1\n"
    )
    page = metrics_page([exposition])
    assert "| `a_seconds` | histogram | `phase` | Time. |" in page
    assert r"| `b_total` | counter |  | Things \| more. |" in page


@pytest.mark.parametrize("page", PAGES_ALL, ids=_id)
def test_every_command_is_run_or_says_why_not(page: Path) -> None:
    """`run` and `prints` are looked at by the integration test; all others tell their reason."""
    blocks = list(blocks_of(page.read_text(encoding="utf-8")))
    bare = [f"{_id(page)}:{block.line}" for block in blocks if block.commands and not block.mark]
    assert bare == [], "put <!-- run --> or <!-- not run: WHY --> before these blocks"


def test_blocks_are_found_with_their_marks() -> None:
    page = (
        "# T\n\n<!-- run -->\n```sh\nmake up\n```\n\n<!-- prints -->\n```text\nx\n```\n\n"
        "    curl x\n\n- item\n\n    ```python\n    a\n    ```\n\nText\n\n    quoted\n"
    )
    found = [(block.language, block.mark, block.text, block.commands) for block in blocks_of(page)]
    assert found == [
        ("sh", "run", "make up", True),
        ("text", "prints", "x", False),
        ("", "", "curl x", True),
        ("python", "", "a", True),
        ("", "", "quoted", False),
    ]


def test_what_is_printed_is_compared_line_by_line() -> None:
    assert missing("a…c\nd", "xabcx\n1\nd\n") == ""
    assert missing("d\na", "a\nd\n") == "a"
    assert missing("a.c", "abc") == "a.c"
