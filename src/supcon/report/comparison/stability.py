"""How the scores of a run's recipe vary over seeds and learning rates, where a study has tried them."""

import re

import pandas as pd

from supcon.report.run import Run
from supcon.run.done import read_result
from supcon.settings.sources import Flat, flatten, load_yaml
from supcon.storage.tables import read_own_table

RATES = ("pretrain.lr", "finetune.lr", "finetune.encoder_lr")


def find_study(run: Run) -> tuple[str, str] | None:
    """Return the study and variant of a run, runs/STUDY-VARIANT-sSEED; None where it belongs to no study."""
    named = re.fullmatch(r"(.+)-s\d+", run.name)
    words = named[1].split("-") if named else []
    for split in range(1, len(words)):  # both names may hold dashes
        study, variant = "-".join(words[:split]), "-".join(words[split:])
        if (run.folder.parent / study / "variants" / f"{variant}.yaml").exists():
            return study, variant
    return None


def scores_by_seed(run: Run) -> dict[int, float]:
    """Return the cross-fitted scores by seed, of the complete runs that differ from this one in nothing else."""
    if not find_study(run):
        return {}
    scores, recipe = {}, run.name.rpartition("-s")[0]
    for path in run.folder.parent.glob("*/decision.json"):
        named = re.fullmatch(rf"{re.escape(recipe)}-s(\d+)", path.parent.name)
        if named and (decision := read_result(path)).get("metric") == run.metric.name:
            scores[int(named[1])] = float(decision["cross_fitted"])
    return dict(sorted(scores.items()))


def scores_by_rate(run: Run) -> dict[str, list[float]]:
    """Return the run's metric of the study's cells by learning rate, of the variants that differ in these rates alone.

    Only seeds and folds that all of them have count; empty where fewer than two variants have any in common, or the
    study's table is of another metric.
    """
    study, variant = find_study(run) or ("", "")
    folder = run.folder.parent / study
    if not study or not (folder / "table.csv").exists():
        return {}
    table = read_own_table(folder / "table.csv", "delete it, and the study's --table-only makes it anew")
    metric = run.metric.name
    if not {"variant", "seed", "fold", metric} <= set(table.columns):
        return {}
    variants = {path.stem: flatten(load_yaml(path)) for path in (folder / "variants").glob("*.yaml")}
    rest, _ = _parted(variants[variant])
    alike = {
        name: rates for name, own in variants.items() if (parted := _parted(own))[0] == rest and (rates := parted[1])
    }
    scored = table[table["variant"].isin(alike) & (table[metric] != "")].drop_duplicates(["variant", "seed", "fold"])
    scored = scored.assign(**{metric: pd.to_numeric(scored[metric], errors="coerce")})
    cells = scored.pivot(index=["seed", "fold"], columns="variant", values=metric).dropna()
    if cells.empty or len(cells.columns) < 2:
        return {}
    named = sorted((alike[str(name)], scores.to_list()) for name, scores in cells.items())
    return {", ".join(f"{key.partition('.')[2]} {rate:g}" for key, rate in rates): scores for rates, scores in named}


def _parted(settings: Flat) -> tuple[Flat, tuple[tuple[str, float], ...]]:
    """Return the settings without the learning rates, and the learning rates."""
    rest = {key: value for key, value in settings.items() if key not in RATES}
    return rest, tuple((key, float(settings[key])) for key in RATES if key in settings)
