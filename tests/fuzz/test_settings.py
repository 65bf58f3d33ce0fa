"""Whatever a config or the flags say: settings, or one line that names what is wrong."""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from supcon.errors import UserError
from supcon.settings import parse
from supcon.settings.parse import Request
from supcon.settings.settings import Settings
from tests.conftest import REPOSITORY
from tests.fuzz.budget import assert_one_line, budget
from tests.fuzz.mutate import mutated

DEFAULTS = dataclasses.asdict(Settings())
SECTIONS = {name: values for name, values in DEFAULTS.items() if isinstance(values, dict)}
KEYS = [f"{section}.{key}" for section, values in SECTIONS.items() for key in values]
CONFIGS = [path.read_bytes() for path in sorted((REPOSITORY / "configs").glob("*.yaml"))]
ODD = [
    "", " ", "null", "~", "true", "yes", "0", "-1", "1e3", "1e999", ".nan", "-.inf", "0x10", "0o7", "1_000", "1:30",
    "2020-99-99", "2020-01-01", "[]", "{}", "[1, 2]", "{a: 1}", "[[[[", "&a [*a]", "*a", "!!python/name:os.system",
    "!!int x", "!!timestamp x", "!!bool x", "!!binary x", "? [1]", "'", '"', "${x}", "a: b: c", "%", "@", "- 1", "---",
    "é", "\ud7ff", "9" * 5000,
    "x" * 300, "x" * 5000, "1" + "0" * 400, "[" * 3000, "../x",
    "~nobody/x", "/", "None", "nan", "inf", "class_path", "--", "-", "=", "fit", "full", "float32",
]  # fmt: skip
ARGUMENT = st.sampled_from(ODD) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
NAMES = [f"--{key}" for key in KEYS] + [f"--{section}" for section in DEFAULTS]
PATHS = ["--run", "--config", "--root", "--model.weights"]
OTHERS = [*PATHS, "--fold", "--force", "--forc", "--data.", "--", "-x", "--x", "--finetune.nothing"]
FLAGS = st.sampled_from(NAMES) | st.sampled_from(PATHS) | st.sampled_from(OTHERS) | ARGUMENT
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | ARGUMENT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=2),
    max_leaves=3,
)


def request_or_one_line(argv: list[str], config: bytes | None = None) -> Request | None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        if config is not None:
            (root / "mine.yaml").write_bytes(config)
            argv = ["--config", str(root / "mine.yaml"), *argv]
        try:
            request = parse("", ["--root", name, *argv], per_fold=True)
        except UserError as error:
            assert_one_line(error)
            request = None
        assert [path.name for path in root.iterdir()] == (["mine.yaml"] if config is not None else [])
    if request is not None:
        read = dataclasses.asdict(request.settings)
        assert isinstance(read["time_budget"], str)
        for section, values in SECTIONS.items():
            for key, default in values.items():
                assert type(read[section][key]) is type(default), f"{section}.{key} {read[section][key]!r}"
    return request


@budget(120)
@given(
    st.dictionaries(
        st.sampled_from(sorted(DEFAULTS)) | ARGUMENT, st.dictionaries(ARGUMENT, VALUES) | VALUES, max_size=3
    )
)
def test_configs_of_any_shape(content: dict[str, Any]) -> None:
    request_or_one_line([], yaml.safe_dump(content, allow_unicode=True).encode())


@budget(120)
@given(st.lists(st.tuples(st.sampled_from(KEYS), VALUES), min_size=1, max_size=4), st.booleans())
def test_configs_of_known_settings_with_any_value(items: list[tuple[str, Any]], whole: bool) -> None:
    content: dict[str, dict[str, Any]] = {}
    for number, (key, odd) in enumerate(items):
        section, name = key.split(".")
        content.setdefault(section, {})[name] = DEFAULTS[section][name] if whole and number else odd
    request_or_one_line([], yaml.safe_dump(content, allow_unicode=True).encode())


@budget(150)
@given(st.sampled_from(CONFIGS).flatmap(mutated) | ARGUMENT.map(lambda text: f"data:\n  folds: {text}\n".encode()))
def test_damaged_configs(config: bytes) -> None:
    request_or_one_line([], config)


@budget(250)
@given(st.lists(st.tuples(FLAGS, ARGUMENT, st.booleans()), min_size=1, max_size=3))
def test_any_flags(flags: list[tuple[str, str, bool]]) -> None:
    argv: list[str] = []
    for name, value, joined in flags:
        if {name, value, f"{name}={value}"} & {"-h", "--help"}:
            continue
        argv += [f"{name}={value}"] if joined else [name, value]
    request_or_one_line(argv)
