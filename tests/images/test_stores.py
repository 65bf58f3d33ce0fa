"""Whatever is kept of the images, they are the same in any order and process, and damage is named."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from supcon.errors import UserError
from supcon.images.cache import ImageCache, open_cache
from supcon.images.decode import read_image
from supcon.images.geometry import cached_side
from supcon.images.hashes import content_hashes
from supcon.images.store import PIXELS, How, Store
from supcon.run.verify import verify
from tests.conftest import REPOSITORY
from tests.images.make import noise, saved, smooth
from tests.images.test_cache import folders, write

JPEG, FILES = Store("jpeg", 95), Store("files")
SIDE = 32
OPEN = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from supcon.images import build, store
from supcon.images.cache import open_cache
from supcon.images.hashes import content_hashes
read = store.read_image
build._CHUNK_IMAGES = 8
store.read_image = lambda *asked: (time.sleep(0.05), read(*asked))[1]
files, cache = sorted(Path(sys.argv[2]).iterdir()), Path(sys.argv[3])
kept = store.Store(sys.argv[4], 95 if sys.argv[4] == "jpeg" else 0)
open_cache(cache, files, content_hashes(cache, files), 32, "crop", store=kept)
"""
by_store = pytest.mark.parametrize("store", [JPEG, FILES], ids=lambda store: store.name)


def photographs(folder: Path, count: int = 6) -> list[Path]:
    """Write smooth images of many sizes, most as JPEG and larger than is needed, the last ones equal."""
    shapes = [(40 + 31 * number, 180 - 17 * number) for number in range(count - 1)]
    contents = [saved(smooth(*shape), "PNG" if number == 1 else "JPEG") for number, shape in enumerate(shapes)]
    return write(folder, [*contents, contents[-1]])


def opened(root: Path, files: list[Path], store: Store, side: int = SIDE) -> ImageCache:
    cache = root / "cache"
    return open_cache(cache, files, content_hashes(cache, files), side, "crop", store=store)


def the_folder(root: Path) -> Path:
    (folder,) = (root / "cache").glob("images-*")
    return folder


def turned(image: np.ndarray, orientation: int, path: Path) -> Path:
    """Write a JPEG that EXIF turns."""
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    PillowImage.fromarray(image).save(path, "JPEG", quality=95, exif=exif)
    return path


@by_store
def test_every_store_gives_the_same_images_in_any_order_and_process(tmp_path: Path, store: Store) -> None:
    files = photographs(tmp_path / "in")
    images, how = opened(tmp_path, files, store), How(cached_side(SIDE), "crop", store=store)
    expected = [how.seen(str(file)) for file in files]
    order = [3, 0, 5, 1, 4, 2, 3]
    for position in order:
        np.testing.assert_array_equal(images[position], expected[position])
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for position, image in zip(order, pool.map(images.__getitem__, order), strict=True):
            np.testing.assert_array_equal(image, expected[position])
    with pytest.raises(ValueError, match="read-only"):
        images[0][0, 0, 0] = 1


@by_store
def test_every_store_knows_the_same_facts_and_nearly_the_same_pixels(tmp_path: Path, store: Store) -> None:
    files = [*photographs(tmp_path / "in"), *write(tmp_path / "bad", [b"", b"text"]), tmp_path / "in" / "gone.png"]
    images, pixels = opened(tmp_path, files, store), opened(tmp_path, files, PIXELS)
    assert images.problems == pixels.problems
    assert len(images.problems) == 3
    assert images.images_key == pixels.images_key == pixels.key != images.key
    np.testing.assert_array_equal(images.sizes, pixels.sizes)
    np.testing.assert_array_equal(images.formats, pixels.formats)
    for name in ("bands", "frames", "scales", "depths"):
        np.testing.assert_array_equal(images.fact(name), pixels.fact(name))
    for position in range(len(files)):
        assert images[position].shape == pixels[position].shape
        assert np.abs(images[position].astype(int) - pixels[position]).mean() < 3
    np.testing.assert_array_equal(images[4], images[5])


def test_jpeg_takes_a_part_of_the_bytes_of_pixels_and_the_files_none(tmp_path: Path) -> None:
    files = photographs(tmp_path / "in")
    pixels, jpeg, nothing = (opened(tmp_path, files, store, 128) for store in (PIXELS, JPEG, FILES))
    assert jpeg.bytes < pixels.bytes / 5
    assert nothing.bytes == 0
    assert sum(file.stat().st_size for file in (tmp_path / "cache" / nothing.key).iterdir()) < 10_000


def test_stores_and_qualities_have_caches_of_their_own_and_pixels_the_one_they_always_had(tmp_path: Path) -> None:
    pixels = [np.full((4, 5, 3), number, np.uint8) for number in range(3)]
    files = write(tmp_path / "in", [b"P6\n5 4\n255\n" + image.tobytes() for image in pixels])
    stores = [PIXELS, JPEG, Store("jpeg", 90), FILES]
    keys = [opened(tmp_path, files, store).key for store in stores]
    assert len(set(keys)) == len(stores)
    assert keys[0] == "images-0693c4ea6fb7e9eb"  # of version 0.1: caches of millions of images stay in use
    assert [opened(tmp_path, files, store).key for store in stores] == keys


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("shape", [(375, 500), (301, 301), (300, 301), (64, 65), (600, 200)])
@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_reduced_decoding_keeps_size_shape_and_orientation(
    tmp_path: Path, shape: tuple[int, int], orientation: int, fit: str
) -> None:
    path = str(turned(smooth(*shape), orientation, tmp_path / "image.jpg"))
    whole, reduced = (How(SIDE, fit, store=store).read(path) for store in (PIXELS, FILES))  # type: ignore[arg-type]
    assert reduced.size == whole.size
    assert reduced.image.shape == whole.image.shape
    assert np.abs(reduced.image.astype(int) - whole.image).mean() < 4


