"""An image in a container is read as a file is: the same bytes, in any process and thread, and nothing else is."""

import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from supcon.errors import UserError
from supcon.images import container, hdf5, members
from supcon.images.container import PINS
from supcon.images.decode import decode
from supcon.images.geometry import Unreadable
from supcon.images.hashes import ABSENT, content_hashes
from supcon.images.members import contents_of, open_image, use_container
from supcon.images.pillow import declared_size
from supcon.images.uncompressed import file_of
from supcon.storage.processes import worker_pool
from tests.conftest import REPOSITORY
from tests.images.make import noise, saved

IMAGES = [saved(noise(20, 30), "JPEG"), saved(noise(9, 8, 4), "PNG"), saved(noise(12, 12), "WEBP")]


def read(path: object) -> bytes:
    with open_image(str(path)) as file:
        return file.read()


def npy(path: Path, images: npt.NDArray[Any]) -> Iterator[str]:
    np.save(path, images)
    yield from (f"{path}/[{row}]" for row in range(len(images)))


def npz(path: Path, images: npt.NDArray[Any]) -> Iterator[str]:
    np.savez(path, x=images, y=np.arange(len(images)))
    yield from (f"{path}/x/[{row}]" for row in range(len(images)))


def npz_by_name(path: Path, images: npt.NDArray[Any]) -> Iterator[str]:
    named: dict[str, Any] = {f"id{row}": image for row, image in enumerate(images)}
    np.savez_compressed(path, **named)
    yield from (f"{path}/{name}" for name in named)


def h5(path: Path, images: npt.NDArray[Any]) -> Iterator[str]:
    with h5py.File(path, "w") as file:
        file.create_dataset("images/x", data=images)
    yield from (f"{path}/images/x/[{row}]" for row in range(len(images)))


def chunked(path: Path, images: npt.NDArray[Any]) -> Iterator[str]:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=images, chunks=(2, *images.shape[1:]), compression="gzip")
    yield from (f"{path}/x/[{row}]" for row in range(len(images)))


FORMS = {"a.npy": npy, "b.npz": npz, "c.npz": npz_by_name, "d.h5": h5, "e.hdf5": chunked}


def keys(path: Path) -> list[str]:
    with h5py.File(path, "w") as file:
        for number, content in enumerate(IMAGES):
            file.create_dataset(f"ISIC_{number}", data=np.void(content))
    return [f"{path}/ISIC_{number}" for number in range(len(IMAGES))]


def cells(path: Path, cells: Any = IMAGES, **options: Any) -> list[str]:
    pq.write_table(pa.table({"id": [f"i{row}" for row in range(len(cells))], "image": cells}), path, **options)
    return [f"{path}/image/[{row}]" for row in range(len(cells))]


@pytest.mark.parametrize("name", FORMS)
def test_a_row_of_an_array_is_the_same_bytes_in_every_container(tmp_path: Path, name: str) -> None:
    for images in (noise(5 * 9, 8).reshape(5, 9, 8, 3), noise(5 * 9, 8, 1).reshape(5, 9, 8)):
        paths = list(FORMS[name](tmp_path / f"{images.ndim}{name}", images))
        assert [read(path) for path in paths] == [file_of(image) for image in images]
        for path, image in zip(paths, images, strict=True):
            np.testing.assert_array_equal(decode(Path(path)), np.broadcast_to(np.atleast_3d(image), (9, 8, 3)))
            assert declared_size(path) == (9, 8)


def test_images_that_are_files_already_are_returned_as_they_are(tmp_path: Path) -> None:
    lists = [list(content) for content in IMAGES]
    struct = [{"bytes": content, "path": "a.jpg"} for content in IMAGES]
    forms = {
        "a": keys(tmp_path / "a.hdf5"),
        "b": cells(tmp_path / "b.parquet"),
        "c": cells(tmp_path / "c.parquet", pa.array(struct)),
        "d": cells(tmp_path / "d.parquet", pa.array(lists, pa.list_(pa.uint8())), row_group_size=2),
    }
    for paths in forms.values():
        assert [read(path) for path in paths] == IMAGES
        assert content_hashes(tmp_path / "cache", [Path(path) for path in paths]) == content_hashes(
            tmp_path / "cache", [Path(path) for path in forms["a"]]
        )


