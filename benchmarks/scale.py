"""Does a competition of millions of rows and tens of thousands of classes fit, and does its time grow with its rows?

    python benchmarks/scale.py [--rows 4000000] [--classes 80000] [--root DIR] [--keep]

Builds a long-tailed competition without pixels: train.csv of so many rows, a tenth as many test rows, and what five
models predict of them. Then runs each step in a process of its own, for a tenth of the rows, a third and all of them,
and prints its seconds and its peak memory: the highest sum over its processes of what each holds (PSS, sampled twice a
second), or the first process's maximum resident size where that is more. "per row" are the processor's seconds
a row of all rows over those of a tenth: 1 is linear, less is a fixed cost. Two things stand in for pixels: the list of
the image files, and the hashes of their contents. The rest is the stages' own code; `tune`, `ensemble` and `check` are
the stages themselves.
"""

import argparse
import hashlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = REPOSITORY / "src"
sys.path[:0] = [str(SOURCES), str(REPOSITORY)]

from benchmarks.process_usage import family, held, processor_seconds  # noqa: E402

import supcon.competition.files.index  # noqa: E402
import supcon.run.experiment  # noqa: E402
from supcon.arrays import Labels  # noqa: E402
from supcon.competition.folds import make_folds, write_folds  # noqa: E402
from supcon.competition.read import read_competition  # noqa: E402
from supcon.decision.merge import HEAD  # noqa: E402
from supcon.metrics.top_k import KEPT, LARGEST_DENSE, Matrix, TopK  # noqa: E402
from supcon.run.experiment import Experiment, load_experiment  # noqa: E402
from supcon.run.predictions import write_predictions  # noqa: E402
from supcon.settings import Request, parse  # noqa: E402
from supcon.training.sampler import NaturalSampler, PKSampler  # noqa: E402

FOLDS, TEST_SHARE = 5, 10
FLAGS = ("--config", str(SOURCES.parent / "configs" / "cross_entropy.yaml"), "--run=scale", f"--data.folds={FOLDS}")
BATCHES = 2000  # of the sampler
SPREAD = 60  # classes that a model confuses with the true one
CHUNK = 200_000  # rows simulated at a time
_PAUSE = 0.5  # seconds between two looks at a step's memory, each of which costs some milliseconds a GB

