"""One error, one line, one fix, exit status 2 (law 8)."""

from collections.abc import Callable
from pathlib import Path

import pytest

from supcon.errors import UserError
from tests.conftest import run_command, run_stage


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_bad_input_is_one_line_on_stderr_and_exit_status_two(root: Path) -> None:
    (root / "input" / "train" / "a000.png").unlink()
    result = run_command("make_folds", root)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: train.csv: the id 'a000' has no image below")
    assert not (root / "folds").exists()


BREAKS: list[tuple[str, Callable[[Path], object], str]] = [
    ("no sample", lambda f: (f / "sample_submission.csv").unlink(), "sample_submission.csv is missing"),
    ("empty label", lambda f: replace(f / "train.csv", "a003,red", "a003,"), r"row 5 \(a003\) has no label"),
    ("no label column", lambda f: replace(f / "train.csv", "id,label", "id,kind"), "name one with --data.label_column"),
    ("no id column", lambda f: replace(f / "train.csv", "id,label", "image,label"), "has no column 'id'"),
    ("row twice", lambda f: replace(f / "train.csv", "a003,", "a004,"), "the id 'a004' stands in two rows"),
    ("test image gone", lambda f: (f / "test" / "b001.png").unlink(), "the id 'b001' has no image"),
    ("one class", lambda f: (f / "train.csv").write_text("id,label\na000,x\n"), "a single class"),
    ("three columns", lambda f: replace(f / "sample_submission.csv", "id,label", "id,a,b"), "needed are two"),
    ("rare class", lambda f: replace(f / "train.csv", "a000,red", "a000,rare"), "class 'rare' has 1 training row,"),
]


@pytest.mark.parametrize(("name", "break_it", "said"), BREAKS, ids=[name for name, _, _ in BREAKS])
def test_bad_files_are_named_with_the_cure(
    root: Path, name: str, break_it: Callable[[Path], object], said: str
) -> None:
    break_it(root / "input")
    with pytest.raises(UserError, match=said):
        run_stage("make_folds", root)


def test_a_damaged_image_is_named_and_leaves_no_cache(root: Path) -> None:
    run_stage("make_folds", root)
    image = root / "input" / "train" / "a007.png"
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(UserError, match=r"a007\.png is not a readable image"):
        run_stage("pretrain", root)
    assert not list((root / "cache").glob("images-*"))


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--pretrain.temperatur=0.1", "--pretrain.temperatur"),
        ("--pretrain.epochs=many", "pretrain.epochs"),
        ("--pretrain.temperature=0", "out of bounds"),
        ("--data.fit=stretch", "data.fit"),
        ("--fold=7", "folds are 0 to 2"),
        ("--data.folds=4", "use another --root"),
        ("--model.encoder=resnet_of_dreams", "no such model"),
        ("--model.weights=/nowhere.safetensors", "/nowhere.safetensors"),
        ("--pretrain.micro_batch=1", "micro_batch of 1"),
        ("--pretrain.form=out --pretrain.epsilon=0.5", "belongs to the forms eps_infonce and eps_supcon"),
        ("--pretrain.form=in --pretrain.prototypes=true", "belongs to the form balanced"),
        ("--pretrain.form=balanced --pretrain.prototypes=true --pretrain.memory=9", "goes without --pretrain.memory"),
        ("--predict.prototypes=false --predict.prototype_weight=0.5", "needs the class means"),
        ("--pretrain.form=balanced --pretrain.hardness=1", "balanced takes no hardness"),
        ("--finetune.micro_batch=8 --finetune.mode=linear --finetune.contrastive_weight=0", "no encoder to train"),
        ("--run=../x", "not a folder name"),
        ("--machine.device=abacus", "--machine.device abacus"),
    ],
)
def test_settings_that_do_not_fit_are_named(root: Path, flag: str, said: str) -> None:
    run_stage("make_folds", root)
    with pytest.raises(UserError, match=said):
        run_stage("pretrain", root, *flag.split())


def test_a_stage_without_its_forerunner_names_the_command(root: Path) -> None:
    with pytest.raises(UserError, match=r"run `python src/make_folds\.py` first"):
        run_stage("pretrain", root)
    run_stage("make_folds", root)
    with pytest.raises(UserError, match=r"run `python src/pretrain\.py --fold 1` first"):
        run_stage("finetune", root, "--fold=1")
    with pytest.raises(UserError, match=r"pretrain fold 0 .* is not done"):
        run_stage("ensemble", root)


def test_an_unknown_setting_in_a_config_names_the_file(root: Path) -> None:
    import make_folds

    config = root / "mine.yaml"
    config.write_text("pretrain:\n  temprature: 0.2\n")
    with pytest.raises(UserError, match=r"mine\.yaml: unknown setting 'pretrain\.temprature'"):
        make_folds.main(["--root", str(root), "--config", str(config)])
    config.write_text("pretrain:\n  views: several\n")
    with pytest.raises(UserError, match=r"mine\.yaml.*pretrain\.views"):
        make_folds.main(["--root", str(root), "--config", str(config)])


def test_a_non_finite_loss_stops_with_advice(root: Path) -> None:
    run_stage("make_folds", root)
    with pytest.raises(UserError, match=r"pretrain fold 0: the loss is .* at epoch \d, step \d.*lower --pretrain\.lr"):
        run_stage("pretrain", root, "--fold=0", "--pretrain.lr=1000", "--pretrain.clip=0", "--pretrain.epochs=30")
