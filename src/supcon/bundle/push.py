"""A bundle on its way to the host: the folders of its dataset and of its notebook."""

import os
import shutil
from pathlib import Path

from supcon.competition.own_work import DATASET_FILE, NOTEBOOK_FILE, dataset_metadata, notebook_metadata, slug
from supcon.storage.files import write_json

NOTEBOOK = "predict.ipynb"


def pack(bundle: Path, folder: Path, run: str, *, owner: str, competition: str, gpu: bool) -> tuple[Path, Path]:
    """Write what the host takes of a bundle below `folder`, in place of what is there; return both folders.

    The bundle's files are the same ones, by hard links, where the file system has them.
    """
    shutil.rmtree(folder, ignore_errors=True)
    attached = slug(run, "bundle")
    dataset, notebook = folder / "dataset", folder / "notebook"
    shutil.copytree(bundle, dataset / "bundle", copy_function=_link)
    write_json(dataset / DATASET_FILE, dataset_metadata(owner, attached))
    notebook.mkdir()
    shutil.copyfile(bundle / NOTEBOOK, notebook / NOTEBOOK)
    write_json(notebook / NOTEBOOK_FILE, notebook_metadata(
        owner, slug(run, "predict"), NOTEBOOK, gpu=gpu, datasets=[attached], competition=competition
    ))  # fmt: skip
    return dataset, notebook


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