def test_processes_and_threads_read_at_once_what_this_process_has_open(tmp_path: Path) -> None:
    images = noise(40 * 9, 8).reshape(40, 9, 8, 3)
    paths = [*chunked(tmp_path / "e.hdf5", images), *npz(tmp_path / "b.npz", images)]
    paths += cells(tmp_path / "x.parquet", [file_of(image) for image in images], row_group_size=7)
    expected = [read(path) for path in paths]
    assert expected == [file_of(image) for image in images] * 3
    with worker_pool(2) as pool:
        assert list(pool.map(read, paths, chunksize=7)) == expected
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(read, paths)) == expected
        assert list(pool.map(read, paths, chunksize=3)) == expected


def test_a_process_starts_without_the_files_that_its_parent_has_open(tmp_path: Path) -> None:
    read(keys(tmp_path / "a.hdf5")[0])
    assert members._opened
    with worker_pool(1) as pool:
        assert pool.submit(_open_files).result() == 0
    assert not members._opened


def _open_files() -> int:
    return len(members._opened)


def test_a_container_that_changes_is_opened_anew(tmp_path: Path) -> None:
    images = noise(3 * 9, 8).reshape(3, 9, 8, 3)
    (first, *_) = list(npy(tmp_path / "a.npy", images))
    before = read(first), content_hashes(tmp_path / "cache", [Path(first)])
    np.save(tmp_path / "a.npy", 255 - images[:2])
    assert (read(first), content_hashes(tmp_path / "cache", [Path(first)])) != before


@pytest.mark.parametrize(
    "member", ["ISIC_9", "ISIC_0/more", "[0]", "..", "../a.hdf5/ISIC_0", "ISIC_0/[0]", "soft", "far", ""]
)
def test_what_a_container_lacks_or_only_links_to_is_no_image(tmp_path: Path, member: str) -> None:
    keys(tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "b.hdf5", "w") as file:
        file.create_dataset("x", data=np.void(IMAGES[0]))
    with h5py.File(tmp_path / "a.hdf5", "a") as file:
        file["far"] = h5py.ExternalLink("b.hdf5", "x")
    assert "far" not in contents_of(str(tmp_path / "a.hdf5")).named
    with pytest.raises((OSError, Unreadable)):
        read(f"{tmp_path}/a.hdf5/{member}")


def test_a_folder_called_like_a_container_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "set.npz").mkdir()
    (tmp_path / "set.npz" / "a.jpg").write_bytes(IMAGES[0])
    assert read(tmp_path / "set.npz" / "a.jpg") == IMAGES[0]
    (path, *_) = list(npy(tmp_path / "set.npz" / "b.npy", noise(27, 8).reshape(3, 9, 8, 3)))
    assert declared_size(path) == (9, 8)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "set.npz" / "b.jpg")


@pytest.mark.parametrize(("name", "package"), [("a.hdf5", "h5py"), ("a.parquet", "pyarrow")])
def test_a_library_that_is_missing_is_named_with_its_pin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    path = (keys if name == "a.hdf5" else cells)(tmp_path / name)[0]
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.parquet", None)
    pin = re.escape(f"-m pip install {PINS[package]} (requirements-containers.txt)")
    for use in (read, lambda path: content_hashes(tmp_path / "cache", [Path(path)])):
        with pytest.raises(UserError, match=rf"{name} holds what {package} reads, and that is not installed: .*{pin}"):
            use(path)


def test_the_pins_are_those_of_the_requirements() -> None:
    assert set(PINS.values()) <= set((REPOSITORY / "requirements-containers.txt").read_text().splitlines())


