"""Offline inference from a bundle: the test rows' submission, on any host with a few packages.

Directly or not, this imports nothing but cv2, numpy, pandas and the standard library, and Pillow for images that cv2
cannot read faithfully; beside those the models' format needs torch, timm and safetensors, or onnxruntime, or openvino
(`on_torch`, `on_onnx`, `on_openvino`). A test holds it to that.
"""

import os
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from supcon.arrays import RowMask
from supcon.bundle.formats import Model, open_model
from supcon.bundle.manifest import Bundle
from supcon.competition.files.find import ImageFinder, is_absent
from supcon.competition.files.image_tables import add_images
from supcon.competition.files.index import SAMPLE, TEST, ImageIndex, find_table, part_of
from supcon.competition.form import submission_rows
from supcon.competition.rows import sample_rows
from supcon.competition.sample import Sample, read_sample, shown_columns
from supcon.decision.merge import HEAD, blend, keep_likeliest_of, row_entropies, sharpen
from supcon.errors import UserError
from supcon.images.augment.views import views_of
from supcon.metrics.top_k import Matrix, joined, keep_likeliest, scattered
from supcon.storage.tables import write_table

MOUNTED = Path("/kaggle/input")
WORK = Path(tempfile.gettempdir()) / "supcon"  # for the images that a table holds, or that lie packed as one piece

Views = npt.NDArray[np.uint8]  # [V, side, side, 3] of one image, or [B, V, side, side, 3] of some
ModelOutputs = npt.NDArray[np.float32]  # [B, V, classifiers, classes]
Batch = tuple[Views, RowMask]  # uint8 views [B, V, side, side, 3]; which of the B images are readable


