"""The doctor says what was understood, what is wrong, and how long it takes; a time budget becomes epochs."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from supcon.errors import UserError
from tests.conftest import REPOSITORY, TINY, copied_root, run_stage


def page(text: str) -> dict[str, str]:
    """Return what a page says, by the first word of its lines."""
    return {line[:12].strip(): line[12:] for line in text.splitlines()}


def test_a_page_says_what_was_understood(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "input" / "notes").mkdir()
    shutil.copy(root / "input" / "train" / "a000.png", root / "input" / "notes" / "extra.png")
    shutil.copy(root / "input" / "train" / "a000.png", root / "input" / "train" / "a031.png")  # red, now NA too
    shutil.copy(root / "input" / "train" / "a001.png", root / "input" / "test" / "b007.png")
    run_stage("doctor", root, "--quick")
    said = page(capsys.readouterr().out)
    assert said["rows"] == "60 to train on, 12 to predict"
    assert said["classes"] == "3, the largest 3.0 times the smallest: red 30, NA 20, 001 10"
    assert said["images"] == "72 PNG; 20 x 18 to 20 x 18 pixels, the median 20 x 18"
    assert said["unreadable"] == "none"
    assert said["not used"] == "1: notes/extra.png"
    assert "1 training images are copies of others" in said["copies"]
    assert "first train/a000.png (red) and train/a031.png (NA): one of the two is wrong" in said["copies"]
    assert "1 test images are copies of training images, first train/a001.png (red) and test/b007.png" in said["copies"]
    assert said["submission"] == "sample_submission.csv: id, then a label; scored by macro_f1"
    assert "time" not in said
    assert not (root / "folds").exists()
    assert not (root / "runs").exists()


def test_a_page_names_the_built_in_competition(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "input"
    run_stage("doctor", tmp_path, "--quick", "--data.builtin=longtail50")
    first = capsys.readouterr().out
    assert f"{folder} was empty: it now holds the built-in competition longtail50\n" in first
    run_stage("doctor", tmp_path, "--quick")
    said = page(capsys.readouterr().out)
    assert said["input"] == f"{folder}, the built-in competition longtail50"
    assert said["classes"].startswith("10, the largest 50.0 times the smallest: 0 300, ")


def test_unreadable_images_stop_it_or_are_listed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "input" / "train" / "a003.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"1 image cannot be read: .*a003\.png"):
        run_stage("doctor", root, "--quick")
    run_stage("doctor", root, "--quick", "--data.bad_images=skip")
    assert page(capsys.readouterr().out)["unreadable"].startswith("1: train/a003.png (")


PATCHES = ("--model.encoder=vit_tiny_patch16_224", '--model.kwargs={"depth": 1}')


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((*PATCHES, "--data.image_size=100"), r"^--data\.image_size 100: vit_.*: use 96 or 112, as its patches are 16"),
        ((*PATCHES, "--data.image_size=48", "--data.test_size=40"), r"^--data\.test_size 40: vit_.*: use 32 or 48"),
        (
            ("--model.encoder=vgg11", "--data.image_size=48", "--train.first_size=16"),
            r"^--train\.first_size 16: vgg11 .*: images grow to 48 in steps of 16: use 0",
        ),
        (('--model.kwargs={"no_such": 1}',), r"^--model\.kwargs .*: timm's test_resnet refuses it \(.*'no_such'\)"),
        (("--model.encoder=resnet10",), r"^--model\.encoder resnet10: timm has no such model, but resnet10t"),
        (("--model.pretrained=true", "--model.weights=/nowhere.pth"), r"^--model\.weights /nowhere\.pth: no such file"),
        (("--model.pretrained=true", f"--model.weights={__file__}"), r"test_doctor\.py is damaged, or no file of PyT"),
    ],
)
def test_an_encoder_that_cannot_be_is_refused_before_images_are_decoded(
    root: Path, flags: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run_stage("doctor", root, "--quick", *flags)
    assert not (root / "cache").exists()
    assert not (root / "runs").exists()


def test_an_encoder_that_has_learned_is_not_tried_again(finished: Path, tmp_path: Path) -> None:
    root = copied_root(finished, tmp_path / "root")

    def imports_torch(*flags: str) -> bool:
        config = ["--root", str(root), "--config", "configs/cross_entropy.yaml", "--quick"]
        code = (
            "import sys; sys.path.insert(0, 'src'); from supcon.commands import doctor;"
            f"doctor.main({[*config, *TINY, *flags]!r}); print('torch' in sys.modules)"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert ("encoder     test_resnet, images of 16 pixels" in done.stdout) == done.stdout.endswith("True\n")
        return done.stdout.endswith("True\n")

    assert not imports_torch()
    assert imports_torch("--force")
    assert imports_torch("--run=another")
    (root / "runs" / "cross_entropy" / "fold1" / "pretrain.done.json").unlink()
    assert imports_torch()


def test_alone_it_times_the_stages(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_stage("doctor", root)
    said = page(capsys.readouterr().out)["time"]
    assert said.startswith("a fold: 2 x ")
    assert " of pretrain, 16 x " in said
    assert "all 3 folds about" in said
    assert not (root / "runs").exists()


def test_a_time_budget_becomes_epochs_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["--run=short", "--time_budget=20s", "--quick"]
    with pytest.raises(UserError, match="--time_budget chooses the epochs: leave out --pretrain.epochs"):
        run_stage("doctor", root, *run)
    import pretrain
    from supcon.commands import doctor

    flags = ["--root", str(root), "--config", str(config(root)), *run]
    run_stage("make_folds", root)
    with pytest.raises(UserError, match=r"--time_budget 20s has no epochs yet: `\./run\.sh doctor`"):
        pretrain.main([flag for flag in flags if flag != "--quick"])
    doctor.main(flags)
    first = page(capsys.readouterr().out)
    written = yaml.safe_load((root / "runs" / "short" / "resolved.yaml").read_text())["settings"]
    epochs = written["pretrain"]["epochs"], written["finetune"]["epochs"]
    assert first["epochs"].startswith(f"{epochs[0]} of pretrain, {epochs[1]} of finetune: what fits 20 s")
    assert epochs != (2, 16)
    doctor.main(flags)
    assert page(capsys.readouterr().out)["epochs"].endswith("as chosen when run short began")
    assert yaml.safe_load((root / "runs" / "short" / "resolved.yaml").read_text())["settings"] == written


def config(root: Path) -> Path:
    """Write the tiny settings as a config: a budget takes no epochs as flags."""
    path = root / "tiny.yaml"
    path.write_text(yaml.safe_dump({
        "data": {"folds": 3, "image_size": 16, "fit": "squash"},
        "model": {"encoder": "test_resnet", "pretrained": False},
        "batches": {"classes_per_batch": 3, "images_per_class": 4},
        "pretrain": {"epochs": 2},
        "finetune": {"epochs": 16, "batch_size": 24},
        "predict": {"views": 2},
        "machine": {"workers": 0, "threads": 1},
    }))  # fmt: skip
    return path
