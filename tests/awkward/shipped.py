"""The ordinary competition with its images in HDF5, NumPy or Parquet files."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.awkward.case import CLASSES, TEST, TRAIN, images_in, pixels, write_tables

PARTS = {"train": TRAIN, "test": TEST}
Change = Callable[[Path], None]
Numbers = tuple[int, ...]


def jpeg(number: int) -> bytes:
    """Return an image as the bytes of a JPEG."""
    out = io.BytesIO()
    Image.fromarray(pixels(number)).save(out, "JPEG")
    return out.getvalue()


def stacked(numbers: Numbers) -> npt.NDArray[np.uint8]:
    """Return images as one array, [N, height, width, 3]."""
    return np.stack([pixels(number) for number in numbers])


def instead(write: Callable[[Path, str, Numbers], object], *, counted: int | None = None) -> Change:
    """Return the change that writes the images of each part otherwise, and leaves no image files.

    Where ids are `counted`, tables have numbers for ids, from that one.
    """

    def change(folder: Path) -> None:
        for path in list(images_in(folder)):
            path.unlink()
        for part, numbers in PARTS.items():
            (folder / part).rmdir()
            write(folder, part, numbers)
        if counted is not None:
            write_tables(folder, lambda number: str((number if number in TRAIN else number - TEST[0]) + counted))

    return change


def keys(put: Callable[[h5py.Group, str, int], object], group: str = "/") -> Change:
    """Return the change that writes an HDF5 file a part, an image a key, as ISIC 2024 has them."""

    def write(folder: Path, part: str, numbers: Numbers) -> None:
        with h5py.File(folder / f"{part}-image.hdf5", "w") as file:
            for number in numbers:
                put(file.require_group(group), f"img{number}", number)

    return instead(write)


def opaque(group: h5py.Group, name: str, number: int) -> None:
    group.create_dataset(name, data=np.void(jpeg(number)))


def row_of_bytes(group: h5py.Group, name: str, number: int) -> None:
    group.create_dataset(name, data=np.frombuffer(jpeg(number), np.uint8))


def array(group: h5py.Group, name: str, number: int) -> None:
    group.create_dataset(name, data=pixels(number), compression="gzip")


def dataset(name: str, make: Callable[[Numbers], npt.NDArray[Any]] = stacked, **options: Any) -> Callable[..., None]:
    """Return what writes an HDF5 file with one array of all images, and their classes beside it."""

    def write(folder: Path, part: str, numbers: Numbers) -> None:
        with h5py.File(folder / f"{part}.h5", "w") as file:
            file.create_dataset(name, data=make(numbers), **options)
            file.create_dataset("y", data=np.array(numbers, np.uint8) % 3)

    return write


def npy(folder: Path, part: str, numbers: Numbers) -> None:
    np.save(folder / f"{part}_images.npy", stacked(numbers))


def npz(save: Callable[..., object]) -> Callable[..., None]:
    def write(folder: Path, part: str, numbers: Numbers) -> None:
        save(folder / f"{part}.npz", images=stacked(numbers), labels=np.array(numbers) % 3)

    return write


def one_npz(folder: Path) -> None:
    """Both parts in one file, as Keras has MNIST."""
    instead(lambda *_: None, counted=0)(folder)
    np.savez_compressed(folder / "data.npz", x_train=stacked(TRAIN), y_train=np.zeros(24), x_test=stacked(TEST))


def npz_by_name(folder: Path, part: str, numbers: Numbers) -> None:
    images: dict[str, Any] = {f"img{number}": pixels(number) for number in numbers}
    np.savez_compressed(folder / f"{part}.npz", **images)


def parquet(*, image: str = "bytes", ids: bool = True, shards: int = 1, **options: Any) -> Callable[..., None]:
    """Return what writes a table that holds images, their ids and their classes, in place of the CSV file."""

    def write(folder: Path, part: str, numbers: Numbers) -> None:
        (folder / "train.csv").unlink(missing_ok=True)
        cells: list[Any] = [jpeg(number) for number in numbers]
        kind = pa.binary()
        if image == "struct":
            cells = [{"bytes": cell, "path": None} for cell in cells]
            kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        elif image == "list":
            cells, kind = [list(cell) for cell in cells], pa.list_(pa.uint8())
        columns = {"image": pa.array(cells, kind)}
        columns |= {"id": pa.array([f"img{number}" for number in numbers])} if ids else {}
        columns |= {"label": pa.array([CLASSES[number % 3] for number in numbers])} if part == "train" else {}
        table, each = pa.table(columns), len(numbers) // shards
        for shard in range(shards):
            name = f"{part}.parquet" if shards == 1 else f"data/{part}-{shard:05d}-of-{shards:05d}.parquet"
            (folder / name).parent.mkdir(exist_ok=True)
            pq.write_table(table.slice(shard * each, each), folder / name, **options)

    return write


def without_ids(folder: Path) -> None:
    instead(parquet(image="struct", ids=False))(folder)
    (folder / "sample_submission.csv").write_text("id,label\n" + "".join(f"{row},ant\n" for row in range(len(TEST))))


def cells_beside_csv(folder: Path) -> None:
    """The labels are in train.csv, the images in another table, in another order."""
    text = (folder / "train.csv").read_text()
    instead(lambda *some: parquet()(some[0], some[1], some[2][::-1]))(folder)
    (folder / "train.csv").write_text(text)
    (folder / "train.parquet").rename(folder / "train_images.parquet")


def plain_parquet(folder: Path) -> None:
    """A table of Parquet beside image files."""
    labels = [CLASSES[number % 3] for number in TRAIN]
    pq.write_table(pa.table({"id": [f"img{number}" for number in TRAIN], "label": labels}), folder / "train.parquet")
    (folder / "train.csv").unlink()


def beside_the_files(folder: Path) -> None:
    """The host ships the training images in both forms, the test images in one."""
    files = {path: path.read_bytes() for path in images_in(folder / "train")}
    keys(opaque)(folder)
    for path, content in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


def numbered(column: str, cells: Callable[[int], object]) -> Change:
    """Return the change to arrays, whose rows a column of train.csv numbers; the test images stay files."""

    def change(folder: Path) -> None:
        order = TRAIN[::-1]
        np.save(folder / "train.npy", stacked(order))
        for path in list(images_in(folder / "train")):
            path.unlink()
        rows = "".join(f"{cells(order.index(n))},img{n},{CLASSES[n % 3]}\n" for n in TRAIN)
        (folder / "train.csv").write_text(f"{column},id,label\n{rows}")

    return change


def damaged(change: Change, name: str, damage: Callable[[bytes], bytes]) -> Change:
    """Return a change after which one file is damaged."""

    def both(folder: Path) -> None:
        change(folder)
        (folder / name).write_bytes(damage((folder / name).read_bytes()))

    return both


def one_more_key(put: Callable[[h5py.Group, str, int], object]) -> Change:
    """Return the change to keys of which one holds something else."""

    def change(folder: Path) -> None:
        keys(opaque)(folder)
        with h5py.File(folder / "train-image.hdf5", "a") as file:
            del file["img4"]
            put(file, "img4", 4)

    return change


def leading_out(file: h5py.Group, name: str, _: int) -> None:
    """An image whose numbers lie in another file."""
    layout = h5py.VirtualLayout((24, 24, 3), np.uint8)
    layout[:] = h5py.VirtualSource("../other.h5", "x", (24, 24, 3))
    file.create_virtual_dataset(name, layout)


def no_image(file: h5py.Group, name: str, _: int) -> None:
    file.create_dataset(name, data=np.arange(9.0))


def empty(file: h5py.Group, name: str, _: int) -> None:
    file.create_dataset(name, data=h5py.Empty("u1"))


def link(file: h5py.Group, name: str, _: int) -> None:
    file[name] = h5py.ExternalLink("../other.h5", "x")


def deep(numbers: Numbers) -> npt.NDArray[np.uint16]:
    return stacked(numbers).astype(np.uint16) * 257


def parts_of_one(numbers: Numbers) -> npt.NDArray[np.float32]:
    return (stacked(numbers) / 255).astype(np.float32)


def channels_first(numbers: Numbers) -> npt.NDArray[np.uint8]:
    return stacked(numbers).transpose(0, 3, 1, 2)


def features(folder: Path, part: str, numbers: Numbers) -> None:
    np.save(folder / f"{part}.npy", np.ones((len(numbers), 9)))


def objects(folder: Path, part: str, numbers: Numbers) -> None:
    np.save(folder / f"{part}.npy", np.array([*map(pixels, numbers), None], object))


def odd_names(folder: Path) -> None:
    """Beside the images, keys that no file system would have."""
    keys(opaque)(folder)
    with h5py.File(folder / "train-image.hdf5", "a") as file:
        for name in ("a\nb", "é", "..", "x" * 300):
            opaque(file, name, 1)
        h5py.h5d.create(file.id, b"\xff\xfe", h5py.h5t.STD_U8LE, h5py.h5s.create(h5py.h5s.SCALAR))


def with_suffix(group: h5py.Group, name: str, number: int) -> None:
    opaque(group, f"{name}.jpg", number)


def named_classes(folder: Path, part: str, numbers: Numbers) -> None:
    names = np.array([CLASSES[number % 3] for number in numbers])
    np.savez(folder / f"{part}.npz", x=stacked(numbers), y=names, z=names.astype(object))


def edited(edit: Callable[[pa.Table], pa.Table], change: Change | None = None, name: str = "train") -> Change:
    """Return the change to Parquet of which one file is edited."""

    def both(folder: Path) -> None:
        (change or instead(parquet()))(folder)
        path = folder / f"{name}.parquet"
        pq.write_table(edit(pq.read_table(path)), path)

    return both


def recast(kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(0, "image", table["image"].cast(kind))


def one_null(table: pa.Table) -> pa.Table:
    cells = table["image"].to_pylist()
    cells[4] = None
    return table.set_column(0, "image", pa.array(cells, pa.binary()))


def by_columns(folder: Path, part: str, numbers: Numbers) -> None:
    np.save(folder / f"{part}.npy", np.asfortranarray(stacked(numbers)))


def pipe(folder: Path) -> None:
    keys(opaque)(folder)
    (folder / "train-image.hdf5").unlink()
    os.mkfifo(folder / "train-image.hdf5")


def zipped(folder: Path) -> None:
    keys(opaque)(folder)
    with zipfile.ZipFile(folder / "all.zip", "w") as file:
        for path in sorted(folder.glob("*.[hc]*")):
            file.write(path, path.name)
            path.unlink()


def each_an_array(folder: Path) -> None:
    for path in list(images_in(folder)):
        np.save(path.with_suffix(".npy"), np.asarray(Image.open(path)).transpose(2, 0, 1))
        path.unlink()