def find_competition(bundle: Bundle) -> Path:
    """Return the folder that holds the host's files: here, beside the bundle, or below /kaggle/input.

    Its sample_submission.csv has the columns that the bundle was made for. Raises `UserError` where no folder or
    more than one has such a file.
    """
    working, parent = Path.cwd(), bundle.folder.absolute().parent
    folders = [working, *working.glob("*/"), parent, *parent.glob("*/")]
    folders += [folder for depth in ("*/", "*/*/", "*/*/*/") for folder in MOUNTED.glob(depth)]
    samples = {(folder / SAMPLE).resolve(): folder for folder in folders if (folder / SAMPLE).is_file()}
    fitting = [folder for path, folder in samples.items() if _fits(read_sample(path), bundle)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UserError(f"{fitting[0]} and {fitting[1]} both hold a {SAMPLE} that fits: name one in COMPETITION")
    raise UserError(
        f"no {SAMPLE} with the columns {shown_columns(bundle.columns)} lies in {working}, in {parent}, a folder below,"
        f" or below {MOUNTED}: name its folder in COMPETITION"
    )


def _fits(sample: Sample, bundle: Bundle) -> bool:
    return sample.id_column == bundle.columns[0] and set(sample.targets) == set(bundle.columns[1:])


def predict_submission(bundle: Bundle, competition: Path, output: Path) -> pd.DataFrame:
    """Predict the rows of the host's sample_submission.csv, write them to `output` in its form, and return them.

    Images are decoded batch by batch and each batch goes through every fold's model, so memory does not grow with the
    images. An unreadable image is named, and its row gets the class shares of the training rows. Raises `UserError` for
    files that are missing or do not fit.
    """
    sample, files = _read_test(bundle, competition)
    models = [open_model(bundle, name) for name in bundle.models]
    print(f"{competition}: {len(files):,} rows", flush=True)
    print(f"{len(models)} models, {len(bundle.views)} views of each image, on {models[0].place}", flush=True)

    merged, entropies = [], []  # the models' mean log-probabilities, and each fold's entropies, batch by batch
    ids = iter(sample.ids)
    for views, readable in _with_progress(_batches(bundle, files), len(files)):
        members, batch = [], list(islice(ids, len(readable)))
        for number, model in enumerate(models):
            outputs = outputs_of(model, views)
            require_finite(outputs, batch, bundle.folder / bundle.models[number])
            members.append(bundle.rule.merge(log_odds(bundle, number, outputs, readable)))
        merged.append(bundle.rule.mean(members))
        entropies.append([row_entropies(member) for member in members[: bundle.settings.data.folds]])
    entropy = float(np.concatenate(entropies, axis=1).mean(axis=1).mean())
    sharpened, _ = sharpen(joined(merged), entropy)
    decided = bundle.rule.decide(sharpened) if bundle.form.takes_labels else bundle.rule.adjusted(sharpened)
    rows = submission_rows(sample, bundle.form, sample.ids.to_list(), bundle.classes, decided)
    write_table(output, rows, sample.dialect)
    print(f"{output} is written", flush=True)
    return rows


def _read_test(bundle: Bundle, competition: Path) -> tuple[Sample, list[Path]]:
    """Return the form of the submission, and the image file of each of its rows."""
    index = ImageIndex([competition])
    path = find_table(index, SAMPLE)
    if path is None:
        raise UserError(f"{competition / SAMPLE} is missing: name the folder that holds it in COMPETITION")
    sample = read_sample(path)
    if not _fits(sample, bundle):
        raise UserError(
            f"{path} has the columns {shown_columns([sample.id_column, *sample.targets])}, the bundle was made for"
            f" {shown_columns(bundle.columns)}: name another folder in COMPETITION, or bundle the run that fits"
        )
    data = bundle.settings.data
    add_images(index, WORK, sample, data, ["test"])
    finder = ImageFinder(index)
    rows = sample_rows(find_table(index, TEST), sample, data, finder, allow_extra=True)
    for container, line in index.unread.items() if finder.absent else ():
        if part_of(f"{container}/") == "test":
            raise UserError(line)
        print(f"note: {line}", flush=True)
    if rows["path"].map(is_absent).all():  # as where a notebook is saved, before the host runs it on its own images
        print(f"{competition}: no row has an image here, so all get the class shares of the training rows", flush=True)
        finder.forget_absent("test")
    finder.require_present(data.bad_images, settable=False)
    for line in finder.notes():
        print(f"note: {line}", flush=True)
    return sample, [index.file(path) for path in rows["path"]]


def outputs_of(model: Model, views: Views) -> ModelOutputs:
    """Return a model's outputs [B, V, classifiers, classes] for the views of some images, [B, V, side, side, 3].

    View by view, as the run predicts: the same bytes need batches of the same size.
    """
    return np.stack([model(np.ascontiguousarray(view)) for view in np.moveaxis(views, 1, 0)], axis=1)


def log_odds(bundle: Bundle, number: int, outputs: ModelOutputs, readable: RowMask) -> list[Matrix]:
    """Return a batch's natural-prior log-odds [B, V, classes], those of each member of the decision.

    `outputs` are those of the bundle's model `number`, [B, V, classifiers, classes].
    """
    predicted = dict(zip(bundle.classifiers, np.moveaxis(outputs, 2, 0), strict=True))
    predicted[HEAD] = predicted[HEAD] + np.array(bundle.log_odds_shifts[number], np.float32)
    kept = keep_likeliest_of({name: np.ascontiguousarray(logits) for name, logits in predicted.items()})
    unknown = np.array(bundle.unreadable_logits[number], np.float32)
    unread = keep_likeliest(np.broadcast_to(unknown, (int((~readable).sum()), outputs.shape[1], len(unknown))))
    members = [blend(kept, shares) for shares in bundle.members]
    return [scattered(len(readable), [(readable, own[readable]), (~readable, unread)]) for own in members]


def require_finite(outputs: ModelOutputs, ids: Sequence[str], model: Path) -> None:
    """Raise `UserError`, naming the first row, where a batch's outputs [B, ...] are not finite."""
    finite = np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1)
    if not finite.all():
        name = ids[int(finite.argmin())]
        raise UserError(
            f"{model}: the logits of {name!r} are not finite, its weights are damaged: copy the whole bundle again, or"
            " train that fold anew and bundle the run again"
        )


def _batches(bundle: Bundle, files: Sequence[Path]) -> Iterator[Batch]:
    """Yield the images' views in order, decoded by threads one batch ahead."""
    size = bundle.settings.predict.batch_size
    waiting: deque[list[Future[tuple[Views, bool]]]] = deque()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(files), size):
            waiting.append([pool.submit(_views_of_file, bundle, file) for file in files[start : start + size]])
            if len(waiting) > 1:
                yield _stacked(waiting.popleft())
        while waiting:
            yield _stacked(waiting.popleft())


def _stacked(futures: Sequence["Future[tuple[Views, bool]]"]) -> Batch:
    views, readable = zip(*(future.result() for future in futures), strict=True)
    return np.stack(views), np.array(readable)


def _views_of_file(bundle: Bundle, file: Path) -> tuple[Views, bool]:
    """Return an image's views, by way of what the run's store keeps of an image; and whether it could be read."""
    readable, fit = True, bundle.settings.data.fit
    try:
        image = bundle.how.decode(file)
    except UserError as error:
        print(f"warning: {error}; its row gets the class shares of the training rows", flush=True)
        image, readable = np.zeros((1, 1, 3), np.uint8), False
    return views_of(image, bundle.views, bundle.side, fit), readable


def _with_progress(batches: Iterator[Batch], total: int) -> Iterator[Batch]:
    """Print a line for every tenth of the rows."""
    done = tenths = 0
    for batch in batches:
        yield batch
        done += len(batch[1])
        if done * 10 // total > tenths:
            tenths = done * 10 // total
            print(f"{done:,} of {total:,} rows predicted", flush=True)
