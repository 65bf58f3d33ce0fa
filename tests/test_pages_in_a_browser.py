"""Both pages in a real browser: nothing is complained of, nothing leaves, nothing is cut or wider than the screen."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from supcon.commands import compare
from supcon.storage.tables import Dialect, read_table, write_table
from tests.browser import Browser, find_chromium
from tests.conftest import accept_changes
from tests.report.conftest import SCRIPT, hostile, page_of  # noqa: F401

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: apt-get install chromium")

CUT = """
[...document.querySelectorAll('body *')].filter(element => !element.closest('.scroll')
  && (element.scrollWidth > element.clientWidth + 1) && element.clientWidth > 0
  && getComputedStyle(element).display !== 'inline').map(element => element.outerHTML.slice(0, 200))
"""
BROKEN = "[...document.images].filter(image => !image.complete || image.naturalWidth === 0).length"
LOST = "[...document.querySelectorAll('a')].filter(a => a.hash && !document.querySelector(a.hash)).length"
OVERLAPPING = """
(() => { const parts = [...document.querySelectorAll('main h2, main h3, main p, main figure, main .scroll, main ul')]
  .map(element => element.getBoundingClientRect()).filter(box => box.height > 0);
  let found = 0;
  for (let one = 0; one < parts.length; one++) for (let other = one + 1; other < parts.length; other++) {
    const a = parts[one], b = parts[other];
    if (a.bottom > b.top + 1 && b.bottom > a.top + 1 && a.right > b.left + 1 && b.right > a.left + 1) found++;
  }
  return found; })()
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None
    with Browser(CHROMIUM) as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:  # noqa: F811
    """A report with damaged images, and a comparison, of runs whose names and classes are markup."""
    root = tmp_path_factory.mktemp("pages") / "root"
    shutil.copytree(hostile, root)
    runs = root / "runs"
    page_of(root, "--corruptions", "--rows=3")
    shutil.copytree(runs / "cross_entropy", runs / "other & <b>better")
    path = runs / "other & <b>better" / "cross_fitted.csv"
    table = read_table(path)
    table.loc[:23, "label"] = SCRIPT  # right
    write_table(path, table, Dialect())
    accept_changes(path.parent)
    compare.main([f"--root={root}", "cross_entropy", "other & <b>better"])
    return {"report": runs / "cross_entropy" / "report.html", "compare": next(runs.glob("compare-*.html"))}


@pytest.mark.parametrize("width", [360, 720, 1200])
@pytest.mark.parametrize("name", ["report", "compare"])
def test_a_page_is_at_rest_and_fits(browser: Browser, pages: dict[str, Path], name: str, width: int) -> None:
    seen = browser.open(pages[name], width)
    assert seen.messages == []
    assert seen.requests == [pages[name].resolve().as_uri()]
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    assert browser.evaluate(CUT) == []
    assert browser.evaluate(BROKEN) == 0
    assert browser.evaluate(LOST) == 0
    assert browser.evaluate(OVERLAPPING) == 0
    assert browser.evaluate("document.images.length") > 10
    assert SCRIPT in browser.evaluate("document.body.innerText")


def test_the_browser_would_have_told(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "loud.html"
    page.write_text(
        "<meta name=viewport content='width=device-width'><div style='width:900px'>wide</div>"
        "<img src='http://127.0.0.1:9/x.png'><script>console.error('loud'); nothing.here</script>"
    )
    seen = browser.open(page, 360)
    assert "http://127.0.0.1:9/x.png" in seen.requests
    assert any("loud" in message for message in seen.messages)
    assert any("nothing is not defined" in message or "Uncaught" in message for message in seen.messages)
    assert browser.evaluate("document.documentElement.scrollWidth") > 360
    assert browser.evaluate(BROKEN) == 1
