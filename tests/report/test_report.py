"""A report of a finished run: whole, honest about what is missing, and written or not at all."""

import base64
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

import ensemble
import tune
from supcon.commands import report
from supcon.errors import UserError
from supcon.plots import learning_curves
from supcon.report import training
from supcon.report.contents import CONTENTS
from supcon.storage.files import read_json
from supcon.storage.tables import Dialect, read_table, write_table
from tests.conftest import REPOSITORY, STAGES, run_command, run_stage
from tests.report.conftest import AMPERSAND, FILE, MATH, SCRIPT, page_of, run_of

TAGS = {
    "html", "head", "meta", "link", "title", "style", "body", "header", "h1", "h2", "h3", "p", "nav", "ol", "ul", "li",
    "a", "main", "section", "figure", "figcaption", "img", "div", "table", "caption", "thead", "tbody", "tr", "th",
    "td",
}  # fmt: skip


class Parts(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.pictures: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.sections: dict[str, str] = {}  # title to the text below it
        self._heading = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.attributes |= set(given)
        self.pictures += [given["src"]] if tag == "img" else []
        self.links += [given["href"]] if tag == "a" else []
        self.anchors |= {given["id"]} if "id" in given else set()
        self._heading = tag == "h2"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self._heading:
            self.sections[data] = ""
            self._heading = False
        elif self.sections:
            last = next(reversed(self.sections))
            self.sections[last] = " ".join(f"{self.sections[last]} {data}".split())


@pytest.fixture(scope="module")
def parts(reported: Path) -> Parts:
    return Parts((reported / "runs" / "cross_entropy" / "report.html").read_text())


@pytest.fixture(scope="module")
def hostile_page(hostile: Path) -> str:
    return page_of(hostile)


def test_every_section_is_there_and_the_contents_lead_to_it(parts: Parts) -> None:
    assert list(parts.sections) == list(CONTENTS)
    assert {link.removeprefix("#") for link in parts.links} - {""} <= parts.anchors


def test_both_stages_are_drawn_one_after_the_other(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []

    def recorded(*given: Any, **options: Any) -> Figure:
        drawn.append(learning_curves(*given, **options))
        return drawn[-1]

    monkeypatch.setattr(training, "learning_curves", recorded)
    training.curves(run_of(finished))
    (figure,) = drawn
    panels = {axes.get_title(place): axes for axes in figure.axes for place in ("left", "center", "right")}
    assert {"loss", "knn macro f1", "held out macro f1", "alignment", "uniformity"} <= panels.keys()
    *folds, mark = panels["alignment"].lines
    assert [list(line.get_xdata()) for line in folds] == [list(range(1, 2 + 16 + 1))] * 3  # type: ignore[arg-type]
    assert list(mark.get_xdata()) == [2.5, 2.5]  # type: ignore[arg-type]


def test_only_what_the_command_makes_is_missing(parts: Parts) -> None:
    lacking = [title for title in CONTENTS if re.search(r"(has|have) (no|not|changed)", parts.sections[title])]
    assert lacking == ["Damaged images"]
    assert "`./run.sh report --run cross_entropy --corruptions` shows them" in parts.sections["Damaged images"]


def test_scores_of_another_decision_are_not_shown_as_those_of_this_one(copied: Path) -> None:
    tune.main([f"--root={copied}", "--run=cross_entropy", "--tune.metric=accuracy", "--force"])
    shown = Parts(page_of(copied)).sections
    assert "`ensemble --force` makes it anew" in shown["Summary"]
    assert "private labels" not in shown["Summary"]


def test_the_summary_says_the_scores_of_the_run(parts: Parts, reported: Path) -> None:
    scores = read_json(reported / "runs" / "cross_entropy" / "scores.json")
    shown = parts.sections["Summary"]
    for score in (scores["cross_fitted"]["pooled"], scores["raw"]["pooled"], scores["private"]["ensemble"]):
        assert f"{score['score']:.4f} [{score['low']:.4f}, {score['high']:.4f}]" in shown


def test_names_of_markup_stay_text(hostile_page: str) -> None:
    parts = Parts(hostile_page)
    assert parts.tags <= TAGS
    assert not {name for name in parts.attributes if name.startswith("on")}
    text = " ".join(parts.texts)
    assert all(name in text for name in (SCRIPT, MATH, AMPERSAND))
    assert all(picture.startswith("data:image/") for picture in parts.pictures)


def test_a_file_of_markup_stays_text(hostile: Path) -> None:
    path = hostile / "runs" / "cross_entropy" / "cross_fitted.csv"
    before = path.read_text()
    table = read_table(path)
    table.loc[table["id"] == FILE, "label"] = AMPERSAND  # so that it is among the mistakes
    write_table(path, table, Dialect())
    try:
        parts = Parts(page_of(hostile))
    finally:
        path.write_text(before)
    assert FILE in " ".join(parts.texts)
    assert not {name for name in parts.attributes if name.startswith("on")}


def test_no_picture_holds_a_script(hostile_page: str) -> None:
    drawn = [uri for uri in Parts(hostile_page).pictures if uri.startswith("data:image/svg")]
    assert drawn
    for uri in drawn:
        assert b"<script" not in base64.b64decode(uri.partition(",")[2])


def test_mistakes_show_what_was_taken_for_what(hostile: Path, hostile_page: str) -> None:
    run = run_of(hostile)
    assert len(run.errors) > 3
    shown = Parts(hostile_page).sections["Confident mistakes"]
    row = run.errors[0]
    true, taken = run.classes[run.true[row]], run.classes[run.labels[row]]
    assert f"{true}, taken for {taken} {run.confidence[row]:.1%} sure {run.ids[row]}" in shown
    assert (run.confidence[run.errors][:-1] >= run.confidence[run.errors][1:]).all()


def test_the_next_steps_name_the_pair_behind_most_errors(hostile: Path, hostile_page: str) -> None:
    run = run_of(hostile)
    pair = run.pairs[0]
    line = f"The classes {run.classes[pair.first]} and {run.classes[pair.second]} are confused: {len(pair.rows)} of"
    assert line in Parts(hostile_page).sections["Summary"]
    assert sum(len(pair.rows) for pair in run.pairs) == len(run.errors)


def test_a_run_without_pretraining_says_so(hostile_page: str) -> None:
    assert "This run has no stage pretrain" in Parts(hostile_page).sections["Learning curves"]


def test_a_run_without_embeddings_names_the_command_that_makes_them(copied: Path) -> None:
    for path in copied.glob("runs/*/fold*/embeddings.npz"):
        path.unlink()
    parts = Parts(page_of(copied))
    for title in ("Embedding map", "Embedding quality", "Train and test"):
        assert parts.sections[title].startswith(
            "fold0 of run cross_entropy has no embeddings.npz: `python src/predict.py --run cross_entropy --force`"
        )


def test_without_embeddings_and_damaged_images_torch_is_not_imported(copied: Path) -> None:
    for path in copied.glob("runs/*/fold*/embeddings.npz"):
        path.unlink()
    code = (
        "import sys; sys.path.insert(0, 'src'); from supcon.commands import report;"
        f"report.main(['--root={copied}']);"  # the only run
        "print([name for name in ('torch', 'timm', 'albumentations') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_a_blend_of_runs_says_what_only_its_members_have(copied: Path) -> None:
    shutil.copytree(copied / "runs" / "cross_entropy", copied / "runs" / "other")
    flags = [f"--root={copied}", "--run=mix", "--tune.trials=5", "--tune.bootstrap=20"]
    for stage in (tune, ensemble):
        stage.main([*flags, "--runs", "cross_entropy", "other"])
    parts = Parts(page_of(copied, name="mix"))
    for title in ("Learning curves", "Embedding map", "Embedding quality", "Train and test", "Damaged images"):
        assert parts.sections[title].startswith("Run mix has no folds of its own: it blends other runs"), title
    assert "weight in the blend cross_entropy" in parts.sections["What each step added"]
    assert "fold 2" in parts.sections["Scores"]
    assert "tune" in parts.sections["Time and memory"]
    with pytest.raises(UserError, match="--corruptions: run mix has no models of its own"):
        page_of(copied, "--corruptions", name="mix")


@pytest.mark.slow
def test_a_second_round_has_its_rung_and_its_stage(copied: Path) -> None:
    for stage in ("pseudo", *STAGES[1:]):
        run_stage(stage, copied, "--run=two", "--pseudo.run=cross_entropy")
    parts = Parts(page_of(copied, name="two"))
    assert "cannot be told apart" in parts.sections["Train and test"]
    assert "round two" in parts.sections["What each step added"]
    assert "pseudo" in parts.sections["Time and memory"]
    assert "kNN macro-F1" in parts.sections["Embedding quality"]


@pytest.mark.slow
def test_damaged_images_are_shown_and_held_against_a_baseline(copied: Path) -> None:
    runs = copied / "runs"
    shutil.copytree(runs / "cross_entropy", runs / "base")
    with pytest.raises(UserError, match=r"--baseline: Run base has not seen damaged images: `\./run\.sh report --run"):
        page_of(copied, "--corruptions", "--rows=4", "--baseline=base")
    assert not (runs / "cross_entropy" / "corruptions.json").exists()
    page_of(copied, "--corruptions", "--rows=5", name="base")
    with pytest.raises(UserError, match=r"base has seen 5 damaged rows of each fold, cross_entropy 4: give both the"):
        page_of(copied, "--corruptions", "--rows=4", "--baseline=base")
    assert not (runs / "cross_entropy" / "report.html").exists()
    page_of(copied, "--corruptions", "--rows=4", "--force", name="base")
    shown = Parts(page_of(copied, "--baseline=base")).sections["Damaged images"]
    assert "Corruption F1 0." in shown
    assert "not ImageNet-C" in shown
    assert "times as much" in shown or "nan" in shown
    assert "lost by base" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--run=nobody"], "no run is called nobody in .*/runs, which has cross_entropy"),
        (["--run=cross_entropy", "--baseline=nobody"], "no run is called nobody"),
        (["--run=cross_entropy", "--rows=0"], "--rows 0: at least 1 row"),
        (["--run=cross_entropy", "--rows=many"], "--rows: Expected a whole number"),
        (["--run=cross_entropy", "--predict.views=3"], "predict fold 0 .* was made otherwise: predict.views 2 -> 3"),
        (["--run=cross_entropy", "--predict.vews=3"], "predict.vews"),
    ],
)
def test_calls_that_make_no_sense_are_one_line(copied: Path, words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        report.main([f"--root={copied}", *words])
    assert "\n" not in str(raised.value)
    assert not list(copied.glob("runs/*/report.html"))


def test_a_run_that_was_never_tuned_is_one_line_and_exit_status_two(root: Path) -> None:
    for stage in ("make_folds", "pretrain"):
        run_stage(stage, root, "--fold=0") if stage == "pretrain" else run_stage(stage, root)
    result = run_command("report", root)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: finetune fold 0 of run cross_entropy is not done: run `python src/finetune")
    assert not list(root.glob("runs/*/report.html"))


def test_a_damaged_file_of_the_run_is_named_and_no_page_is_written(copied: Path) -> None:
    (copied / "runs" / "cross_entropy" / "fold1" / "embeddings.npz").write_bytes(b"no zip")
    with pytest.raises(UserError, match=r"embeddings\.npz has changed since it was written"):
        page_of(copied)
    assert not list(copied.glob("runs/*/report.html"))