def test_neither_library_is_needed_before_a_file_is(tmp_path: Path) -> None:
    path = next(npy(tmp_path / "a.npy", noise(27, 8).reshape(3, 9, 8, 3)))
    code = f"""import sys
sys.modules["h5py"] = sys.modules["pyarrow"] = None
from supcon.competition.read import read_competition
from supcon.images.decode import decode
decode({path!r})"""
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(REPOSITORY / "src")})


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    trap = np.array([Trap(tmp_path / "sprung")] * 5, object)
    np.save(tmp_path / "a.npy", trap)
    np.savez(tmp_path / "b.npz", x=trap)
    (tmp_path / "c.npy").write_bytes(pickle.dumps(trap))
    for name in ("a.npy", "c.npy"):
        with pytest.raises(UserError, match=rf"{name} is not (read here .it holds Python obj|a whole NumPy file)"):
            contents_of(str(tmp_path / name))
    with pytest.raises(Unreadable, match="Python objects"):
        read(f"{tmp_path}/b.npz/x")
    assert contents_of(str(tmp_path / "b.npz")).others == "x (it holds Python objects, no numbers)"
    assert not (tmp_path / "sprung").exists()


def test_a_damaged_chunk_is_an_unreadable_image_and_not_the_end(tmp_path: Path) -> None:
    paths = [Path(path) for path in chunked(tmp_path / "e.hdf5", noise(6 * 9, 8).reshape(6, 9, 8, 3))]
    with h5py.File(tmp_path / "e.hdf5") as file:
        place = file["x"].id.get_chunk_info(1)
    content = bytearray((tmp_path / "e.hdf5").read_bytes())
    content[place.byte_offset + 8 : place.byte_offset + 40] = bytes(32)
    (tmp_path / "e.hdf5").write_bytes(content)
    hashes = content_hashes(tmp_path / "cache", paths)
    assert [text.startswith(f"{ABSENT}damaged: ") for text in hashes] == [False, False, True, True, False, False]
    with pytest.raises(UserError, match=r"e\.hdf5/x/\[2\] is not a readable image \(damaged: "):
        decode(paths[2])


def test_what_claims_more_than_any_image_has_is_refused_before_there_is_room_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", shape=(5, 40_000, 60_000, 3), dtype="u1", chunks=(1, 400, 600, 3), compression="gzip")
    with pytest.raises(Unreadable, match=r"it claims 7\.2 GB"):
        read(tmp_path / "a.h5" / "x" / "[0]")
    header = b"\x93NUMPY\1\0" + (118).to_bytes(2, "little")
    header += str({"descr": "|u1", "fortran_order": False, "shape": (60_000, 60_000)}).ljust(117).encode() + b"\n"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("x.npy", header)
    with pytest.raises(Unreadable, match=r"it claims 3\.6 GB"):
        read(tmp_path / "a.npz" / "x")
    monkeypatch.setattr(container, "LARGEST", 2**40)
    with pytest.raises(Unreadable, match="damaged"):
        read(tmp_path / "a.npz" / "x")


@pytest.mark.parametrize("kind", ["npz", "hdf5", "parquet"])
def test_images_that_lie_in_one_piece_are_the_same_in_their_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(hdf5, "NEIGHBOURS", 300)
    monkeypatch.setattr("supcon.images.parquet.NEIGHBOURS", 1000)
    monkeypatch.setattr("supcon.images.parquet._GROUP", 300)
    images, path = noise(7 * 9, 8).reshape(7, 9, 8, 3), tmp_path / f"a.{kind}"
    if kind == "npz":
        np.savez_compressed(path, x=images)
    elif kind == "hdf5":
        list(chunked(path, images))
    else:
        cells(path, [file_of(image) for image in images[:6]] + [None])
    (stack,) = contents_of(str(path)).stacks
    assert not stack.scattered
    with use_container(str(path)) as opened:
        target = tmp_path / f"copy{opened.copied_as}"
        opened.copy(stack, target)
    (copied,) = contents_of(str(target)).stacks
    assert copied.rows == 7
    assert copied.scattered
    for row in range(6):
        assert read(f"{target}/{copied.member(row)}") == file_of(images[row])
