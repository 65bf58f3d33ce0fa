"""The command line: defaults < config file < the run's resolved.yaml < flags, all checked."""

import argparse
import dataclasses
import re
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NoReturn, get_args, get_type_hints

import jsonargparse

from supcon.errors import UserError
from supcon.settings import sources
from supcon.settings.bounds import bounds_of
from supcon.settings.check import check, check_run_name
from supcon.settings.earlier import AverageSettings
from supcon.settings.hosted import PREFIX, hosted_at, read_hosted
from supcon.settings.kwargs import canonical_kwargs
from supcon.settings.request import FULL, Request
from supcon.settings.settings import Settings, settings_from
from supcon.settings.sources import RENAMED, REPOSITORY, Flat, flatten, nested, refuse_old_name
from supcon.settings.tasks import add_task_options, read_task_options

_LONGEST = 1000  # characters of an error that quotes a value
_KINDS = {"float": "a number", "int": "a whole number", "bool": "true or false", "list": "a list such as '[a, b]'"}

jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)


class Parser(jsonargparse.ArgumentParser):
    """An argument parser whose errors are one line and exit status 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise `UserError`."""
        line = " ".join(line.strip() for line in message.splitlines() if line.strip())
        line = re.sub(r'^Parser key "([^"]*)"', r"--\1", line)
        line = re.sub(r"Expected a typing\.Literal\[([^]]*)\]", lambda names: f"Use one of {names[1]}", line)
        line = re.sub(r"Expected an? <class '(\w+)'>", lambda kind: f"Expected {_KINDS.get(kind[1], kind[1])}", line)
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
    tasks: bool = False,
    finished: bool = False,
) -> Request:
    """Parse the command line of a stage or a command that takes settings.

    `add_options` adds the command's own options, which become `Request.options`; `per_fold` adds `--fold K ...`,
    `blends` adds `--runs A B ...` and `--soup CHOICE`, `tasks` adds those of `TaskOptions`. A command on a `finished`
    run takes the only one where none is named. Raises `UserError` for what it does not know.
    """
    parser = _make_parser(description, epilog, add_options)
    text = "settings (default: demo for a built-in competition, else default)"
    parser.add_argument("--config", metavar="FILE", help=text)
    text = "the only one there is, else the config's name" if finished else "the config's name"
    parser.add_argument("--run", metavar="NAME", help=f"folder below runs/ (default: {text})")
    if per_fold:
        text = "folds to work on (default: all of them); `full`: one model on all rows, which the ensemble adds"
        parser.add_argument("--fold", type=str, nargs="+", metavar="K", help=text)
    if blends:
        text = "blend these runs into the run NAME of --run: names below runs/, or folders with a run's oof.csv and"
        text += " test.csv"
        parser.add_argument("--runs", nargs="+", metavar="RUN", help=text)
        text = "average the weights of the runs of --runs, fold by fold, into the run NAME (short for --average.choice)"
        parser.add_argument("--soup", choices=get_args(get_type_hints(AverageSettings)["choice"]), help=text)
    if tasks:
        add_task_options(parser)
    parser.add_argument("--force", action="store_true", help="redo: what was there is moved to runs/NAME/old/")
    _add_settings(parser)
    options, given = _read(parser, argv)
    side_by_side = read_task_options(options)
    folds = sorted(set(map(_fold_number, getattr(options, "fold", None) or [])), key=lambda fold: (fold == FULL, fold))
    run = options.run or (sources.only_run(options.root) if finished and not options.config else "")
    given |= _of_several(options, per_fold)
    request = open_request(options.root, run, config=options.config or "", given=given)
    if "average.choice" in given and not request.settings.average.runs:
        raise UserError("--soup averages the weights of several runs: name them with --runs")
    return dataclasses.replace(
        request, folds=folds, force=bool(options.force), options=options, given=given, tasks=side_by_side
    )


def command_line(
    run: Callable[[Request], None],
    description: str | None,
    *,
    per_fold: bool = False,
    blends: bool = False,
    tasks: bool = False,
) -> Callable[[Sequence[str] | None], None]:
    """Return a stage's `main(argv)`: it reads the command line as `parse` does, and runs the stage."""
    return lambda argv: run(parse(description, argv, per_fold=per_fold, blends=blends, tasks=tasks))


