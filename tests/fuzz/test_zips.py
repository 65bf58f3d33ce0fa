"""Whatever a zip's bytes are: its files lie inside cache/, or one line says why not and nothing is left."""

import io
import tempfile
import warnings
import zipfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from supcon.competition.files.unpack import unpack_archives
from supcon.errors import UserError
from tests.fuzz.budget import assert_one_line, budget
from tests.fuzz.manifests import AWKWARD, PATHS
from tests.fuzz.mutate import mutated

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
MEMBERS = {"train/1.png": b"pixels" * 40, "test/ü.png": b"more", "sample_submission.csv": b"id,label\n1,x\n", "x/": b""}


def zip_of(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive, warnings.catch_warnings(action="ignore"):
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


WHOLE = [zip_of(MEMBERS, method) for method in METHODS]
WHOLE.append(zip_of({"a.png": b"x", "inner.zip": WHOLE[1], "Other.ZIP": WHOLE[2]}))


def assert_safe(contents: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "input").mkdir()
        for number, content in enumerate(contents):
            (root / "input" / f"{number}.zip").write_bytes(content)
        try:
            here = unpack_archives(root / "input", root / "cache")
        except UserError as error:
            assert_one_line(error)
            here = None
        assert list((root / "cache").glob("*unpacked*")) == ([] if here is None else [here])
        assert not any(path.is_symlink() for path in root.rglob("*"))
        assert sorted(path.name for path in root.iterdir() if path.name != "cache") == ["input"]
        assert sorted(path.name for path in (root / "input").iterdir()) == [f"{n}.zip" for n in range(len(contents))]


@budget(600)
@given(st.data())
def test_damaged_zips(data: st.DataObject) -> None:
    contents = [data.draw(mutated(data.draw(st.sampled_from(WHOLE)), 4)) for _ in range(data.draw(st.integers(1, 2)))]
    assert_safe(contents)


HEADERS: dict[bytes, tuple[int, ...]] = {  # offsets of the numbers in a member's two headers, 2 bytes each
    b"PK\x03\x04": (4, 6, 8, 14, 16, 18, 20, 22, 24, 26, 28),
    b"PK\x01\x02": (4, 6, 8, 10, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 42, 44),
    b"PK\x05\x06": (4, 6, 8, 10, 12, 14, 16, 18, 20),
}


@budget(600)
@given(st.data())
def test_zips_with_other_numbers_in_their_headers(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(WHOLE)))
    for _ in range(data.draw(st.integers(1, 2))):
        mark = data.draw(st.sampled_from(sorted(HEADERS)))
        places = [place for place in range(len(content)) if content.startswith(mark, place)]
        at = data.draw(st.sampled_from(places)) + data.draw(st.sampled_from(HEADERS[mark])) if places else 0
        number = data.draw(
            st.sampled_from([0, 1, 0x7FFF, 0x8000, 0xFFFF, 99, 63, 12, 0x800, 0xA1FF]) | st.integers(0, 65535)
        )
        content[at : at + 2] = number.to_bytes(2, "little")
    assert_safe([bytes(content)])


NAMES = st.sampled_from(
    [*PATHS, *AWKWARD[:45], "train", "train/1.png", "TRAIN/1.png", "a/..", "...", "a/./b", "é" * 200]
)


@budget(400)
@given(st.lists(st.tuples(NAMES, st.sampled_from(METHODS)), min_size=1, max_size=4))
def test_zips_of_any_names(members: list[tuple[str, int]]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings(action="ignore"):
        for name, method in members:
            archive.writestr(zipfile.ZipInfo(name or "x"), b"content", method)
    assert_safe([buffer.getvalue()])
