"""Defaults < config < the run's own settings < flags; every setting is documented."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from supcon.errors import UserError
from supcon.run.stage import write_resolved
from supcon.settings import FULL, parse
from supcon.settings.bounds import bounds_of
from supcon.settings.settings import Settings
from supcon.settings.sources import RENAMED, mark_builtin
from tests.conftest import REPOSITORY


def call_of(root: Path, *flags: str, config: str = "configs/default.yaml") -> Settings:
    return parse("", ["--root", str(root), "--config", str(REPOSITORY / config), *flags]).settings


def numbers() -> list[str]:
    settings = dataclasses.asdict(Settings())
    return [
        f"{section}.{key}"
        for section, values in settings.items()
        if isinstance(values, dict)
        for key, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]


def test_flags_win_over_the_config_and_the_config_over_defaults(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("finetune:\n  epochs: 7\n  lr: 0.5\n")
    settings = parse("", ["--root", str(tmp_path), "--config", str(config), "--finetune.lr", "0.25"]).settings
    assert (settings.finetune.epochs, settings.finetune.lr) == (7, 0.25)
    assert settings.finetune.batch_size == Settings().finetune.batch_size


def test_the_run_is_named_by_its_config_and_folds_are_sorted(tmp_path: Path) -> None:
    argv = ["--root", str(tmp_path), "--config", str(REPOSITORY / "configs/smoke.yaml"), "--fold", "3", "1", "3"]
    request = parse("", argv, per_fold=True)
    assert (request.run, request.folds, request.run_folder) == ("smoke", [1, 3], tmp_path / "runs" / "smoke")
    request = parse("", [*argv, "--fold", "full", "2", "full"], per_fold=True)
    assert request.folds == [2, FULL]
    assert [request.fold_folder(fold).name for fold in request.folds] == ["fold2", "full"]


def test_without_a_config_a_built_in_competition_gets_demo_and_any_other_default(tmp_path: Path) -> None:
    assert parse("", ["--root", str(tmp_path)]).config == "demo"
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / ".gitkeep").touch()
    assert parse("", ["--root", str(tmp_path)]).config == "demo"
    (tmp_path / "input" / "train.csv").touch()
    assert parse("", ["--root", str(tmp_path)]).config == "default"
    for name in ("digits", "longtail50", "fashion"):
        mark_builtin(tmp_path / "input", name)
        assert parse("", ["--root", str(tmp_path)]).config == "demo"


def test_a_config_is_found_in_the_repository_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse("", ["--root", ".", "--config", "configs/smoke.yaml"]).root == tmp_path
    with pytest.raises(UserError, match=r"configs/nope\.yaml: no such file.*configs/demo\.yaml"):
        parse("", ["--config", "configs/nope.yaml"])


def test_what_the_user_edits_in_a_config_after_the_run_began_counts(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("finetune:\n  lr: 0.5\n  epochs: 7\n")
    argv = ["--root", str(tmp_path), "--config", str(config)]
    write_resolved(parse("", [*argv, "--finetune.epochs=9"]))
    assert parse("", argv).settings.finetune.epochs == 9  # as the run began
    config.write_text("finetune:\n  lr: 1e-1\n  epochs: 7\n")  # which YAML takes for a string
    edited = parse("", argv).settings.finetune
    assert (edited.lr, edited.epochs) == (0.1, 9)


def test_a_run_called_by_its_name_alone_keeps_its_own_settings(tmp_path: Path) -> None:
    config = str(REPOSITORY / "configs/cross_entropy.yaml")
    began = parse("", ["--root", str(tmp_path), "--config", config, "--run", "ce", "--finetune.epochs=3"])
    write_resolved(began)
    later = parse("", ["--root", str(tmp_path), "--run", "ce"])
    assert later.settings == began.settings
    assert (later.config, later.config_settings) == ("cross_entropy", began.config_settings)


def test_a_command_on_a_finished_run_takes_the_only_one_there_is(tmp_path: Path) -> None:
    def taken(*words: str, finished: bool = True) -> str:
        return parse("", ["--root", str(tmp_path), *words], finished=finished).run

    assert taken() == "demo"  # the config's name, which an error then says
    for name in ("mine", "other"):
        write_resolved(parse("", ["--root", str(tmp_path), "--run", name, "--data.folds=3"]))
        assert taken() == ("mine" if name == "mine" else "demo")
        assert taken(finished=False) == taken("--config", "configs/demo.yaml") == "demo"
    assert taken("--run", "other") == "other"


@pytest.mark.parametrize("began", ["{}", "{train: {seed: 3}}"])
def test_a_run_that_began_before_a_setting_of_training_was_there_takes_its_default(tmp_path: Path, began: str) -> None:
    folder = tmp_path / "runs" / "default"
    folder.mkdir(parents=True)
    (folder / "resolved.yaml").write_text(f"config: default\nconfig_settings: {{}}\nsettings: {began}\n")
    train = call_of(tmp_path).train
    assert (train.precision, train.channels_last) == ("auto", True)


@pytest.mark.parametrize("value", ["!!int x", "!!timestamp x"])
def test_a_value_that_yaml_chokes_on_is_one_line(tmp_path: Path, value: str) -> None:
    with pytest.raises(UserError, match="the value of a setting cannot be read"):
        call_of(tmp_path, "--data", value)


def test_every_setting_is_documented_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse("What the stage does.", ["--help"], per_fold=True)
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "What the stage does." in text
    sections = {name: values for name, values in dataclasses.asdict(Settings()).items() if isinstance(values, dict)}
    assert "--time_budget" in text
    for section, values in sections.items():
        for key in values:
            _, _, after = text.partition(f"--{section}.{key} ")[2].partition(" ")
            assert f"--{section}.{key} " in text
    undocumented = text.count("(type: ") - text.count(". (type: ")
    assert undocumented <= 1  # --fold


def test_every_number_has_bounds() -> None:
    assert {*numbers(), "nproc"} == {key for key, _ in bounds_of(Settings())}


@pytest.mark.parametrize("config", sorted(path.name for path in (REPOSITORY / "configs").glob("*.yaml")))
def test_shipped_configs_are_valid_and_hold_only_what_differs(config: str, tmp_path: Path) -> None:
    call_of(tmp_path, config=f"configs/{config}")
    defaults = dataclasses.asdict(Settings())
    for section, values in yaml.safe_load((REPOSITORY / "configs" / config).read_text()).items():
        for key, value in values.items():
            assert value != defaults[section][key], f"{section}.{key} is the default"


def test_the_baseline_sees_as_many_images_as_the_default_recipe(tmp_path: Path) -> None:
    passes = []
    for name in ("default", "cross_entropy"):
        settings = call_of(tmp_path, config=f"configs/{name}.yaml")
        finetune, pretrain = settings.finetune, settings.pretrain
        passes.append(pretrain.epochs * pretrain.views + finetune.epochs * finetune.views)
        assert (settings.data, settings.augment, settings.model, settings.train, settings.predict) == (
            call_of(tmp_path).data, call_of(tmp_path).augment, call_of(tmp_path).model, call_of(tmp_path).train,
            call_of(tmp_path).predict,
        )  # fmt: skip
    assert passes[0] == passes[1]
    baseline = call_of(tmp_path, config="configs/cross_entropy.yaml")
    assert baseline.batches == call_of(tmp_path).batches
    assert baseline.pretrain.contrastive_weight == 0
    assert baseline.finetune.contrastive_weight == baseline.finetune.contrastive_weight_end == 0


@pytest.mark.parametrize("flag", ["--root", "--config", "--run", "--model.weights"])
@pytest.mark.parametrize("value", ["~nobody-of-that-name/x", "x" * 300, "x" * 5000])
def test_a_path_that_cannot_be_is_one_line(tmp_path: Path, flag: str, value: str) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(UserError, match=flag):
        parse("", ["--root", str(tmp_path), "--config", str(REPOSITORY / "configs/default.yaml"), flag, value])


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("data:\n  folds:\n", r"mine\.yaml: data\.folds has no value"),
        ("data:\n  folds: 2020-99-99\n", r"mine\.yaml is not YAML: month must be"),
        (f"data: {'[' * 3000}", r"mine\.yaml is not YAML: maximum recursion"),
        ("data:\n  folds: !!bool x\n", r"mine\.yaml is not YAML: 'x'"),
        (f"finetune:\n  lr: 1{'0' * 400}\n", r"mine\.yaml: the value of a setting cannot be read: int too large"),
        (f"data:\n  folds: {['x' * 999] * 99}\n", "Expected a whole number"),
    ],
)
def test_what_yaml_can_say_and_no_setting_can_be_is_one_short_line(tmp_path: Path, config: str, said: str) -> None:
    (tmp_path / "mine.yaml").write_text(config)
    with pytest.raises(UserError, match=said) as raised:
        parse("", ["--root", str(tmp_path), "--config", str(tmp_path / "mine.yaml")])
    assert len(str(raised.value)) < 2000


@pytest.mark.parametrize(("old", "new"), sorted(RENAMED.items()))
def test_an_old_name_is_answered_with_the_new_one(old: str, new: str, tmp_path: Path) -> None:
    section, key = old.split(".")
    (tmp_path / "mine.yaml").write_text(f"{section}:\n  {key}: 1\n")
    with pytest.raises(UserError, match=rf"mine\.yaml: {old} is called {new} now: rename it there"):
        parse("", ["--root", str(tmp_path), "--config", str(tmp_path / "mine.yaml")])
    with pytest.raises(UserError, match=rf"--{old} is called --{new} now: use that"):
        parse("", ["--root", str(tmp_path), f"--{old}=1"])


def test_bounds_are_told_by_the_help_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("", ["--help"])
    assert "How often a class comes in PK batches" in (shown := " ".join(capsys.readouterr().out.split()))
    assert "1: as often as any other (0 to 1). (type: float" in shown
    with pytest.raises(UserError, match=r"--batches\.balance 1\.5 is out of bounds: 0 to 1"):
        parse("", ["--root", str(tmp_path), "--batches.balance=1.5"])


@pytest.mark.parametrize("policy", ["randaugment", "trivialaugment", "augmix"])
def test_a_policy_is_not_made_on_the_device(tmp_path: Path, policy: str) -> None:
    assert call_of(tmp_path, f"--augment.policy={policy}").augment.policy == policy
    with pytest.raises(UserError, match=f"--augment.policy {policy} is made in loader processes: set --augment.on_dev"):
        call_of(tmp_path, f"--augment.policy={policy}", "--augment.on_device=true")


def test_texts_of_further_arguments_that_say_the_same_are_the_same_setting(tmp_path: Path) -> None:
    for text in ("", " ", "{}", " { } "):
        assert call_of(tmp_path, f"--model.kwargs={text}").model.kwargs == ""
    (tmp_path / "mine.yaml").write_text("""model: {kwargs: '{"b":[1,2],"a":{"d":1,"c":2}}'}\n""")
    said = '{"a": {"c": 2, "d": 1}, "b": [1, 2]}'
    for flags in (['--model.kwargs={ "a":{"c":2, "d":1},\t"b": [1,2]}'], ["--config", str(tmp_path / "mine.yaml")]):
        assert parse("", ["--root", str(tmp_path), *flags]).settings.model.kwargs == said
    assert call_of(tmp_path, '--model.kwargs={"a": 1.0}').model != call_of(tmp_path, '--model.kwargs={"a": 1}').model


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base_width: 32", "'base_width: 32' is no JSON object: write it as"),
        ("[1]", r"'\[1\]' is no JSON object: write it as"),
        ("{" + '"a":{' * 5000, "is no JSON object: write it as"),
        ('{"img_size": 96}', "img_size is --data.image_size; leave it out"),
    ],
)
def test_further_arguments_that_cannot_be_are_refused_when_settings_are_read(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"model": {"kwargs": text}}))
    with pytest.raises(UserError, match=message):
        parse("", ["--root", str(tmp_path), "--config", str(tmp_path / "mine.yaml")])
