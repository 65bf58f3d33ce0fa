"""Images in HDF5, NumPy and Parquet files: by key, by row, beside a table or as one; and what such files lack."""

import io
from dataclasses import replace
from typing import Any

import h5py
import numpy as np
import pyarrow as pa

from tests.awkward.case import Case
from tests.awkward.shipped import (
    array,
    beside_the_files,
    by_columns,
    cells_beside_csv,
    channels_first,
    damaged,
    dataset,
    deep,
    each_an_array,
    edited,
    empty,
    features,
    instead,
    keys,
    leading_out,
    link,
    named_classes,
    no_image,
    npy,
    npz,
    npz_by_name,
    numbered,
    objects,
    odd_names,
    one_more_key,
    one_npz,
    one_null,
    opaque,
    parquet,
    parts_of_one,
    pipe,
    plain_parquet,
    recast,
    row_of_bytes,
    with_suffix,
    without_ids,
    zipped,
)


def halved(content: bytes) -> bytes:
    return content[: len(content) // 2]


def no_keys() -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w"):
        pass
    return content.getvalue()


EMPTY = no_keys()
CHUNKS: dict[str, Any] = {"chunks": (5, 24, 24, 3), "compression": "gzip"}
KEYS, NPY = keys(opaque), instead(npy, counted=0)
NO_ORDER = "holds 24 images by number, and nothing in .*train.csv .24 rows, the first id 'img0'. says which"
CASES = [
    Case("keys of HDF5", KEYS),
    Case("keys of HDF5 as rows of bytes", keys(row_of_bytes)),
    Case("keys of HDF5 in a group", keys(opaque, "images")),
    Case("keys of HDF5 as arrays", keys(array)),
    Case("keys of HDF5 beside the files", beside_the_files),
    *(
        Case(f"arrays of HDF5{how}", instead(dataset("images/x", **options), counted=1), says="train.h5/images/x")
        for how, options in {"": {}, " in chunks": CHUNKS}.items()
    ),
    Case("arrays of 16 bits", instead(dataset("X", deep), counted=0),
         says="30 TIFF"),
    Case("arrays of floats", instead(dataset("X", parts_of_one), counted=0),
         says="30 TIFF"),
    Case("arrays with channels first", instead(dataset("X", channels_first), counted=0),
         says="30 PPM"),
    Case("arrays of NumPy", NPY, says=r"images of train.csv are in .*/train_images.npy, first '0': train_"),
    Case("arrays of NumPy, ids from 1", instead(npy, counted=1), says=r"first '1': train_images.npy/\[0\]"),
    Case("arrays of NumPy, other ids", instead(npy), asks=NO_ORDER),
    Case("arrays of NumPy, ids from 2", instead(npy, counted=2), asks="holds 24 images by number.*the first id '2'"),
    Case("arrays of NumPy by a column", numbered("row", int), says=r"first 'img0': train.npy/\[23\]"),
    Case("arrays of NumPy by a column that is named", numbered("at", int), flags=["--data.image_column=at"],
         says=r"first 'img0': train.npy/\[23\]"),
    Case("arrays of NumPy by a column that does not number them", numbered("at", lambda row: row + 1),
         flags=["--data.image_column=at"], asks=r"'at' does not number the 24 images in .*train.npy, from 0 to 23"),
    Case("an npz", instead(npz(np.savez), counted=0), says="train.npz/images"),
    Case("an npz in one piece", instead(npz(np.savez_compressed), counted=0), says="train.npz/images"),
    Case("one npz of both parts", one_npz, says="data.npz"),
    Case("an npz by name", instead(npz_by_name)),
    *(Case(f"Parquet of {kind}", instead(parquet(image=kind)), says="train.parquet is read in place of train.csv")
      for kind in ("bytes", "struct", "list")),
    Case("Parquet in parts", instead(parquet(image="struct", shards=3)), says="00003.parquet and 2 more is read in"),
    Case("Parquet without ids", without_ids, says="is read in place of train.csv"),
    Case("Parquet beside train.csv", cells_beside_csv, says="images of train.csv are in .*train_images.parquet/image"),
    Case("Parquet beside images", plain_parquet, says="train.parquet is read in place of train.csv"),
    *(
        Case(f"{name} cut off", damaged(change, name, halved), asks=f"{name} is not a whole")
        for name, change in {"train-image.hdf5": KEYS, "train_images.npy": NPY, "train.parquet": instead(parquet()),
                             "train.npz": instead(npz_by_name)}.items()
    ),
    Case("HDF5 of nothing", damaged(KEYS, "train-image.hdf5", lambda _: b""), asks="train-image.hdf5 is not .*empty"),
    Case("HDF5 is a pointer", damaged(KEYS, "train-image.hdf5", lambda _: b"version https://git-lfs.github.com/spec/v1"),
         asks="train-image.hdf5 is no HDF5 file .*git lfs pull"),
    Case("a key that is no image", one_more_key(no_image),
         asks=r"train-image.hdf5/img4 .no image: it holds \[9\] of float64"),
    Case("a key that is empty", one_more_key(empty),
         asks="train-image.hdf5/img4 .no image"),
    Case("a key that leads out", one_more_key(leading_out), asks="train-image.hdf5/img4 .its numbers lie in other"),
    Case("a key that is a link", one_more_key(link),
         asks="1 of 24 rows have no image, first the id 'img4'"),
    Case("a key left out", one_more_key(no_image),
         flags=["--data.bad_images=skip"], says="unreadable  1: train-image.hdf5/img4"),
    Case("arrays of Python's objects", instead(objects), asks=r"test.npy is not read here .it holds Python objects"),
    Case("arrays by columns", instead(by_columns), asks=r"test.npy is not read here .it is in Fortran's order"),
    Case("arrays beside names of classes", instead(named_classes, counted=0), says="train.npz/x, first '0'"),
    Case("arrays of fewer images", instead(lambda folder, part, some: npy(folder, part, some[1:]), counted=0),
         asks="holds 23 images by number, .*train.csv .24 rows"),
    Case("keys with odd names", odd_names, says="not used    5: "),
    Case("keys with a suffix", keys(with_suffix)),
    Case("keys in a zip", zipped),
    Case("keys in a pipe", pipe, asks="train-image.hdf5 is not a whole HDF5 file .not a regular file"),
    Case("no keys", damaged(KEYS, "train-image.hdf5", lambda _: EMPTY), asks="train-image.hdf5 has no images that are"),
    Case("Parquet of large binary", edited(recast(pa.large_binary())), says="train.parquet is read in place"),
    Case("Parquet of a dictionary", edited(recast(pa.dictionary(pa.int32(), pa.binary()))), says="is read in place"),
    Case("Parquet with an empty cell", edited(one_null), asks=r"train.parquet/image/\[4\] .its cell is empty"),
    Case("Parquet without rows", edited(lambda table: table.slice(0, 0)), asks="train.parquet has no rows"),
    Case("Parquet with two images a row", edited(lambda table: table.append_column("mask", table["image"])),
         asks=r"the columns \['image', 'mask'\] all hold images: choose one with --data.image_column"),
    Case("Parquet with two images a row, chosen", edited(lambda table: table.append_column("mask", table["image"])),
         flags=["--data.image_column=mask"], says="train.parquet is read in place of train.csv"),
    Case("Parquet with an id twice", edited(lambda table: pa.concat_tables([table, table[:1]]), cells_beside_csv,
         "train_images"), asks="train_images.parquet: the id 'img23' stands in two rows"),
    Case("Parquet without some ids", edited(lambda table: table.slice(3), cells_beside_csv, "train_images"),
         asks="3 of 24 rows have no image, first the id 'img21'"),
    Case("an array each", each_an_array, asks=r"img\d+.npy both hold images of train .24 such arrays.: keep one array"),
    Case("arrays of features", instead(features),
         asks=r"test.npy has no images that are read .it holds \[6, 9\].* named by their ids .1 more such"),
]  # fmt: skip
CASES = [replace(case, composes=False) for case in CASES]
