"""The command line: defaults < config file < the run's resolved.yaml < flags, all checked."""

import argparse
import dataclasses
import re
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NoReturn

import jsonargparse

from supcon.errors import UserError
from supcon.settings import sources
from supcon.settings.bounds import bounds_of
from supcon.settings.check import check, check_run_name
from supcon.settings.request import FULL, Request
from supcon.settings.settings import Settings, settings_from
from supcon.settings.sources import RENAMED, REPOSITORY, Flat, flatten, nested, refuse_old_name

_LONGEST = 1000  # characters of an error that quotes a value

jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)


class Parser(jsonargparse.ArgumentParser):
    """An argument parser whose errors are one line and exit status 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise `UserError`."""
        line = " ".join(line.strip() for line in message.splitlines() if line.strip())
        line = re.sub(r'^Parser key "([^"]*)"', r"--\1", line)
        if (missing := re.search(r"arguments are required: (.+)", line)) is not None:
            shown = {action.dest: [*action.option_strings[:1], action.metavar] for action in self._actions}
            names = [" ".join(map(str, shown.get(name, [name]))) for name in re.split(r", *", missing[1])]
            line = f"{', '.join(names)} is missing: name it"
        raise UserError(f"{line[:_LONGEST]} (--help lists every option)")


AddOptions = Callable[[Parser], object]


def parse(
    description: str | None,
    argv: Sequence[str] | None,
    add_options: AddOptions = lambda _: None,
    *,
    epilog: str = "",
    per_fold: bool = False,
    blends: bool = False,
) -> Request:
    """Parse the command line of a stage or a command that takes settings.

    `add_options` adds the command's own options, which become `Request.options`; `per_fold` adds `--fold K ...`,
    `blends` adds `--runs A B ...`. Raises `UserError` for what it does not know.
    """
    parser = _make_parser(description, epilog, add_options)
    text = "settings (default: demo for a built-in competition, else default)"
    parser.add_argument("--config", metavar="FILE", help=text)
    parser.add_argument("--run", metavar="NAME", help="folder below runs/ (default: the config's name)")
    if per_fold:
        text = "folds to work on (default: all of them); `full`: one model on all rows, which the ensemble adds"
        parser.add_argument("--fold", type=str, nargs="+", metavar="K", help=text)
    if blends:
        text = "blend these runs into the run NAME of --run: names below runs/, or folders with a run's oof.csv and"
        text += " test.csv"
        parser.add_argument("--runs", nargs="+", metavar="RUN", help=text)
    parser.add_argument("--force", action="store_true", help="redo: what was there is moved to runs/NAME/old/")
    _add_settings(parser)
    options, given = _read(parser, argv)
    folds = sorted(set(map(_fold_number, getattr(options, "fold", None) or [])), key=lambda fold: (fold == FULL, fold))
    request = open_request(
        options.root, options.run or "", config=options.config or "", given=given, blend=getattr(options, "runs", None)
    )
    return dataclasses.replace(request, folds=folds, force=bool(options.force), options=options, given=given)


def command_line(
    run: Callable[[Request], None], description: str | None, *, per_fold: bool = False, blends: bool = False
) -> Callable[[Sequence[str] | None], None]:
    """Return a stage's `main(argv)`: it reads the command line as `parse` does, and runs the stage."""
    return lambda argv: run(parse(description, argv, per_fold=per_fold, blends=blends))


def parse_options(
    description: str | None, argv: Sequence[str] | None, add_options: AddOptions, epilog: str, *, settings: bool = False
) -> tuple[argparse.Namespace, Flat]:
    """Return a command's own options and `--root`; where it hands `settings` on, also these, by dotted key."""
    parser = _make_parser(description, epilog, add_options)
    if settings:
        _add_settings(parser)
    return _read(parser, argv)


def open_request(
    root: Path, run: str = "", *, config: str = "", given: Flat | None = None, blend: Sequence[str] | None = None
) -> Request:
    """Return what a command on a run of `root` is asked to do, with settings `given` by dotted key over all others.

    `blend` names runs that `run` is made of. Raises `UserError` for settings that no run can use.
    """
    path = sources.find_config(config) if config else sources.default_config(root)
    name, stem = run or path.stem, path.stem
    check_run_name("--run", name)
    config_settings = flatten(sources.load_yaml(path))
    flat = checked(config_settings, str(path))
    resolved, content = root / "runs" / name / "resolved.yaml", Flat()
    if resolved.exists():
        content = sources.load_resolved(resolved)
        if not config:  # the run knows its own config
            stem, config_settings = content["config"], content["config_settings"]
        began = sources.resolved_settings(content, config_settings)
        flat |= checked(began, str(resolved), "an earlier version made this run: use that one, or another --run")
    elif blend:
        flat |= _data_of(root / "runs" / blend[0] / "resolved.yaml")
    flat |= given or {}
    if flat.get("model.weights"):  # a later stage may start from another folder
        flat["model.weights"] = str(absolute("--model.weights", flat["model.weights"]))
    if flat.get("train.precision", "auto") == "auto" and content:  # chosen already, when the run began
        flat |= {f"train.{key}": value for key, value in sources.chosen_precision(content).items()}
    if blend:
        flat["tune.runs"] = _blended_runs(run, blend, root)
    settings = settings_from(nested(flat))
    check(settings)
    named: tuple[str, ...] = ("--config", config) if config and path != sources.default_config(root) else ()
    named += ("--run", name) if name != path.stem else ()
    measured = content.get("measured", {})
    return Request(
        root, name, settings,
        config=stem, config_settings=config_settings, measured=measured, given=given or {}, named=named,
    )  # fmt: skip


