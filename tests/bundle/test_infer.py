"""What the notebook's functions do with files that do not fit, versions and many images."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from supcon import environment
from supcon.bundle import infer
from supcon.bundle.infer import find_competition, predict_submission
from supcon.bundle.manifest import Bundle, read_bundle, version_warnings
from supcon.competition.form import Form
from supcon.decision.merge import head_and_class_means
from supcon.decision.rule import Rule
from supcon.errors import UserError
from supcon.images.geometry import Image
from supcon.images.store import How
from supcon.settings.settings import DataSettings, PredictSettings, Settings


def bundle_at(folder: Path) -> Bundle:
    """A bundle of two classes, without weights."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = Settings(data=DataSettings(store="pixels", image_size=8), predict=PredictSettings(batch_size=4, views=2))
    nothing = [[0.0, 0.0]] * 2
    rule, members = Rule((0.5, 0.5)), [head_and_class_means(0)]
    form, models = Form(["label"]), ["fold0", "fold1"]
    return Bundle(folder, settings, ["a", "b"], "id", form, models, nothing, nothing, rule, members)


def write_sample(folder: Path, header: str = "id,label") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sample_submission.csv").write_text(f"{header}\nx,a\n")
    return folder


def test_versions_outside_their_range_are_a_line_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ranges = {"torch": ["2.6", "3"], "timm": ["1.0.9", "1.1"], "numpy": ["1.26", "3"]}
    (tmp_path / "bundle.json").write_text(json.dumps({"ranges": ranges}))
    assert version_warnings(tmp_path) == []
    versions = {"torch": "2.5.1+cu124", "timm": "1.1.0.dev0", "numpy": "2.0"}
    monkeypatch.setattr(environment, "version_of", versions.__getitem__)
    assert version_warnings(tmp_path) == [
        "warning: torch 2.5.1+cu124 is outside >=2.6,<3: labels may differ",
        "warning: timm 1.1.0.dev0 is outside >=1.0.9,<1.1: labels may differ",
    ]


def test_the_competition_is_found_by_the_columns_of_its_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = bundle_at(tmp_path / "host" / "bundle")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    with pytest.raises(UserError, match=r"no sample_submission\.csv with the columns \['id', 'label'\].*COMPETITION"):
        find_competition(bundle)
    write_sample(tmp_path / "host" / "another", "id,kind")
    right = write_sample(tmp_path / "host" / "data")
    assert find_competition(bundle) == right
    (right / "sample_submission.csv").unlink()
    monkeypatch.setattr(infer, "MOUNTED", tmp_path / "mounted")
    right = write_sample(tmp_path / "mounted" / "competitions" / "digits")
    assert find_competition(bundle) == right
    write_sample(tmp_path / "work")
    with pytest.raises(UserError, match="both hold a sample_submission.csv that fits"):
        find_competition(bundle)


def test_another_competitions_files_are_refused(tmp_path: Path) -> None:
    bundle, output = bundle_at(tmp_path / "bundle"), tmp_path / "submission.csv"
    with pytest.raises(UserError, match=r"sample_submission\.csv is missing.*COMPETITION"):
        predict_submission(bundle, tmp_path / "nowhere", output)
    with pytest.raises(UserError, match=r"\['id', 'kind'\], the bundle was made for \['id', 'label'\]"):
        predict_submission(bundle, write_sample(tmp_path / "other", "id,kind"), output)
    assert not output.exists()


def test_a_damaged_bundle_is_named(tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text("{")
    with pytest.raises(UserError, match=r"decision\.json is missing: copy the whole bundle again"):
        read_bundle(tmp_path)
    (tmp_path / "decision.json").write_text("{}")
    with pytest.raises(UserError, match=r"bundle\.json is not JSON"):
        read_bundle(tmp_path)


def test_images_are_decoded_no_more_than_a_batch_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / f"{number}.png" for number in range(21)]
    for number, file in enumerate(files):
        cv2.imwrite(str(file), np.full((9, 9, 3), number, np.uint8))
    opened: list[Path] = []

    decode = How.decode

    def counted(how: How, file: Path) -> Image:
        opened.append(file)
        return decode(how, file)

    monkeypatch.setattr(How, "decode", counted)
    sizes, values = [], []
    for views, readable in infer._batches(bundle_at(tmp_path), files):
        sizes.append(len(readable))
        values += views[:, 0, 0, 0, 0].tolist()
        assert len(opened) <= len(values) + 4
    assert sizes == [4, 4, 4, 4, 4, 1]
    assert values == list(range(21))
