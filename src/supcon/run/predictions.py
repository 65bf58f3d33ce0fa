"""Prediction files: where those of a finished run lie, and what is in them; rows are joined by id (law 7).

A file holds `ids` [rows]; `logits` float32 [rows, views, classes], natural-prior log-odds; the names `classes` and
`views`; and, where class means or neighbours predict too, their `prototype_logits` or `neighbour_logits` in the same
shape.

With more than LARGEST_DENSE (1,000) classes each row keeps its KEPT (50) likeliest, the same for all views: `top` int32
[rows, 50] holds their numbers, ascending; `logits` float32 [rows, views, 50] their logits; `rest` float32 [rows, views]
the log-sum-exp of all other logits, so that the log-probabilities of the kept classes stay exact. `prototype_logits`
and `prototype_rest` are the same for the class means, of the same classes; those of the neighbours likewise.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from supcon.arrays import ModelLogits, Rows
from supcon.decision.logits import REST, TOP, LazyLogits, Logits, require_finite
from supcon.decision.merge import BESIDE_HEAD, CLASS_MEANS, HEAD, NEIGHBOURS, Shares, blend, head_and_class_means
from supcon.errors import UserError
from supcon.metrics.top_k import Matrix, TopK, keeps_all
from supcon.run.done import intact, made_by, read_done
from supcon.run.stages import SPLIT
from supcon.settings import FULL, command_of
from supcon.storage.files import NpzArray, open_npz, read_npz, sha256_file, write_npz

Predicted = Mapping[str, Matrix]  # logits by HEAD and, where asked for, by CLASS_MEANS and NEIGHBOURS
Content = Mapping[str, npt.NDArray[Any]]  # ids, logits [rows, views, classes], prototype_logits alike, classes, views

TABLES = ("oof.csv", "test.csv")  # probabilities of training and test rows
LARGE_TABLES = ("oof.npz", "test.npz")  # instead, where there are too many classes for a column each: `predictions`
EMBEDDINGS = "embeddings.npz"
TRAINING, HELD_OUT, TEST = 0, 1, 2  # parts of a fold's embeddings

_FORMS = {  # of a prediction file's arrays: kind of numpy's, dimensions
    "ids": ("U", 1),
    "classes": ("U", 1),
    "views": ("U", 1),
    TOP: ("iu", 2),
    **dict.fromkeys((HEAD, CLASS_MEANS, NEIGHBOURS), ("f", 3)),
    **dict.fromkeys(REST.values(), ("f", 2)),
}
_NEEDED = ("ids", "classes", "views")
_DIVERGED = "the classifier's weights hold NaN or infinity, or lead to them: train that fold anew with --force"


@dataclass(frozen=True)
class Embeddings:
    """The plain view of some rows, embedded by a fold's final encoder: a sample of each part."""

    ids: npt.NDArray[np.str_]  # [n]; an id of a test row may be one of a training row too
    part: npt.NDArray[np.int8]  # [n], TRAINING rows of the fold, HELD_OUT or TEST
    features: npt.NDArray[np.float32]  # [n, D], what the classifier sees, not normalised
    projections: npt.NDArray[np.float32] | None  # [n, P], after the projection head; None without one

    def of(self, part: int) -> "Embeddings":
        """Return the rows of one part."""
        rows = self.part == part
        projections = None if self.projections is None else self.projections[rows]
        return Embeddings(self.ids[rows], self.part[rows], self.features[rows], projections)


def read_embeddings(folder: Path) -> Embeddings:
    """Return the embeddings of a fold's folder. `UserError` where the file is missing or damaged.

    There are no rows where `predict.embeddings` is 0, and no `projections` where the final encoder was not trained with
    a projection head: with `contrast.projection none`, without contrast, or where it was trained further without one.
    """
    content = read_npz(intact(folder / EMBEDDINGS))
    spaces = {name: content[name].astype(np.float32) for name in ("features", "projections") if name in content}
    return Embeddings(content["ids"], content["part"], spaces["features"], spaces.get("projections"))


def write_embeddings(path: Path, embeddings: Embeddings) -> None:
    """Write embeddings.npz, in half precision."""
    arrays = {"ids": embeddings.ids, "part": embeddings.part, "features": embeddings.features.astype(np.float16)}
    if embeddings.projections is not None:
        arrays["projections"] = embeddings.projections.astype(np.float16)
    write_npz(path, arrays)


