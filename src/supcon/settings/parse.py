"""The command line: defaults < config file < the run's resolved.yaml < flags, all checked."""

import argparse
import dataclasses
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

import jsonargparse

from supcon.errors import UserError
from supcon.settings.check import check, check_run_name
from supcon.settings.settings import Settings
from supcon.settings.sources import (
    REPOSITORY,
    Flat,
    chosen_precision,
    default_config,
    find_config,
    flatten,
    load_resolved,
    load_yaml,
    resolved_settings,
)

FULL = -3  # `--fold full`, which no row has: nothing is held out, all but what is left out is trained on

_LONGEST = 1000  # characters of an error that quotes a value
_RUNS_HELP = (
    "blend these runs into the run NAME of --run: names below runs/, or folders with a run's oof.csv and test.csv"
)


@dataclass(frozen=True)
class Call:
    """What one command was asked to do."""

    root: Path
    run: str
    folds: list[int]  # empty: all of the split; FULL comes last
    force: bool
    settings: Settings
    config: str  # the config's stem
    config_settings: Flat  # what the config file says, by dotted key
    measured: Flat = field(default_factory=dict)  # what was measured to choose a setting, by its key
    file: Path | None = None  # for the commands that work on one
    switches: frozenset[str] = frozenset()  # those of the command's own that were given
    named: tuple[str, ...] = ()  # --config and --run as they were given, where they are not the defaults

    @property
    def run_folder(self) -> Path:
        """runs/NAME of this call's root."""
        return self.root / "runs" / self.run

    def fold_folder(self, fold: int) -> Path:
        """Return runs/NAME/fold3, or runs/NAME/full."""
        return self.run_folder / ("full" if fold == FULL else f"fold{fold}")

    def command(self, stage: str, fold: int | None = None) -> str:
        """Return the command of a stage of this run, as a shell reads it, that works on the same root and run."""
        return command_of(stage, self.root, *self.named, *([] if fold is None else ["--fold", fold_name(fold)]))


def command_of(stage: str, root: Path, *words: str) -> str:
    """Return the command of a stage, as a shell reads it, with `--root` where that is not the repository."""
    where = [] if root == REPOSITORY else ["--root", str(root)]
    return shlex.join(["python", f"src/{stage}.py", *where, *words])


class _Parser(jsonargparse.ArgumentParser):
    """Errors are one line and exit status 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        first = " ".join(line.strip() for line in message.splitlines() if line.strip())
        raise UserError(f"{first[:_LONGEST]} (--help lists every setting)")


def parse(
    description: str,
    argv: Sequence[str] | None,
    *,
    per_fold: bool = False,
    file_help: str = "",
    switches: Mapping[str, str] = MappingProxyType({}),
    blends: bool = False,
) -> Call:
    """Parse a stage's command line.

    `per_fold` adds `--fold K ...`, `file_help` a file to work on, `switches` (name -> help) options without a value,
    `blends` the option `--runs A B ...`. Raises `UserError` for what it does not know.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = _make_parser(description, per_fold, file_help, switches, blends)
    if "-h" in argv or "--help" in argv:
        parser.parse_args(argv)  # prints the help and exits
    where = _where(argv)
    root = absolute("--root", where.root) if where.root else REPOSITORY
    config = find_config(where.config) if where.config else default_config(root)
    run, stem = where.run or config.stem, config.stem
    check_run_name("--run", run)

    config_settings = flatten(load_yaml(config))
    _apply(parser, config_settings, config)
    resolved, content = root / "runs" / run / "resolved.yaml", Flat()
    if resolved.exists():
        content = load_resolved(resolved)
        if not where.config:  # the run knows its own config
            stem, config_settings = content["config"], content["config_settings"]
        _apply(parser, resolved_settings(content, config_settings), resolved)
    elif blends and where.runs:
        _apply_data_of(parser, root / "runs" / where.runs[0] / "resolved.yaml")
    namespace = _readable(lambda: parser.parse_args(argv))
    settings = Settings(
        **{part.name: getattr(parser.instantiate(namespace), part.name) for part in dataclasses.fields(Settings)}
    )
    if settings.model.weights:  # a later stage may start from another folder
        weights = str(absolute("--model.weights", settings.model.weights))
        settings = dataclasses.replace(settings, model=dataclasses.replace(settings.model, weights=weights))
    if settings.train.precision == "auto" and content:  # chosen already, when the run began
        settings = dataclasses.replace(settings, train=dataclasses.replace(settings.train, **chosen_precision(content)))
    if blends and where.runs:
        names = _blended_runs(where, root)
        settings = dataclasses.replace(settings, tune=dataclasses.replace(settings.tune, runs=names))
    check(settings)
    folds = sorted(set(namespace.fold or []), key=lambda fold: (fold == FULL, fold)) if per_fold else []
    given = frozenset(name for name in switches if namespace[name])
    if file_help and not namespace.file:
        raise UserError(f"name {file_help} (--help lists every setting)")
    file = absolute("the file", namespace.file) if file_help else None
    measured = content.get("measured", {})
    named = ["--config", where.config] if where.config and config != default_config(root) else []
    named += ["--run", run] if run != config.stem else []
    force = bool(namespace.force)
    return Call(root, run, folds, force, settings, stem, config_settings, measured, file, given, tuple(named))


