"""Names as they are, and pictures of one size."""

import struct
import subprocess
import sys

import pytest
from matplotlib.figure import Figure

from supcon.plots import as_png
from supcon.plots.look import WIDTH, new_figure, written
from tests.conftest import REPOSITORY
from tests.plots.shown import AWKWARD, check, said

pytestmark = pytest.mark.filterwarnings("error")


def test_names_keep_their_letters_and_lose_their_markup() -> None:
    assert written("a_b^c{") == "a_b^c{"
    assert written("$x$") == r"\$x\$"  # which matplotlib shows as $x$
    assert written("line\nbreak\t ") == "line break"
    assert written("漢字") == "□□"
    assert written("e\u0301 ع") == "e\u0301 ع"
    assert written("\u202eevil\u200d\ufe0f") == "evil"
    assert written(7) == "7"


def test_long_names_keep_both_ends() -> None:
    assert written("speed limit (20km/h)", 12) == "speed …0km/h)"[:6] + "…" + "0km/h)"[1:]
    assert len(written("x" * 100, 20)) == 20
    assert written("x" * 20, 20) == "x" * 20


@pytest.mark.parametrize("name", AWKWARD)
def test_every_name_can_be_drawn_as_title_and_text(name: str) -> None:
    figure = new_figure(1.0, name)
    figure.text(0.5, 0.4, written(name), ha="center")
    check(figure)


def test_titles_are_wrapped_and_end_somewhere() -> None:
    title = "a title of many words " * 20
    check(new_figure(1.0, title))
    assert said(new_figure(1.0, title))[0].count("\n") == 2
    assert said(new_figure(1.0, title))[0].endswith("…")


def test_pictures_have_the_width_asked_for_and_the_same_bytes_each_time() -> None:
    figure = new_figure(2.0, "title")
    assert figure.get_figwidth() == WIDTH
    for pixels in (360, 1080):
        png = as_png(figure, pixels)
        assert png.startswith(b"\x89PNG")
        assert struct.unpack(">I", png[16:20])[0] == pixels
        assert as_png(figure, pixels) == png
        assert b"matplotlib" not in png.lower()


def test_figures_touch_no_state_that_others_share() -> None:
    code = (
        "import sys; sys.path.insert(0, 'src')\n"
        "import matplotlib\n"
        "def settings(): return {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != 'backend'}\n"
        "before = settings()\n"
        "from supcon import plots\n"
        "plots.as_png(plots.stability({'a': [0.5, 0.6]}))\n"
        "assert settings() == before\n"
        "assert not {'matplotlib.pyplot', 'torch', 'sklearn', 'scipy'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert isinstance(new_figure(1.0), Figure)