def parse_options(
    description: str | None, argv: Sequence[str] | None, add_options: AddOptions, epilog: str, *, settings: bool = False
) -> tuple[argparse.Namespace, Flat]:
    """Return a command's own options and `--root`; where it hands `settings` on, also these, by dotted key."""
    parser = _make_parser(description, epilog, add_options)
    if settings:
        _add_settings(parser)
    return _read(parser, argv)


def open_request(root: Path, run: str = "", *, config: str = "", given: Flat | None = None) -> Request:
    """Return what a command on a run of `root` is asked to do, with settings `given` by dotted key over all others.

    A run that averages weights begins with the settings of the first run that it averages, a blend with how the first
    one reads the host's files. Raises `UserError` for settings that no run can use.
    """
    given = given or {}
    path = sources.find_config(config) if config else sources.default_config(root)
    name, stem = run or path.stem, path.stem
    check_run_name("--run", name)
    config_settings = flatten(sources.load_yaml(path))
    flat = checked(config_settings, str(path))
    resolved, content = root / "runs" / name / "resolved.yaml", Flat()
    averaged, blended = (flat | given).get("average.runs"), given.get("tune.runs")
    begun = root / "runs" / averaged[0] / "resolved.yaml" if averaged and not resolved.exists() else resolved
    if begun.exists():
        content = sources.load_resolved(begun)
        if not config:  # the run knows its own config
            stem, config_settings = content["config"], content["config_settings"]
        began = sources.resolved_settings(content, config_settings)
        flat |= checked(began, str(begun), "an earlier version made this run: use that one, or another --run")
    elif blended:
        flat |= _data_of(root / "runs" / blended[0] / "resolved.yaml")
    if begun != resolved:
        flat |= {"average.runs": averaged, "tune.runs": [], "time_budget": "", "track": ""}
    flat = with_weights(flat | given, root)
    if flat.get("model.kwargs"):  # texts that say the same are the same setting
        flat["model.kwargs"] = canonical_kwargs(flat["model.kwargs"])
    if flat.get("train.precision", "auto") == "auto" and content:  # chosen already, when the run began
        flat |= {f"train.{key}": value for key, value in sources.chosen_precision(content).items()}
    if flat.get("data.store", "auto") == "auto" and content:
        flat["data.store"] = sources.kept_store(content)
    settings = settings_from(nested(flat))
    check(settings)
    named: tuple[str, ...] = ("--config", config) if config and path != sources.default_config(root) else ()
    named += ("--run", name) if name != path.stem else ()
    measured = content.get("measured", {})
    return Request(
        root, name, settings,
        config=stem, config_settings=config_settings, measured=measured, given=given, named=named,
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


def with_weights(flat: Flat, root: Path) -> Flat:
    """Return settings whose `model.weights` is an absolute path, as a later stage may start from another folder.

    A file of the host has its place below `root`, whether it is there yet or not. Raises `UserError` where what is
    named can be no file.
    """
    if not (given := flat.get("model.weights")):
        return flat
    hosted = read_hosted(given) if given.startswith(PREFIX) else hosted_at(Path(given), root)
    return {**flat, "model.weights": str(hosted.below(root) if hosted else absolute("--model.weights", given))}


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


def _of_several(options: argparse.Namespace, per_fold: bool) -> Flat:
    """Return the settings that `--runs` and `--soup` stand for, by dotted key."""
    names, choice = getattr(options, "runs", None), getattr(options, "soup", None)
    if names and per_fold and not choice:
        raise UserError("--runs alone blends predictions, as tune and ensemble do: average weights with --soup greedy")
    runs = {"average.runs" if choice else "tune.runs": _named_runs(options.run, names, options.root)} if names else {}
    return runs | ({"average.choice": choice} if choice else {})


def _named_runs(run: str | None, names: Sequence[str], root: Path) -> list[str]:
    """Return the runs of `--runs`, folders outside runs/ as absolute paths."""
    if not run or run in names:
        raise UserError("--runs makes a run of its own: name it with --run, other than those it is made of")
    outside = {name for name in names if not (root / "runs" / name).is_dir() and Path(name).expanduser().is_dir()}
    named = [str(absolute("--runs", name)) if name in outside else name for name in names]
    if len(set(named)) < len(named):
        raise UserError("--runs names a run twice: name each once")
    return named


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
