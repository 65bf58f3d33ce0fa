"""The built-in competitions."""

import gzip
import hashlib
from pathlib import Path
from typing import get_args, get_type_hints

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from supcon.competition import builtin
from supcon.competition.builtin import CLOTHES, fill_empty, long_tail, read_idx, write_builtin
from supcon.competition.submission import read_solution
from supcon.errors import UserError
from supcon.run.stage import fingerprint
from supcon.run.stages import STAGES
from supcon.settings import parse
from supcon.settings.settings import DataSettings
from supcon.settings.sources import builtin_in
from supcon.storage.tables import read_table
from tests.competition.conftest import Read
from tests.conftest import run_stage

NAMES = [name for name in get_args(get_type_hints(DataSettings)["builtin"]) if name != "auto"]
PACKAGED = builtin.FASHION.is_dir()
DIGITS = "9e094a12624b0cb3f1fb02a7bf1999cf1fecc7d2a9355794a5c3772cfa57d5ac"  # of version 0.1.0
EACH = 1300  # images a class in the stand-in for Fashion-MNIST
Array = npt.NDArray[np.uint8]


def write_idx(path: Path, array: Array) -> None:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + array.tobytes(), 1))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the folder of Fashion-MNIST: an image begins with its label, its part and its number."""
    folder = tmp_path / "package"
    folder.mkdir()
    for mark, part in enumerate(("train", "t10k")):
        labels = np.arange(10 * EACH) % 10
        images = np.zeros((len(labels), 28, 28), np.uint8)
        images[:, 0, :4] = np.stack([labels, np.full_like(labels, mark), *np.divmod(np.arange(len(labels)), 256)], 1)
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels.astype(np.uint8))
    monkeypatch.setattr(builtin, "FASHION", folder)
    return folder


def images_of(folder: Path, part: str) -> list[Array]:
    """Return the images of a part in the order of their ids."""
    return [
        np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), np.uint8) for path in sorted((folder / part).iterdir())
    ]


def sizes_of(folder: Path) -> list[list[int]]:
    """Return the sizes of the classes of train and test, the largest first."""
    tables = (read_table(folder / name) for name in ("train.csv", "solution.csv"))
    return [table["label"].value_counts().tolist() for table in tables]


def assert_no_image_comes_twice(folder: Path) -> None:
    images = [image.tobytes() for part in ("train", "test") for image in images_of(folder, part)]
    assert len(set(images)) == len(images)


@pytest.mark.parametrize(("name", "smallest"), [("digits", 90), ("longtail50", 9)])
def test_the_digits_are_long_tailed_and_split_by_thirds(folder: Path, read: Read, name: str, smallest: int) -> None:
    (folder / ".gitkeep").touch()
    write_builtin(folder, name)
    competition = read(builtin=name)
    sizes = np.rint(450 * (smallest / 450) ** (np.arange(10) / 9)).astype(int).tolist()
    train, test = competition.train["label"], read_solution(folder, competition)
    assert test is not None
    assert train.value_counts().sort_index().tolist() == [round(size * 2 / 3) for size in sizes]
    assert test.value_counts().sort_index().tolist() == [size - round(size * 2 / 3) for size in sizes]
    assert set(competition.train["id"]).isdisjoint(competition.test["id"])
    assert_no_image_comes_twice(folder)
    assert (folder / ".gitkeep").exists()
    assert not list(folder.parent.glob(".input*"))


def test_the_digits_are_those_of_every_version(folder: Path) -> None:
    write_builtin(folder, "digits")
    tables = [(folder / name).read_bytes() for name in ("train.csv", "solution.csv")]
    pixels = [image.tobytes() for part in ("train", "test") for image in images_of(folder, part)]
    assert hashlib.sha256(b"".join(tables + pixels)).hexdigest() == DIGITS


def test_clothes_are_drawn_of_the_like_part_with_their_labels(folder: Path, read: Read, package: Path) -> None:
    write_builtin(folder, "fashion")
    competition = read(builtin="fashion")
    solution = read_solution(folder, competition)
    assert solution is not None
    for mark, (part, labels) in enumerate({"train": competition.train["label"], "test": solution}.items()):
        total = (4000, 2000)[mark]
        assert len(labels) == total
        shares = 20.0 ** -(np.arange(10) / 9)
        counts = labels.value_counts()[CLOTHES].to_numpy()
        assert np.abs(counts - total * shares / shares.sum()).max() <= 1  # both ends of a class are rounded
        images = images_of(folder, part)
        assert [image[0, :2].tolist() for image in images] == [[CLOTHES.index(label), mark] for label in labels]
    assert_no_image_comes_twice(folder)


@pytest.mark.skipif(not PACKAGED, reason="Fashion-MNIST is not installed: apt install dataset-fashion-mnist")
def test_fashion_mnist_itself_is_long_tailed_alike_in_train_and_test(folder: Path) -> None:
    write_builtin(folder, "fashion")
    assert sizes_of(folder) == [sorted(long_tail(total, 20), reverse=True) for total in (4000, 2000)]
    assert_no_image_comes_twice(folder)


@pytest.mark.parametrize("name", NAMES)
def test_a_built_in_competition_has_the_same_bytes_wherever_it_is_written(
    tmp_path: Path, name: str, package: Path
) -> None:
    for place in ("here", "there"):
        write_builtin(tmp_path / place, name)
    here = {path.relative_to(tmp_path / "here"): path for path in (tmp_path / "here").rglob("*") if path.is_file()}
    assert len(here) > 1000
    assert all(path.read_bytes() == (tmp_path / "there" / relative).read_bytes() for relative, path in here.items())
    assert len(here) == sum(path.is_file() for path in (tmp_path / "there").rglob("*"))


def test_input_remembers_which_one_it_holds_until_it_holds_other_files(folder: Path) -> None:
    write_builtin(folder, "longtail50")
    assert builtin_in(folder) == "longtail50"
    mark = folder / ".builtin"
    mark.write_text(mark.read_text().replace(" longtail50", ""))  # as version 0.1.0 marked its digits
    assert builtin_in(folder) == "digits"
    (folder / "train.csv").write_text("id,label\n")  # the user's own files, beside a mark that outlived the old ones
    assert builtin_in(folder) == ""


def test_an_empty_input_gets_the_digits_unless_another_is_asked_for(tmp_path: Path) -> None:
    fill_empty(tmp_path / "input", "auto")
    assert builtin_in(tmp_path / "input") == "digits"
    fill_empty(tmp_path / "input", "longtail50")  # which is not empty any more
    assert builtin_in(tmp_path / "input") == "digits"


def test_a_root_keeps_what_it_holds_and_another_one_asked_for_is_refused(tmp_path: Path) -> None:
    run_stage("make_folds", tmp_path, "--data.builtin=longtail50")
    for flags in ([], ["--data.builtin=auto"], ["--data.builtin=longtail50"]):
        run_stage("make_folds", tmp_path, *flags)
    for page in ("doctor", "make_folds", "finetune"):
        with pytest.raises(UserError, match=r"builtin digits: \S+input holds the built-in competition longtail50: use"):
            run_stage(page, tmp_path, "--data.builtin=digits")


def test_files_of_a_host_are_left_alone(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (root / "input").rglob("*")}
    with pytest.raises(UserError, match=r"--data\.builtin digits: \S+input holds a host's files: use another --root"):
        run_stage("make_folds", root, "--data.builtin=digits")
    run_stage("make_folds", root)
    assert {path: path.stat().st_mtime_ns for path in (root / "input").rglob("*")} == before


def test_the_name_of_the_competition_is_in_no_fingerprint(tmp_path: Path) -> None:
    request = parse("", ["--root", str(tmp_path), "--data.builtin=longtail50"])
    assert not [stage.name for stage in STAGES if "data.builtin" in fingerprint(stage, request, {})]


def test_without_the_package_fashion_is_an_error_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "FASHION", tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"nowhere.* is missing.*: `apt install dataset-fashion-mnist`"):
        run_stage("make_folds", tmp_path, "--data.builtin=fashion")
    assert not (tmp_path / "input").exists()
    assert not list(tmp_path.glob(".input*"))


@pytest.mark.parametrize(
    "damage", ["cut", "noise", "no gzip", "shape", "kind", "labels", "few images", "few of a class"]
)
def test_a_damaged_file_of_the_package_is_one_line_and_leaves_nothing(
    tmp_path: Path, package: Path, damage: str
) -> None:
    path = package / "t10k-images-idx3-ubyte.gz"
    content, plain = path.read_bytes(), gzip.decompress(path.read_bytes())
    damaged = {
        "cut": content[: len(content) // 2],
        "noise": content[:100] + bytes(100) + content[200:],
        "no gzip": plain,
        "shape": gzip.compress(plain[:-1], 1),
        "kind": gzip.compress(b"\0\0\x0d" + plain[3:], 1),
        "labels": (package / "t10k-labels-idx1-ubyte.gz").read_bytes(),
    }
    if damage == "few images":
        write_idx(path, read_idx(path, 3)[:100])
    elif damage == "few of a class":
        write_idx(package / "t10k-labels-idx1-ubyte.gz", np.zeros(10 * EACH, np.uint8))
    else:
        path.write_bytes(damaged[damage])
    with pytest.raises(UserError, match=r"`apt install --reinstall dataset-fashion-mnist`") as raised:
        fill_empty(tmp_path / "input", "fashion")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "input").exists()


def test_a_link_to_an_empty_folder_is_not_filled(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "input").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link or a mount and empty"):
        write_builtin(tmp_path / "input", "digits")
    assert not list((tmp_path / "elsewhere").iterdir())