def test_a_jpeg_is_decoded_as_small_as_is_enough_and_no_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded, decode = [], cv2.imdecode

    def spied(data: np.ndarray, flags: int) -> np.ndarray:
        decoded.append(np.asarray(decode(data, flags)))
        return decoded[-1]

    monkeypatch.setattr(cv2, "imdecode", spied)
    (tmp_path / "image").write_bytes(saved(smooth(256, 384), "JPEG"))
    for side, height in ((32, 32), (33, 64), (64, 64), (65, 128), (128, 128), (129, 256), (300, 256)):
        How(side, "crop", store=FILES).read(str(tmp_path / "image"))
        assert decoded[-1].shape[0] == height
    How(32, "crop").read(str(tmp_path / "image"))  # pixels are kept as ever
    assert decoded[-1].shape[0] == 256
    assert read_image(str(tmp_path / "image")).image.shape == (256, 384, 3)


def test_what_is_kept_does_not_depend_on_threads(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(saved(smooth(256, 384), "JPEG"))
    for store in (JPEG, FILES):
        image = How(100, "crop", store=store).seen(str(tmp_path / "image"))
        try:
            cv2.setNumThreads(4)
            np.testing.assert_array_equal(How(100, "crop", store=store).seen(str(tmp_path / "image")), image)
        finally:
            cv2.setNumThreads(0)


@by_store
def test_a_killed_build_leaves_nothing_that_seems_whole(tmp_path: Path, store: Store) -> None:
    files = write(tmp_path / "in", [saved(noise(50, 50), "PNG") + number.to_bytes(2) for number in range(100)])
    command = [sys.executable, "-c", OPEN, str(REPOSITORY / "src"), *map(str, (tmp_path / "in", tmp_path / "cache"))]
    process = subprocess.Popen([*command, store.name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob("cache/.images-*")) and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (leftover,) = folders(tmp_path / "cache")
    assert leftover.startswith(".images-")
    images = opened(tmp_path, files, store)
    assert len(images) == len(files)
    assert folders(tmp_path / "cache") == [images.key] == [leftover.removeprefix(".")]


@pytest.mark.parametrize("damage", ["flipped", "cut off"])
def test_a_damaged_shard_of_jpeg_is_named_before_it_is_decoded(tmp_path: Path, damage: str) -> None:
    images = opened(tmp_path, photographs(tmp_path / "in"), JPEG)
    if damage == "cut off":  # also of an image whose checksum was compared before
        assert len([images[position] for position in range(len(images))]) == len(images)
    (shard,) = the_folder(tmp_path).glob("jpeg-000.bin")
    content = bytearray(shard.read_bytes())
    content[-9] ^= 4
    shard.write_bytes(content if damage == "flipped" else content[:-200])  # while it is open
    with pytest.raises(UserError, match=r"jpeg-000\.bin is damaged \(image \d\): delete .*, and the next command"):
        [images[position] for position in range(len(images))]
    result = verify(tmp_path)
    assert len(result.damaged) == 1
    assert "jpeg-000.bin is " in result.damaged[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: file.unlink(), "No such file or directory"),
        (lambda file: file.write_bytes(b"text"), "not an image"),
        (lambda file: file.write_bytes(saved(smooth(60, 61), "JPEG")), "other pixels"),
    ],
    ids=["gone", "no image", "another"],
)
def test_a_host_file_that_changed_is_named_with_the_cure(tmp_path: Path, change: object, reason: str) -> None:
    files = photographs(tmp_path / "in")
    images = opened(tmp_path, files, FILES)
    images[2]
    assert verify(tmp_path).damaged == []
    change(files[2])  # type: ignore[operator]
    with pytest.raises(
        UserError,
        match=rf"{files[2]} has changed since the cache was made \({reason}.*\): put the former one back, or start",
    ):
        images[2]
    images[3]
    (line,) = verify(tmp_path).damaged
    assert f"{files[2]} has changed since the cache was made" in line
    assert line.endswith(f": delete {the_folder(tmp_path)}, and the next command decodes the images anew")
    if files[2].exists():  # the next command
        assert opened(tmp_path, files, FILES).key != images.key


def test_a_moved_root_finds_the_hosts_files_where_they_are_now(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    files = photographs(tmp_path / "a" / "in")
    before = np.array(opened(tmp_path / "a", files, FILES)[3])
    (tmp_path / "a").rename(tmp_path / "b")
    moved = [tmp_path / "b" / "in" / file.name for file in files]
    images = opened(tmp_path / "b", moved, FILES)
    np.testing.assert_array_equal(images[3], before)
    assert verify(tmp_path / "b").damaged == []
    shutil.rmtree(tmp_path / "b" / "in")
    assert len(verify(tmp_path / "b").damaged) == 1


def test_files_of_shards_are_closed_with_the_cache(tmp_path: Path) -> None:
    files = photographs(tmp_path / "in")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        opened(tmp_path, files, JPEG)[0]
    assert len(os.listdir("/proc/self/fd")) <= before + 1
