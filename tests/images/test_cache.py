"""Images are decoded once, whole, whatever kills the build; the bad ones are known by position."""

import errno
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from supcon.errors import UserError
from supcon.images import build, shards
from supcon.images.cache import ImageCache, open_cache, require_readable
from supcon.images.decode import read_image
from supcon.images.geometry import fit_square, resize, shrunk_size
from supcon.images.hashes import content_hashes
from supcon.images.room import estimate_bytes
from supcon.images.store import How
from tests.conftest import REPOSITORY
from tests.images.make import noise, saved, smooth

OPEN = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from supcon.images import build, store
from supcon.images.cache import open_cache
from supcon.images.hashes import content_hashes
pause, decode = float(sys.argv[4]), store.read_image
build._CHUNK_IMAGES = 8
store.read_image = lambda *asked: (time.sleep(pause), decode(*asked))[1]
files = sorted(Path(sys.argv[2]).iterdir())
cache = Path(sys.argv[3])
open_cache(cache, files, content_hashes(cache, files), 32, "crop")
"""


def write(folder: Path, contents: Sequence[bytes]) -> list[Path]:
    folder.mkdir(exist_ok=True)
    files = [folder / f"{number:05d}.img" for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    return files


def opened(cache: Path, files: Sequence[Path], side: int = 32) -> ImageCache:
    return open_cache(cache, files, content_hashes(cache, files), side, "crop")


def folders(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.is_dir())


def start_opening(folder: Path, cache: Path, pause: float = 0.0) -> "subprocess.Popen[str]":
    """Open a cache in a process of its own, `pause` seconds an image."""
    command = [sys.executable, "-c", OPEN, str(REPOSITORY / "src"), str(folder), str(cache), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_the_cache_returns_what_was_decoded_in_the_order_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_CHUNK_IMAGES", 7)  # more chunks than are under way at once
    pixels = [noise(5 + number % 7, 6) for number in range(300)]
    files = write(tmp_path / "in", [saved(image, "PNG") for image in pixels])[::-1]
    cache = opened(tmp_path / "cache", files)
    assert len(cache) == 300
    for position, image in enumerate(reversed(pixels)):
        np.testing.assert_array_equal(cache[position], image)
    with pytest.raises(ValueError, match="read-only"):
        cache[0][0, 0, 0] = 1
    assert cache.problems == {}


def test_large_images_are_kept_at_the_size_that_training_needs(tmp_path: Path) -> None:
    files = write(tmp_path / "in", [saved(smooth(400, 800), "PNG")])
    for fit, shape in (("crop", (115, 230, 3)), ("pad", (57, 115, 3)), ("squash", (115, 115, 3))):
        cache = open_cache(tmp_path / "c", files, content_hashes(tmp_path / "c", files), 100, fit)  # type: ignore[arg-type]
        assert cache[0].shape == shape
        assert cache.sizes.tolist() == [[800, 400]]
    assert resize(smooth(20, 30), *shrunk_size(20, 30, 100, "crop")).shape == (20, 30, 3)


def test_bad_images_are_known_by_position_and_read_as_black(tmp_path: Path) -> None:
    whole = saved(noise(8, 6), "PNG")
    files = write(tmp_path / "in", [whole, b"", whole[:-5], saved(noise(9, 9), "JPEG"), b"", b"text"])
    cache = opened(tmp_path / "cache", files)
    assert list(cache.problems) == [1, 2, 4, 5]
    assert cache.problems[1] == cache.problems[4] == "empty file"
    assert cache.problems[2] == "truncated: its end mark is missing"
    assert cache.problems[5].startswith("not an image")
    assert cache.formats.tolist() == ["PNG", "", "", "JPEG", "", ""]
    assert cache.sizes.tolist() == [[6, 8], [0, 0], [0, 0], [9, 9], [0, 0], [0, 0]]
    assert fit_square(cache[4], 16, "crop").max() == 0
    assert opened(tmp_path / "cache", files).problems == cache.problems  # read from the disk as well


def test_bad_images_are_listed_in_one_line_with_reasons_and_the_cure(tmp_path: Path) -> None:
    files = write(tmp_path / "in", [saved(noise(4, 4), "PNG"), *[b"%d" % number for number in range(25)]])
    cache = opened(tmp_path / "cache", files)
    with pytest.raises(UserError, match="25 images cannot be read: .*--data.bad_images skip") as caught:
        require_readable(cache, files)
    line = str(caught.value)
    assert "\n" not in line
    assert len(re.findall(r"\d{5}\.img", line)) == 5
    assert line.count("(not an image") == 1  # a reason is said once
    assert "00001.img" in line
    assert "and 20 more" in line
    require_readable(opened(tmp_path / "cache", files[:1]), files[:1])


def test_an_image_that_is_not_there_is_unreadable(tmp_path: Path) -> None:
    files = [*write(tmp_path / "in", [saved(noise(4, 4), "PNG")]), tmp_path / "in" / "gone.png"]
    (tmp_path / "in" / "link.png").symlink_to("nowhere.png")
    files.append(tmp_path / "in" / "link.png")
    cache = opened(tmp_path / "cache", files)
    assert cache.problems == {1: "no such file", 2: "link without a target"}
    with pytest.raises(UserError, match=r"2 images cannot be read: .*gone\.png \(no such file\); .*link\.png \(link"):
        require_readable(cache, files)


def test_equal_images_are_stored_once(tmp_path: Path) -> None:
    image = saved(noise(10, 10), "PNG")
    cache = opened(tmp_path / "cache", write(tmp_path / "in", [image, saved(noise(4, 4), "PNG"), image, image]))
    np.testing.assert_array_equal(cache[0], cache[3])
    assert cache[1].shape == (4, 4, 3)
    assert next((tmp_path / "cache").glob("images-*/pixels-000.bin")).stat().st_size == (100 + 16) * 3


def test_a_moved_root_keeps_its_cache_and_a_changed_image_does_not(tmp_path: Path) -> None:
    files = write(tmp_path / "in", [saved(noise(4, 4), "PNG"), saved(noise(5, 5), "PNG")])
    opened(tmp_path / "cache", files)
    built = folders(tmp_path / "cache")
    (tmp_path / "in").rename(tmp_path / "moved")
    moved = [tmp_path / "moved" / file.name for file in files]
    opened(tmp_path / "cache", moved)
    assert folders(tmp_path / "cache") == built
    moved[0].write_bytes(saved(noise(6, 6), "PNG"))
    assert opened(tmp_path / "cache", moved)[0].shape == (6, 6, 3)


def test_the_size_is_announced_before_decoding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = write(tmp_path / "in", [saved(noise(400, 300), "PNG")])
    opened(tmp_path / "cache", files, side=200)
    assert f"1 to decode into {tmp_path / 'cache'}, at most 212 kB" in capsys.readouterr().out


def test_the_estimate_is_hardly_ever_too_low(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    contents = [saved(np.zeros((*draw.integers(10, 60, 2), 3), np.uint8), "BMP") for _ in range(1000)]
    paths = [str(path) for path in write(tmp_path / "in", contents)]
    images = (np.asarray(read_image(path)[0]) for path in paths)
    truth = sum(resize(image, *shrunk_size(image.shape[0], image.shape[1], 40, "crop")).size for image in images)
    assert truth <= estimate_bytes(paths, How(40, "crop")) <= 1.2 * truth


def test_too_small_a_disk_is_named_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write(tmp_path / "in", [saved(noise(40, 40), "PNG")])
    hashes = content_hashes(tmp_path / "elsewhere", files)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=4000))
    with pytest.raises(UserError, match=r"has 4 kB free, and 1 decoded images may take 4.11 kB: make room"):
        open_cache(tmp_path / "cache", files, hashes, 32, "crop")
    assert not (tmp_path / "cache").exists()


def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path: Path) -> None:
    files = write(tmp_path / "in", [saved(noise(200, 200), "BMP") for _ in range(20)])
    hashes = content_hashes(tmp_path / "cache", files)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))  # writing fails like on a full disk
    try:
        with pytest.raises(
            UserError, match=f"could not be written: {os.strerror(errno.EFBIG)}|{os.strerror(errno.ENOSPC)}"
        ):
            open_cache(tmp_path / "cache", files, hashes, 200, "crop")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert folders(tmp_path / "cache") == []
    assert len(opened(tmp_path / "cache", files)) == 20


def test_a_file_gone_after_hashing_stops_the_build(tmp_path: Path) -> None:
    files = write(tmp_path / "in", [saved(noise(4, 4), "PNG")] * 2)
    hashes = content_hashes(tmp_path / "cache", files)
    files[0].unlink()
    with pytest.raises(UserError, match=r"00000\.img cannot be read: No such file"):
        open_cache(tmp_path / "cache", files, hashes, 32, "crop")
    assert folders(tmp_path / "cache") == []


@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="the workers must inherit the crash")
def test_a_decoder_that_crashes_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write(tmp_path / "in", [saved(noise(4, 4), "PNG")])
    monkeypatch.setattr(build, "decode_chunk", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(UserError, match="a worker process was killed"):
        opened(tmp_path / "cache", files)
    assert folders(tmp_path / "cache") == []


def test_a_killed_build_leaves_no_processes_and_its_leftovers_are_cleared(tmp_path: Path) -> None:
    files = write(tmp_path / "in", [saved(noise(50, 50), "PNG") for _ in range(30)] * 4)
    for number, file in enumerate(files):  # all different
        file.write_bytes(file.read_bytes() + number.to_bytes(2))
    process = start_opening(tmp_path / "in", tmp_path / "cache", pause=0.05)
    pixels: list[Path] = []
    while not pixels and process.poll() is None:
        time.sleep(0.01)
        pixels = [path for path in tmp_path.glob("cache/.images-*/pixels-000.bin") if path.stat().st_size]
    assert pixels, process.communicate()[0]
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert workers
    deadline = time.monotonic() + 20
    while any(running(int(worker)) for worker in workers):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)
    assert folders(tmp_path / "cache") == [pixels[0].parent.name]  # the leftover
    assert len(opened(tmp_path / "cache", files)) == len(files)
    assert folders(tmp_path / "cache") == [pixels[0].parent.name.removeprefix(".")]


def running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_two_builders_at_once_decode_once(tmp_path: Path) -> None:
    write(tmp_path / "in", [saved(noise(300, 300), "PNG") for _ in range(120)])
    both = [start_opening(tmp_path / "in", tmp_path / "cache") for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert "".join(outputs).count("120 to decode") == 1
    assert len(folders(tmp_path / "cache")) == 1


def test_pixels_go_into_files_of_a_bounded_size_of_which_none_holds_a_part_of_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest = 1000  # bytes
    monkeypatch.setattr(shards, "SHARD", largest)
    monkeypatch.setattr(build, "_CHUNK_IMAGES", 3)
    pixels = [noise(5 + number % 7, 6) for number in range(100)]
    cache = opened(tmp_path / "cache", write(tmp_path / "in", [saved(image, "PNG") for image in pixels]))
    cache_folder = tmp_path / "cache" / folders(tmp_path / "cache")[0]
    files = sorted(cache_folder.glob("pixels-*.bin"))
    assert len(files) > 10
    assert max(file.stat().st_size for file in files) <= largest
    assert cache.bytes == sum(file.stat().st_size for file in files) == sum(image.size for image in pixels)
    for position in np.random.default_rng(0).permutation(100):
        np.testing.assert_array_equal(cache[position], pixels[position])
    files[-1].unlink()
    with pytest.raises(UserError, match=f"{files[-1].name} is missing or damaged"):
        ImageCache(cache_folder)


@pytest.mark.parametrize(("fit", "shape"), [("crop", (40, 60)), ("pad", (40, 60)), ("squash", (60, 40))])
def test_every_fit_makes_a_square(fit: str, shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 200, np.uint8)
    square = fit_square(image, 50, fit)  # type: ignore[arg-type]
    assert square.shape == (50, 50, 3)
    assert (square == 0).any() == (fit == "pad")