def _blended_runs(where: argparse.Namespace, root: Path) -> list[str]:
    """Return the runs of `--runs`, folders outside runs/ as absolute paths."""
    if not where.run or where.run in where.runs:
        raise UserError("--runs makes a run of its own: name it with --run, other than those it is made of")
    runs = root / "runs"
    names = [
        name if (runs / name).is_dir() or not Path(name).expanduser().is_dir() else str(absolute("--runs", name))
        for name in where.runs
    ]
    if len(set(names)) < len(names):
        raise UserError("--runs names a run twice: weights are found by themselves, name each once")
    return names


def _apply_data_of(parser: _Parser, resolved: Path) -> None:
    """Take the settings that say how the host's files are read, and the metric, from another run."""
    if resolved.exists():
        settings = flatten(load_resolved(resolved)["settings"])
        read = {key: value for key, value in settings.items() if key.startswith("data.") or key == "tune.metric"}
        _apply(parser, read, resolved)


def _make_parser(
    description: str, per_fold: bool, file_help: str, switches: Mapping[str, str], blends: bool
) -> _Parser:
    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = _Parser(description=description, allow_abbrev=False)
    _add_where(parser)
    if per_fold:
        parser.add_argument(
            "--fold",
            type=_fold_number,
            nargs="+",
            metavar="K",
            help="folds to work on (default: all of them); `full`: one model on all rows, which the ensemble adds",
        )
    if file_help:
        parser.add_argument("file", metavar="FILE", nargs="?", help=file_help)  # required below: config files have none
    if blends:
        parser.add_argument("--runs", nargs="+", metavar="RUN", help=_RUNS_HELP)
    for name, explanation in switches.items():
        parser.add_argument(f"--{name}", action="store_true", help=explanation)
    parser.add_argument("--force", action="store_true", help="redo: what was there is moved to runs/NAME/old/")
    for part in dataclasses.fields(Settings):
        told = part.metadata.get("help")  # of the settings that stand alone; sections document their own
        parser.add_argument(f"--{part.name}", type=part.type, default=getattr(Settings(), part.name), help=told)
    return parser


def fold_name(fold: int) -> str:
    """Return how `--fold` calls a fold: 3, or full."""
    return "full" if fold == FULL else str(fold)


def _fold_number(word: str | int) -> int:
    """Return the number of the fold that `--fold` calls so; a number, which the parser checks again, as it is."""
    if isinstance(word, int):
        return word
    if word == "full":
        return FULL
    if not re.fullmatch(r"[0-9]{1,9}", word):
        raise argparse.ArgumentTypeError(f"{word[:50]!r} is no fold: name numbers from 0, or full")
    return int(word)


def _add_where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", metavar="DIR", help="holds input/, folds/, runs/, ... (default: the repository)")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="settings of the experiment (default: demo for the built-in competition, else default)",
    )
    parser.add_argument("--run", metavar="NAME", help="folder below runs/ (default: the config's name)")


def _where(argv: list[str]) -> argparse.Namespace:
    """Read the options that say where the other settings come from."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    _add_where(parser)
    parser.add_argument("--runs", nargs="+", default=[])
    try:
        return parser.parse_known_args(argv)[0]
    except argparse.ArgumentError as error:
        raise UserError(str(error)) from None


def absolute(name: str, path: str) -> Path:
    """Return an absolute path, `~` resolved. Raises `UserError` for what the system takes for none."""
    try:
        found = Path(path).expanduser().resolve()
        found.exists()
    except (OSError, RuntimeError, ValueError) as error:  # too long; a home that is unknown; a zero byte
        raise UserError(f"{name} {path[:200]} is no path: {getattr(error, 'strerror', None) or error}") from None
    return found


def _readable(parse: Callable[[], jsonargparse.Namespace]) -> jsonargparse.Namespace:
    try:
        return parse()
    except UserError:
        raise
    except Exception as error:  # as in `load_yaml`, which jsonargparse reads values by; 10**400 as a float
        raise UserError(f"the value of a setting cannot be read: {error} (--help lists every setting)") from None


def _apply(parser: _Parser, flat: Flat, source: Path) -> None:
    """Make `flat` the parser's defaults; an unknown key or a wrong type names `source`."""
    known = flatten(dataclasses.asdict(Settings()))
    for key in flat:
        if key not in known:
            raise UserError(f"{source}: unknown setting {key!r} (--help lists every setting)")
        if flat[key] is None:
            raise UserError(f"{source}: {key} has no value: give it one, or leave the line out")
    try:
        parsed = _readable(lambda: parser.parse_object(dict(flat)))
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    parser.set_defaults({key: parsed[key] for key in flat})  # as parsed: YAML takes 1e-3 for a string
