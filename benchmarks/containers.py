"""How fast are images read from containers, one by one and in any order, beside files?

    python benchmarks/containers.py                # 5,000 JPEGs of 10 kB
    python benchmarks/containers.py --images 1000 --kilobytes 100

Reads alone, without decoding, in one process, all in the page cache: images/s in the order of the container and at
random. Parquet is written in row groups of several sizes, which tells from which size on a copy in small groups pays.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from supcon.images.members import contents_of, open_image, use_container  # noqa: E402

SIDE = 58  # of uncompressed images: 58 x 58 x 3 are 10 kB
GROUPS = (10, 100, 400, 1000, 5000)  # rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--kilobytes", type=int, default=10)
    options = parser.parse_args()
    draw = np.random.default_rng(0)
    images = [b"\xff\xd8\xff" + draw.bytes(options.kilobytes * 1000) for _ in range(options.images)]
    order = draw.permutation(options.images)
    with tempfile.TemporaryDirectory() as folder:
        for name, paths in write_all(Path(folder), images).items():
            shuffled = [paths[number] for number in order[: options.images if "group" not in name else 500]]
            print(f"{name:<36} {rate(paths):>9,.0f} in order {rate(shuffled):>9,.0f} at random, images/s", flush=True)


def rate(paths: Sequence[str]) -> float:
    start = time.perf_counter()
    for path in paths:
        with open_image(path) as file:
            file.read()
    return len(paths) / (time.perf_counter() - start)


def write_all(folder: Path, images: Sequence[bytes]) -> dict[str, list[str]]:
    """Write the same images in every form, and return the paths of the images."""
    count, found = len(images), {}
    (folder / "files").mkdir()
    for number, content in enumerate(images):
        (folder / "files" / f"{number}.jpg").write_bytes(content)
    found["files"] = [f"{folder}/files/{number}.jpg" for number in range(count)]
    with h5py.File(folder / "keys.hdf5", "w") as file:
        for number, content in enumerate(images):
            file.create_dataset(f"ISIC_{number:07d}", data=np.void(content))
    found["HDF5, a key each"] = [f"{folder}/keys.hdf5/ISIC_{number:07d}" for number in range(count)]
    pixels = np.random.default_rng(1).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
    np.save(folder / "x.npy", pixels)
    found["npy, 10 kB of pixels"] = [f"{folder}/x.npy/[{number}]" for number in range(count)]
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("x", data=pixels)
        file.create_dataset("chunks", data=pixels, chunks=(100, SIDE, SIDE, 3), compression="gzip")
    found["HDF5, an array"] = [f"{folder}/x.h5/x/[{number}]" for number in range(count)]
    found["HDF5, chunks of 1 MB, a group each"] = [f"{folder}/x.h5/chunks/[{number}]" for number in range(count)]
    table = pa.table({"image": pa.array(images, pa.binary())})
    for rows in GROUPS:
        path = folder / f"{rows}.parquet"
        pq.write_table(table, path, row_group_size=rows)
        name = f"Parquet, groups of {rows * len(images[0]) / 1e6:.3g} MB"
        found[name] = [f"{path}/image/[{number}]" for number in range(count)]
    (stack,) = contents_of(str(path)).stacks
    with use_container(str(path)) as container:
        start = time.perf_counter()
        container.copy(stack, folder / "copy.parquet")
        print(f"copied into small groups: {len(images) / (time.perf_counter() - start):,.0f} images/s", flush=True)
    found["Parquet, the copy"] = [f"{folder}/copy.parquet/image/[{number}]" for number in range(count)]
    return found


if __name__ == "__main__":
    main()