def checked(flat: Flat, source: str, cure: str = "rename it there") -> Flat:
    """Return settings by dotted key as their types (YAML takes 1e-3 for a string).

    Raises `UserError`, naming `source`, for an unknown key or a value of another type.
    """
    known = flatten(dataclasses.asdict(Settings()))
    sections = dataclasses.asdict(Settings()).keys() - known.keys()
    for key in flat:
        refuse_old_name(key, source, cure)
        if key in sections:
            raise UserError(f"{source}: {key} is a section: give its settings below it, as {key}.NAME is one")
        if key not in known:
            raise UserError(f"{source}: unknown setting {key!r} (--help lists every setting)")
        if flat[key] is None:
            raise UserError(f"{source}: {key} has no value: give it one, or leave the line out")
    try:
        parsed = _readable(lambda: _settings_parser().parse_object(dict(flat), defaults=False))
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    return {key: parsed[key] for key in flat}


def absolute(name: str, path: str) -> Path:
    """Return an absolute path, `~` resolved. Raises `UserError` for what the system takes for none."""
    try:
        resolved = Path(path).expanduser().resolve()
        resolved.exists()
    except (OSError, RuntimeError, ValueError) as error:  # too long; a home that is unknown; a zero byte
        raise UserError(f"{name} {path[:200]} is no path: {getattr(error, 'strerror', None) or error}") from None
    return resolved


def _make_parser(description: str | None, epilog: str, add_options: AddOptions) -> Parser:
    parser = Parser(description=description, epilog=epilog, allow_abbrev=False)
    add_options(parser)
    parser.add_argument("--root", metavar="DIR", help="holds input/, folds/, runs/, ... (default: the repository)")
    return parser


def _add_settings(parser: Parser) -> None:
    for part in dataclasses.fields(Settings):
        text = part.metadata.get("help")  # of the settings that stand alone; sections document their own
        parser.add_argument(f"--{part.name}", type=part.type, default=getattr(Settings(), part.name), help=text)
    bounds = dict(bounds_of(Settings()))
    for action in parser._actions:
        if action.dest in bounds and action.help:
            smallest, largest = bounds[action.dest]
            action.help = f"{action.help.rstrip('.')} ({smallest:g} to {largest:g})."


@cache
def _settings_parser() -> Parser:
    """Return a parser of settings alone, by which those of files are read."""
    parser = Parser()
    _add_settings(parser)
    return parser


def _read(parser: Parser, argv: Sequence[str] | None) -> tuple[argparse.Namespace, Flat]:
    """Return a command's own options, defaults included, and the settings that are given, by dotted key."""
    words = list(sys.argv[1:] if argv is None else argv)
    for word in words:
        key = word.removeprefix("--").partition("=")[0]
        if word.startswith("--") and key in RENAMED:
            raise UserError(f"--{key} is called --{RENAMED[key]} now: use that")
    given = _readable(lambda: parser.parse_args(words, defaults=False))
    defaults, sections = parser.get_defaults(), {part.name for part in dataclasses.fields(Settings)}
    options = argparse.Namespace(
        **{name: given.get(name, defaults[name]) for name in vars(defaults) if name not in sections}
    )
    options.root = absolute("--root", options.root) if options.root else REPOSITORY
    known = flatten(dataclasses.asdict(Settings()))
    return options, {key: given[key] for key in known if key in given}


def _readable(parse: Callable[[], jsonargparse.Namespace]) -> jsonargparse.Namespace:
    try:
        return parse()
    except UserError:
        raise
    except Exception as error:  # as in `load_yaml`, which jsonargparse reads values by; 10**400 as a float
        raise UserError(f"the value of a setting cannot be read: {error} (--help lists every setting)") from None


def _blended_runs(run: str, blend: Sequence[str], root: Path) -> list[str]:
    """Return the runs of `--runs`, folders outside runs/ as absolute paths."""
    if not run or run in blend:
        raise UserError("--runs makes a run of its own: name it with --run, other than those it is made of")
    outside = {name for name in blend if not (root / "runs" / name).is_dir() and Path(name).expanduser().is_dir()}
    names = [str(absolute("--runs", name)) if name in outside else name for name in blend]
    if len(set(names)) < len(names):
        raise UserError("--runs names a run twice: weights are found by themselves, name each once")
    return names


def _data_of(resolved: Path) -> Flat:
    """Return the settings of a run that say how the host's files are read, and its metric."""
    if not resolved.exists():
        return {}
    settings = flatten(sources.load_resolved(resolved)["settings"])
    return checked({k: v for k, v in settings.items() if k.startswith("data.") or k == "tune.metric"}, str(resolved))


def _fold_number(word: str) -> int:
    if word != "full" and not re.fullmatch(r"[0-9]{1,9}", word):
        raise UserError(f"--fold {word[:50]!r} is no fold: name numbers from 0, or full")
    return FULL if word == "full" else int(word)