def write_predictions(path: Path, ids: pd.Series, predicted: Predicted, classes: list[str], views: list[str]) -> None:
    """Write one npz file of natural-prior log-odds, `predicted` [rows, views, classes].

    Raises `UserError` where they are not finite.
    """
    shape = (len(ids), len(views), len(classes))
    arrays: dict[str, npt.NDArray[Any]] = {"ids": np.array(list(ids), dtype=str)}
    for name, logits in predicted.items():
        if logits.shape != shape:
            raise ValueError(f"{name} must be [rows, views, classes] = {list(shape)}, not {list(logits.shape)}")
        require_finite(path, arrays["ids"], logits.values if isinstance(logits, TopK) else logits, _DIVERGED)
        kept = logits
        if isinstance(logits, TopK):
            kept = logits.values[..., :-1]
            arrays[TOP], arrays[REST[name]] = logits.numbers, logits.values[..., -1] + np.float32(np.log(logits.others))
        arrays[name] = np.ascontiguousarray(kept, dtype=np.float32)
    write_npz(path, arrays | {"classes": np.array(classes), "views": np.array(views)})


def read_blended(files: Sequence[Path], ids: pd.Series, classes: list[str], shares: Shares) -> Logits:
    """Return the logits of `ids` out of a run's files, of head and others by their `shares`.

    Raises `UserError` where a file is missing or damaged, holds other rows, classes or views, or logits that are not
    finite: of those kept in files, which are read later, at `load`.
    """
    if not keeps_all(len(classes)):
        stored = [open_npz(intact(file)) for file in files]
        for file, content in zip(files, stored, strict=True):
            _check_forms(file, content)
        return _stored(stored, ids, classes, shares)
    parts = [_read_whole(file, list(shares)) for file in files]
    return blend({name: join_rows(parts, ids, classes, name) for name in shares}, shares)


def _read_whole(file: Path, names: Sequence[str]) -> Content:
    content = read_npz(intact(file))
    _check_forms(file, content)
    for name in names:
        if name in content and content[name].shape[:1] == content["ids"].shape:
            require_finite(file, content["ids"], content[name])
    return content


def _check_forms(file: Path, content: Mapping[str, Any]) -> None:
    """Raise `UserError` where an array has another kind or number of dimensions than in any file of ours."""
    for name, (kinds, dimensions) in _FORMS.items():
        array = content.get(name)
        if array is None and name in _NEEDED:
            raise UserError(f"{file} has no {name}: {made_by(file)} makes it anew")
        if array is not None and (array.dtype.kind not in kinds or array.ndim != dimensions):
            form = f"{array.dtype} of {array.ndim} dimensions"
            raise UserError(f"{file}: its {name} are {form}, so it is none of ours: {made_by(file)} makes it anew")


def join_rows(parts: Sequence[Content], ids: pd.Series, classes: list[str], by: str = HEAD) -> ModelLogits:
    """Return the logits of `ids`, in their order, out of files that together hold each id once.

    `by` is HEAD, CLASS_MEANS or NEIGHBOURS. Raises `UserError` where an id is missing or stands twice, or where a file
    has other classes or views, or no logits of that kind.
    """
    for part in parts:
        _check_names(part, parts[0], classes, by)
        if part[by].shape != (len(part["ids"]), len(part["views"]), len(part["classes"])):
            raise UserError(f"a prediction file has {by} of another shape than its ids: run predict with --force")
    positions = positions_of([part["ids"] for part in parts], ids)
    return cast(ModelLogits, np.concatenate([part[by] for part in parts])[positions])


def positions_of(ids_of_files: Iterable[npt.NDArray[np.str_]], ids: pd.Series) -> Rows:
    """Return the position of each of `ids` in the ids of several files, counted as if the files were one.

    Raises `UserError` where an id is missing, stands twice, or is not among `ids`.
    """
    wanted, start = pd.Index(ids), 0
    positions = np.full(len(ids), -1, np.int64)
    for names in ids_of_files:  # one file at a time: millions of names take gigabytes
        numbers = np.arange(start, start + len(names))
        rows = wanted.get_indexer(pd.Index(names.astype(object)))
        unknown = rows < 0
        twice = ~unknown & (positions[rows] >= 0)
        positions[rows[~unknown]] = numbers[~unknown]
        twice |= ~unknown & (positions[rows] != numbers)
        if (unknown | twice).any():
            _refuse_row(names[unknown | twice][0])
        start += len(names)
    if (positions < 0).any():
        _refuse_row(ids.iloc[int(positions.argmin())])
    return positions