Cost = tuple[float, float, float]  # seconds, seconds of the processor, peak memory in MB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--classes", type=int, default=80_000)
    parser.add_argument("--root", type=Path, help="where the competitions are built; default: a temporary folder")
    parser.add_argument("--keep", action="store_true", help="leave them there")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        step(options.step, options.root, options.rows, options.classes)
        return
    base = options.root or Path(tempfile.mkdtemp(prefix="scale-"))
    sizes = [max(options.rows // part, FOLDS * options.classes) for part in (10, 3, 1)]
    results = {}
    for rows in sizes:
        results[rows] = measured(base / str(rows), rows, options.classes)
        if not options.keep:
            shutil.rmtree(base / str(rows))
    print_table(results, options.classes)


def measured(root: Path, rows: int, classes: int) -> dict[str, Cost]:
    """Return the costs of every step."""
    results = {}
    for step in STEPS:
        command = [sys.executable, __file__, "--step", step, "--root", str(root)]
        results[step] = watch([*command, "--rows", str(rows), "--classes", str(classes)])
        seconds, processor, peak = results[step]
        print(f"{rows:,} rows: {step}: {seconds:.1f} s ({processor:.1f}), {peak:,.0f} MB", file=sys.stderr, flush=True)
    return results


def step(name: str, root: Path, rows: int, classes: int) -> None:
    """Do one step, and print its seconds, its processor seconds and its largest size in MB as the last line."""
    stand_in(rows)
    started, before = time.perf_counter(), processor_seconds()
    STEPS[name](root, rows, classes)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(time.perf_counter() - started, processor_seconds() - before, largest)


def watch(command: Sequence[str]) -> Cost:
    """Run a step's command; return its seconds, processor seconds, and the peak memory of all its processes in MB."""
    peak = 0.0
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output)
        while process.poll() is None:
            peak = max(peak, sum(held(number) for number in family(process.pid)))
            time.sleep(_PAUSE)
        output.seek(0)
        lines = output.read().splitlines()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    last = lines.pop()
    print("\n".join(lines), file=sys.stderr)
    seconds, processor, largest = map(float, last.split())
    return seconds, processor, max(peak, largest)


def print_table(results: dict[int, dict[str, Cost]], classes: int) -> None:
    """Print a line a step."""
    sizes = list(results)
    print(f"\n{classes:,} classes; seconds (of the processor) and peak MB\n")
    print("| step | " + " | ".join(f"{rows:,} rows" for rows in sizes) + " | per row |")
    print("|---" * (len(sizes) + 2) + "|")
    for step in results[sizes[0]]:
        costs = [results[rows][step] for rows in sizes]
        ratio = costs[-1][1] / sizes[-1] / (costs[0][1] / sizes[0])
        cells = " | ".join(f"{seconds:,.0f} ({processor:,.0f}), {peak:,.0f} MB" for seconds, processor, peak in costs)
        print(f"| {step} | {cells} | {ratio:.2f} |")


# The steps.


def build(root: Path, rows: int, classes: int) -> None:
    """Write the host's files; no step of the pipeline."""
    folder = root / "input"
    folder.mkdir(parents=True)
    true = long_tail(classes, rows)
    np.save(root / "labels.npy", true)
    test = long_tail(classes, max(rows // TEST_SHARE, classes * FOLDS), seed=1)[: rows // TEST_SHARE]
    np.save(root / "test.npy", test)
    names = np.array([str(number) for number in range(classes)])
    for path, labels, first in ((folder / "train.csv", true, 0), (folder / "solution.csv", test, rows)):
        table = pd.DataFrame({"id": [name_of(first + row) for row in range(len(labels))], "landmark": names[labels]})
        table.to_csv(path, index=False)
    table.assign(landmark="0").to_csv(folder / "sample_submission.csv", index=False)


def reading(root: Path, rows: int, classes: int) -> None:
    """Read train.csv and sample_submission.csv, each row with its image."""
    request = call_of(root)
    competition = read_competition(root / "input", root / "cache", request.settings.data)
    assert (len(competition.train), len(competition.classes)) == (rows, classes)


def folds(root: Path, rows: int, classes: int) -> None:
    """Read, split and write folds.csv; one image in a hundred is a copy of the one before."""
    request = call_of(root)
    train = read_competition(root / "input", root / "cache", request.settings.data).train
    label = np.load(root / "labels.npy")
    order = np.argsort(label, kind="stable")
    pairs = np.column_stack([order[:-1], order[1:]])[::100]
    frequent = np.bincount(label)[label[pairs]].min(axis=1) > 4 * FOLDS
    pairs = pairs[frequent & (label[pairs[:, 0]] == label[pairs[:, 1]])]
    table = make_folds(train, pairs, np.zeros(0, np.int64), request.settings.data)
    write_folds(root / "folds" / "folds.csv", table)


def natural_batches(root: Path, rows: int, classes: int) -> None:
    """Build a sampler that shows every row once an epoch, and draw batches of two epochs."""
    sampler = NaturalSampler(rows, 256, seed=0)
    for number in range(BATCHES):
        sampler.rows_of(number % 2, number % len(sampler))


def pk_batches(root: Path, rows: int, classes: int) -> None:
    """Build a sampler of 64 classes x 4 images, and draw batches."""
    sampler = PKSampler(np.load(root / "labels.npy"), 64, 4, seed=0, balance=0.5)
    for number in range(BATCHES):
        sampler.rows_of(0, number % len(sampler))


def predictions(root: Path, rows: int, classes: int) -> None:
    """Write what each fold's model predicts: oof.npz and test.npz, one view, and what says that the stage is done."""
    experiment = load_experiment(call_of(root))
    prior = np.bincount(experiment.split.labels, minlength=classes) / rows
    test = pd.Index(experiment.split.classes).get_indexer(pd.Index(np.load(root / "test.npy").astype(str)))
    for fold in range(FOLDS):
        folder, held_out = experiment.request.fold_folder(fold), experiment.split.rows_of(fold)
        folder.mkdir(parents=True)
        (folder / "classifier.safetensors").write_bytes(b"")
        experiment.stage("finetune", fold).finish(time.time())
        ids = experiment.split.ids.iloc[held_out]
        write(folder / "oof.npz", ids, simulated(experiment.split.labels[held_out], prior, fold), experiment)
        write(
            folder / "test.npz", experiment.competition.test["id"], simulated(test, prior, fold, test=True), experiment
        )
        (folder / "embeddings.npz").write_bytes(b"")
        experiment.stage("predict", fold).finish(time.time())


def tune(root: Path, rows: int, classes: int) -> None:
    """The stage: cross-fitted choice of rungs, temperature, prior strength."""
    import tune

    tune.main(["--root", str(root), *FLAGS])


def ensemble(root: Path, rows: int, classes: int) -> None:
    """The stage: folds merged, decided, submission written and checked, scores with intervals."""
    import ensemble

    ensemble.main(["--root", str(root), *FLAGS])


def check(root: Path, rows: int, classes: int) -> None:
    """The stage: a submission file against the sample."""
    from supcon.commands import check

    check.main([str(root / "submissions" / "submission.csv"), "--root", str(root), *FLAGS])


STEPS: dict[str, Callable[[Path, int, int], None]] = {
    step.__name__.replace("_", " "): step
    for step in (build, reading, folds, natural_batches, pk_batches, predictions, tune, ensemble, check)
}


# What they work on.


def call_of(root: Path) -> Request:
    """Return the command line of the stages."""
    return parse("", ["--root", str(root), *FLAGS])


def long_tail(classes: int, rows: int, seed: int = 0) -> Labels:
    """Return shuffled labels [rows] of a long-tailed data set, of each class as many as there are folds or more."""
    shares = (np.arange(classes) + 1) ** -0.8
    sizes = np.floor(shares / shares.sum() * (rows - FOLDS * classes)).astype(np.int64) + FOLDS
    sizes[0] += rows - sizes.sum()
    draw = np.random.default_rng(seed)
    rank = np.random.default_rng(0).permutation(classes)  # neighbours in number are not alike in frequency
    return draw.permutation(np.repeat(rank, sizes))


def name_of(row: int) -> str:
    """Return an id of 16 hexadecimal digits."""
    return f"{row * 0x9E3779B97F4A7C15 % 2**64:016x}"


def simulated(true: Labels, prior: npt.NDArray[np.float64], model: int, *, test: bool = False) -> Matrix:
    """Return logits [rows, 1, classes] of a model that keeps the likeliest of the classes it confuses with the true."""
    draw = np.random.default_rng([model, test])
    classes = len(prior)
    parts = []
    for start in range(0, len(true), CHUNK):
        labels = true[start : start + CHUNK]
        numbers = (labels[:, None] + np.arange(SPREAD) * 7) % classes
        shared = np.random.default_rng([start, test]).standard_normal(numbers.shape, np.float32)
        noise = 0.9 * shared + 0.6 * draw.standard_normal(numbers.shape, np.float32)
        values = noise + np.log(prior).astype(np.float32)[numbers]
        values[:, 0] += 4
        if classes <= LARGEST_DENSE:
            dense = np.full((len(labels), classes), -12, np.float32)
            np.put_along_axis(dense, numbers, values, axis=1)
            parts.append((dense[:, None], numbers))
            continue
        columns = np.argpartition(values, SPREAD - KEPT, axis=1)[:, -KEPT:]
        columns = np.take_along_axis(columns, np.argsort(np.take_along_axis(numbers, columns, axis=1), axis=1), axis=1)
        kept = np.take_along_axis(values, columns, axis=1)
        other = np.full((len(labels), 1), -22, np.float32)
        parts.append((np.column_stack([kept, other])[:, None], np.take_along_axis(numbers, columns, axis=1)))
    values, numbers = (np.concatenate(column) for column in zip(*parts, strict=True))
    return TopK(values, numbers.astype(np.int32), classes) if classes > LARGEST_DENSE else values


def write(path: Path, ids: pd.Series, logits: Matrix, experiment: Experiment) -> None:
    """Write one prediction file."""
    write_predictions(path, ids, {HEAD: logits}, experiment.split.classes, ["plain"])


def stand_in(rows: int) -> None:
    """Replace the list of image files and their hashes, since there are no files."""

    def walk(folder: Path, beside: Any) -> Iterator[str]:
        beside.tables += [path.name for path in folder.glob("*.csv")]
        yield from (f"train/{name_of(row)}.jpg" for row in range(rows))
        yield from (f"test/{name_of(rows + row)}.jpg" for row in range(rows // TEST_SHARE))

    def hashes(cache: Path, files: Sequence[Path]) -> list[str]:
        return [hashlib.sha256(str(number).encode()).hexdigest() for number in range(len(files))]

    supcon.competition.files.index._walk = walk
    supcon.run.experiment.content_hashes = hashes


if __name__ == "__main__":
    main()
