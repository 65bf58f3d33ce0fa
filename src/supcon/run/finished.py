"""Finished runs to blend: where their predictions lie, and by which hashes a change of them is noticed."""

from dataclasses import dataclass
from pathlib import Path

from supcon.errors import UserError
from supcon.run.stages import SPLIT
from supcon.settings import command_of
from supcon.storage.files import read_json, sha256_file

TABLES = ("oof.csv", "test.csv")  # probabilities of training and test rows
LARGE_TABLES = ("oof.npz", "test.npz")  # instead, where there are too many classes for a column each: `predictions`


@dataclass(frozen=True)
class FinishedRun:
    """A run of which every fold is predicted, or a folder that holds only its tables."""

    name: str
    folder: Path
    inputs: dict[str, str]  # of each of its prediction files: name -> hash
    fold_folders: tuple[Path, ...]  # empty where there are only tables
    class_mean_weight: float = 0.0  # of the class means in its predictions
    full: str = ""  # hash of the predictions of the model on all rows; empty without one


def find_run(root: Path, name: str, folds: int, split_digest: str) -> FinishedRun:
    """Return the run `name` below `root`, or the folder of that path.

    Raises `UserError` where it is unknown, unfinished, or made with another split than `split_digest`.
    """
    folder = root / "runs" / name  # an absolute path stays itself
    if not folder.is_dir():
        known = ", ".join(sorted(path.name for path in (root / "runs").glob("*") if path.is_dir())) or "none"
        raise UserError(f"no run is called {name}: name some of those in {root / 'runs'} ({known}), or a folder")
    if not any(folder.glob("fold*/predict.done.json")):
        return _tables(name, folder)
    inputs, weights, folders = {}, set(), tuple(folder / f"fold{fold}" for fold in range(folds))
    for fold, fold_folder in enumerate(folders):
        done = fold_folder / "predict.done.json"
        if not done.exists():
            command = command_of("predict", root, "--run", name)
            raise UserError(f"run {name} has no predictions of fold {fold}: `{command}` first")
        content = read_json(done)
        if content["fingerprint"].get(f"input {SPLIT}") != split_digest:
            raise UserError(f"run {name} was made with other folds, rows or labels than {SPLIT} has now: leave it out")
        inputs[f"{name} fold {fold}"] = content["hash"]
        settings = content["fingerprint"]
        before = settings.get("predict.prototype_weight", 0.0)  # what it was called before version 0.1.0
        weights.add(settings.get("predict.class_mean_weight", before))
    return FinishedRun(name, folder, inputs, folders, max(weights), _full_model(folder, split_digest))


def _full_model(folder: Path, split_digest: str) -> str:
    done = folder / "full" / "predict.done.json"
    content = read_json(done) if done.exists() else {}
    ours = content.get("fingerprint", {}).get(f"input {SPLIT}") == split_digest
    return content["hash"] if ours else ""


def _tables(name: str, folder: Path) -> FinishedRun:
    tables = LARGE_TABLES if (folder / LARGE_TABLES[0]).is_file() else TABLES
    for table in tables:
        if not (folder / table).is_file():
            raise UserError(f"run {name} has neither predicted folds nor {folder / table}: finish it, or leave it out")
    return FinishedRun(name, folder, {f"{name} {table}": sha256_file(folder / table) for table in tables}, ())