def _refuse_row(name: str) -> NoReturn:
    raise UserError(f"the prediction files do not hold every row once, first {str(name)!r}: run predict with --force")


def _stored(files: Sequence[Mapping[str, NpzArray]], ids: pd.Series, classes: list[str], shares: Shares) -> LazyLogits:
    for file in files:
        for name in shares:
            _check_names(file, files[0], classes, name)
            if TOP not in file or REST[name] not in file:
                raise UserError(f"a prediction file has no likeliest classes of {name}: run predict with --force")
            rows, views, kept = len(file["ids"]), len(file["views"]), file[TOP].shape[1]
            if (file[name].shape, len(file[TOP])) != ((rows, views, kept), rows):
                raise UserError(f"a prediction file has {name} of another shape than its ids: run predict with --force")
    return LazyLogits(files, positions_of((file["ids"][:] for file in files), ids), shares, len(classes))


def _check_names(part: Mapping[str, Any], first: Mapping[str, Any], classes: list[str], by: str) -> None:
    if by not in part:
        flag = "--predict.neighbours 50" if by == NEIGHBOURS else "--predict.class_means true"
        raise UserError(f"a prediction file has no {by}: run predict with {flag} and --force")
    if list(part["classes"][:]) != classes:
        raise UserError("a prediction file has other classes than the training rows: run predict with --force")
    if list(part["views"][:]) != list(first["views"][:]):
        raise UserError("the folds were predicted with different views: run predict with --force")


@dataclass(frozen=True)
class FinishedRun:
    """A run of which every fold is predicted, or a folder that holds only its tables."""

    name: str
    folder: Path
    inputs: dict[str, str]  # of each of its prediction files: name -> hash
    fold_folders: tuple[Path, ...]  # empty where there are only tables
    class_mean_weight: float = 0.0  # of the class means in its predictions
    full: str = ""  # hash of the predictions of the model on all rows; empty without one

    @property
    def shares(self) -> Shares:
        """What its predictions are a blend of."""
        return head_and_class_means(self.class_mean_weight)

    def beside(self, members: Sequence[str]) -> dict[str, Shares]:
        """Return those `members` that it has, as predictions of their own, by their names in a decision."""
        return beside(self.name, members) if self.fold_folders else {}

    def fold_folder(self, fold: int) -> Path:
        """Return the folder of a fold, or of the model on all rows."""
        return self.folder / "full" if fold == FULL else self.fold_folders[fold]


def beside(run: str, members: Sequence[str]) -> dict[str, Shares]:
    """Return the `members`, of BESIDE_HEAD, that may decide beside the head of a run, by their names in a decision."""
    return {f"{run} {member}": {BESIDE_HEAD[member]: 1.0} for member in members}


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
        content = read_done(done)
        if content["fingerprint"].get(f"input {SPLIT}") != split_digest:
            raise UserError(f"run {name} was made with other folds, rows or labels than {SPLIT} has now: leave it out")
        inputs[f"{name} fold {fold}"] = content["hash"]
        settings = content["fingerprint"]
        before = settings.get("predict.prototype_weight", 0.0)  # what it was called before version 0.1.0
        weights.add(settings.get("predict.class_mean_weight", before))
    return FinishedRun(name, folder, inputs, folders, max(weights), _full_model(folder, split_digest))


def _full_model(folder: Path, split_digest: str) -> str:
    done = folder / "full" / "predict.done.json"
    content = read_done(done) if done.exists() else {}
    ours = content.get("fingerprint", {}).get(f"input {SPLIT}") == split_digest
    return content["hash"] if ours else ""


def _tables(name: str, folder: Path) -> FinishedRun:
    tables = LARGE_TABLES if (folder / LARGE_TABLES[0]).is_file() else TABLES
    for table in tables:
        if not (folder / table).is_file():
            raise UserError(f"run {name} has neither predicted folds nor {folder / table}: finish it, or leave it out")
    return FinishedRun(name, folder, {f"{name} {table}": sha256_file(folder / table) for table in tables}, ())
