"""One error, one line, one fix, exit status 2 (law 8)."""

import resource
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from supcon.errors import UserError
from supcon.settings.settings import ModelSettings
from supcon.training.model.encoder import Encoder
from supcon.training.model.weights import save_weights
from tests.conftest import TINY, copied_root, run_all, run_command, run_stage, write_competition


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
    assert result.stderr.startswith("error: train.csv: 1 of 60 rows have no image, first the id 'a000' below")
    assert not (root / "folds").exists()


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root whose rows have their folds; tests must not change it."""
    folder = tmp_path_factory.mktemp("split")
    write_competition(folder / "input", ["red"] * 30 + ["NA"] * 20 + ["001"] * 10)
    run_stage("make_folds", folder)
    return folder


def no_images(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        path.unlink()


def write(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / f"{name}.csv").write_bytes(content)


def change(name: str, old: str, new: str) -> Callable[[Path], object]:
    return lambda folder: replace(folder / f"{name}.csv", old, new)


SAMPLE, TRAIN = "sample_submission", "train"
BREAKS: list[tuple[str, Callable[[Path], object], str]] = [
    ("no sample", lambda f: (f / "sample_submission.csv").unlink(), "sample_submission.csv is missing: put the host's"),
    ("no images", no_images, "has no images: put the host's image folders"),
    ("no tables", lambda f: (f / "train.csv").unlink(), "has neither train.csv nor one folder a class"),
    ("empty label", change(TRAIN, "a003,red", "a003,"), r"row 5 \('a003'\) has no label"),
    ("no labels", write(TRAIN, b"id\na000\na001\n"), r"no single column .*with --data\.label_column"),
    ("two labels", change(TRAIN, "id,label", "id,kind,kin"), "line 2 has 2 cells, its header has 3: mend that line"),
    (
        "ambiguous label",
        write(TRAIN, b"id,kind,colour\na000,x,y\na001,y,x\n"),
        r"name one of \['kind', 'colour'\] with --data\.label_column",
    ),
    ("no id column", write(TRAIN, b"row,label\n1,red\n2,NA\n"), r"has no column 'id', .*--data\.id_column"),
    ("row twice", change(TRAIN, "a003,", "a004,"), r"the id 'a004' stands in two rows \(1 such\): delete one"),
    ("row twice, other label", change(TRAIN, "a003,red", "a059,red"), "the id 'a059' stands in two rows"),
    ("unknown id", change(SAMPLE, "b001", "b999"), r"1 of 12 .* 'b999'; test/b001\.png has no row \(1 such"),
    ("test row twice", change(SAMPLE, "b001", "b002"), "sample_submission.csv: the id 'b002' stands in two rows"),
    ("test row missing", change(SAMPLE, "b001,001\n", ""), "has no row for test/b001.png"),
    ("extra columns", change(SAMPLE, "id,label", "id,label,score"), "line 2 has 2 cells, its header has 3"),
    ("extra column", write(SAMPLE, b"id,label,score\nb000,red,1\n"), "needed are one column a"),
    ("test image gone", lambda f: (f / "test" / "b001.png").unlink(), "have no image, first the id 'b001'"),
    ("one class", write(TRAIN, b"id,label\na000,x\n"), "all training rows are of one class"),
    ("one column", write(SAMPLE, b"id\nb000\n"), "needed are an id column and what to submit"),
    ("ragged", change(TRAIN, "a003,red", "a003,red,9"), "line 5 has 3 cells, its header has 2"),
    ("rubbish", write(TRAIN, bytes(range(128, 256)) * 9), "train.csv is not utf-8 text"),
    ("no rows", write(TRAIN, b"id,label\n"), "train.csv has a header and no rows"),
    ("empty file", write(SAMPLE, b""), "sample_submission.csv is empty"),
    (
        "rare class",
        change(TRAIN, "a000,red", "a000,rare"),
        "class 'rare' has 1 training row, .*rare_classes train_only",
    ),
    ("not a zip", lambda f: (f / "data.zip").write_bytes(b"PK rubbish"), "data.zip is not a whole zip file"),
]


@pytest.mark.parametrize(("name", "break_it", "said"), BREAKS, ids=[name for name, _, _ in BREAKS])
def test_bad_files_are_named_with_the_cure(
    root: Path, name: str, break_it: Callable[[Path], object], said: str
) -> None:
    break_it(root / "input")
    with pytest.raises(UserError, match=said) as raised:
        run_stage("make_folds", root)
    assert "\n" not in str(raised.value)
    assert not (root / "folds").exists()


def encode(path: Path, encoding: str) -> None:
    path.write_bytes(path.read_text().encode(encoding))


READS: list[tuple[str, Callable[[Path], object]]] = [
    ("utf-16", lambda path: encode(path, "utf-16")),
    ("a byte order mark", lambda path: encode(path, "utf-8-sig")),
    ("semicolons", lambda path: path.write_text(path.read_text().replace(",", ";"))),
    ("crlf", lambda path: path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))),
]


@pytest.mark.parametrize(("name", "rewrite"), READS, ids=[name for name, _ in READS])
def test_tables_written_elsewhere_are_read(root: Path, name: str, rewrite: Callable[[Path], object]) -> None:
    for table in ("train", "sample_submission"):
        rewrite(root / "input" / f"{table}.csv")
    run_stage("make_folds", root)
    assert len((root / "folds" / "folds.csv").read_text().splitlines()) == 61


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(root: Path) -> None:
    def fill() -> None:  # files may not grow past a few kilobytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

    run_stage("make_folds", root)
    result = run_command("pretrain", root, "--fold", "0", preexec_fn=fill)
    assert result.returncode == 2, result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "could not be written" in result.stderr
    assert "Traceback" not in result.stderr
    left = [path.name for path in (root / "runs").rglob("*") if path.suffix in (".tmp", ".safetensors", ".pt")]
    assert not left
    run_stage("pretrain", root, "--fold", "0")  # and it goes on when there is room


def test_a_folder_that_cannot_be_written_is_named(root: Path) -> None:
    (root / "folds").write_text("a file where the folder belongs")
    with pytest.raises(UserError, match=r"folds.*(could not be written|cannot be read)"):
        run_stage("make_folds", root)


def test_weights_of_another_network_are_refused(root: Path, tmp_path: Path) -> None:
    run_stage("make_folds", root)
    path = tmp_path / "encoder.safetensors"
    save_weights(path, encoder=Encoder(ModelSettings("test_vit", pretrained=False), 32, load_weights=False))
    with pytest.raises(UserError, match=r"encoder\.safetensors does not fit test_resnet, 0 of whose .*encoder\.b"):
        run_stage("pretrain", root, f"--model.weights={path}", "--model.pretrained=true")


def test_a_negative_epoch_and_a_wrong_type_in_a_config_are_named(root: Path) -> None:
    import make_folds

    config = root / "mine.yaml"
    for text, said in (("epochs: -1", r"finetune\.epochs -1 is out of bounds"), ("epochs: ten", r"finetune\.epochs")):
        config.write_text(f"finetune:\n  {text}\n")
        with pytest.raises(UserError, match=said):
            make_folds.main(["--root", str(root), "--config", str(config)])


def test_a_damaged_image_is_named_and_can_be_left_out(root: Path) -> None:
    run_stage("make_folds", root)
    image = root / "input" / "train" / "a007.png"
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(
        UserError, match=r"1 image cannot be read: .*a007\.png .*leave them out with --data\.bad_images"
    ):
        run_stage("pretrain", root)
    with pytest.raises(UserError, match=r"a007\.png cannot be read .*, but had a fold: empty its fold"):
        run_stage("pretrain", root, "--data.bad_images=skip")
    (root / "folds" / "folds.csv").unlink()
    run_stage("make_folds", root, "--data.bad_images=skip")
    assert "a007,red,," in (root / "folds" / "folds.csv").read_text()
    run_stage("pretrain", root, "--data.bad_images=skip", "--fold=0", "--run=other")


def test_test_rows_that_cannot_be_read_get_the_class_shares(root: Path) -> None:
    flags = ["--data.bad_images=skip", "--pretrain.epochs=1", "--finetune.epochs=1", "--pretrain.use_test=true"]
    (root / "input" / "test" / "b004.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"b004\.png \(empty file\)"):
        run_stage("make_folds", root)
    run_all(root, *flags)
    row = pd.read_csv(root / "runs" / "cross_entropy" / "test.csv", index_col="id").loc["b004"]
    shares = {"001": 10 / 60, "NA": 20 / 60, "red": 30 / 60}
    assert all(abs(row[name] - share) < 0.02 for name, share in shares.items())
    assert len((root / "submissions" / "submission.csv").read_text().splitlines()) == 13


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--pretrain.temperatur=0.1", "--pretrain.temperatur"),
        ("--pretrain.epochs=many", "pretrain.epochs"),
        ("--contrast.temperature=0", "out of bounds"),
        ("--data.fit=stretch", "data.fit"),
        ("--fold=7", "folds are 0 to 2, and full"),
        ("--data.folds=4", "use another --root"),
        ("--model.encoder=resnet_of_dreams", "no such model"),
        ("--model.weights=/nowhere.safetensors", "not read with --model.pretrained false"),
        ("--model.weights=/nowhere.safetensors --model.pretrained=true", "/nowhere.safetensors"),
        ("--pretrain.micro_batch=1", "micro_batch of 1"),
        ("--contrast.form=out --contrast.epsilon=0.5", "belongs to the forms eps_infonce and eps_supcon"),
        ("--contrast.form=in --contrast.prototypes=true", "belongs to the form balanced"),
        ("--contrast.form=balanced --contrast.prototypes=true --pretrain.memory=9", "goes without --pretrain.memory"),
        ("--pretrain.epochs=0 --pretrain.memory=9", "--pretrain.memory joins pre-training alone.*--pretrain.memory 0"),
        ("--pretrain.epochs=0 --pretrain.use_test=true", "use_test joins pre-training alone.*use_test false"),
        ("--predict.class_means=false --predict.class_mean_weight=0.5", "needs the class means"),
        ("--contrast.form=balanced --contrast.hardness=1", "balanced takes no hardness"),
        ("--batches.classes_per_batch=1", "--batches.classes_per_batch 1 leaves no negatives.*--pretrain.memory"),
        ("--batches.classes_per_batch=1 --pretrain.memory=9 --finetune.batches=pk", "batches pk no negatives"),
        ("--finetune.micro_batch=8 --finetune.mode=linear --finetune.contrastive_weight=0", "no encoder to train"),
        ("--run=../x", "not a folder name"),
        ("--machine.device=abacus", "--machine.device abacus"),
    ],
)
def test_settings_that_do_not_fit_are_named(split: Path, tmp_path: Path, flag: str, said: str) -> None:
    root = shutil.copytree(split, tmp_path / "root")
    with pytest.raises(UserError, match=said):
        run_stage("pretrain", root, *flag.split())


def test_a_stage_without_its_forerunner_names_the_command(root: Path) -> None:
    with pytest.raises(UserError, match=r"run `python src/make_folds\.py --root .*` first"):
        run_stage("pretrain", root)
    run_stage("make_folds", root)
    with pytest.raises(UserError, match=r"run `python src/pretrain\.py --root .* --config .* --fold 1` first"):
        run_stage("finetune", root, "--fold=1")
    with pytest.raises(UserError, match=r"pretrain fold 0 .* is not done"):
        run_stage("ensemble", root)


def test_the_named_command_typed_as_told_works_on_the_same_run(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import finetune
    import make_folds
    import pretrain

    (tmp_path / "own input").mkdir()
    shutil.copytree(root / "input", tmp_path / "own input" / "input")
    lines = [f"{key.removeprefix('--')}: {value}" for key, value in (flag.split("=") for flag in TINY)]
    (tmp_path / "my config.yaml").write_text("\n".join(lines))
    given = ["--root", "own input", "--config", "my config.yaml", "--run", "first try"]
    monkeypatch.chdir(tmp_path)
    mains = {"make_folds": make_folds.main, "pretrain": pretrain.main}
    for name, main in mains.items():
        with pytest.raises(UserError, match="first$") as refused:
            finetune.main([*given, "--fold=0"])
        told = shlex.split(str(refused.value).split("`")[1])
        assert told[:4] == ["python", f"src/{name}.py", "--root", str(tmp_path / "own input")]
        main(told[2:])
    assert (tmp_path / "own input" / "runs" / "first try" / "fold0" / "encoder.safetensors").exists()
    assert not (tmp_path / "own input" / "runs" / "my config").exists()


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


def test_a_setting_that_had_no_effect_before_is_shown_with_its_default(finished: Path, tmp_path: Path) -> None:
    root = copied_root(finished, tmp_path / "root")
    with pytest.raises(UserError, match=r"was made otherwise: tune\.members \[\] -> \['class_means'\];"):
        run_stage("tune", root, "--tune.members=[class_means]")
