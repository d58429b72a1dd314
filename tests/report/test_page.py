from __future__ import annotations

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from browser import opened
from robustft.pipeline import denoise
from support import MakeConfig, write_moods

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


class Attributes(HTMLParser):
    """Collects the attributes of every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += attrs


@pytest.fixture
async def page(tmp_path: Path, make: MakeConfig) -> Path:
    """The report of a run whose every text is an attack."""
    data = write_moods(tmp_path / "d.csv", n=120)
    with data.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row["question"] += f" {EVIL}</script>"
        row["id"] = f"{EVIL}{number}"
        row["who"] = EVIL if number % 3 else "=1+1"
    with data.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    config = make(data, method="posterior", experts=["direct", "reasoning"], report={"groups": ["who"]})
    await denoise(config, tmp_path / EVIL[1:7])
    return tmp_path / EVIL[1:7] / "report.html"


def test_it_is_one_file_that_loads_nothing(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert EVIL not in html
    assert html.count("<script") == 2
    attributes = Attributes()
    attributes.feed(html)
    assert {name for name, _ in attributes.found} & {"src", "onerror", "onclick", "action"} == set()
    assert all(str(value).startswith("#") for name, value in attributes.found if "href" in name)
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    assert len(html) < 400_000


def test_only_what_the_run_did_is_shown(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    for part in ("kept as given", "How likely the responses are", "<td>detect</td>", "<td>together</td>"):
        assert part in html
    assert re.search(r"\d\N{NO-BREAK SPACE}%", html)
    assert not re.search(r"\d %", html.partition("<script")[0])
    assert "<td>tune</td>" not in html
    assert "calls failed" not in html
    assert "budget was spent" not in html


def test_rows_are_found_filtered_and_opened_in_a_browser(page: Path) -> None:
    with opened(page.as_uri()) as tab:
        tab.wait_for_selector("#lines tr")
        assert tab.inner_text("#found") == "120 of 120 rows"
        assert tab.locator("#lines tr").count() == 50
        tab.fill("#words", f"{EVIL}7".lower())
        assert tab.inner_text("#found").startswith("11 of 120")
        tab.fill("#words", "")
        tab.select_option("#outcome", "relabel")
        tab.wait_for_function("!document.querySelector('#found').textContent.startsWith('120')")
        tags = tab.locator("#lines .tag").all_inner_texts()
        assert tags
        assert set(tags) == {"relabel"}
        tab.locator("#lines tr").first.click()
        assert "direct:" in tab.inner_text("tr.more")
        tab.click("#rows th button >> nth=-1")
        assert tab.get_attribute("#rows th:last-child", "aria-sort") == "ascending"
        tab.check("#disagree")
        tab.click("#theme")
        assert tab.evaluate("document.documentElement.dataset.theme") in {"dark", "light"}
        # nothing that came from the data has become an element
        assert tab.locator("img").count() == 0
        assert EVIL in tab.inner_text("body")
