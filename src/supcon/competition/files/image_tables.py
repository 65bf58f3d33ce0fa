"""Tables of images that have no names: columns of pixels, Parquet, and arrays whose rows a table numbers.

A table that names each row's image is written into cache/, and all goes on as with files. A row belongs to an id by the
id itself, or by a number that stands beside it (law 7): where nothing numbers the rows, or two columns number them
otherwise, that is asked.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from supcon.competition.files.containers import Containers, Images, look_into_containers
from supcon.competition.files.image_rows import numbered, rows_of_array, rows_of_cells, rows_of_tables, with_images
from supcon.competition.files.index import LABELS, TEST, TRAIN, ImageIndex, find_table, is_called, part_of
from supcon.competition.files.pixel_columns import PixelTable, pixel_table, write_pixels
from supcon.competition.sample import Sample
from supcon.errors import UserError
from supcon.images.members import contents_of
from supcon.settings.settings import DataSettings
from supcon.storage.files import digest, digest_rows, whole_folder
from supcon.storage.lock import alone
from supcon.storage.tables import Dialect, read_header, write_table

_VERSION = 1  # raised whenever the files would come out otherwise


@dataclass(frozen=True)
class _Source:
    """Where the rows and images of a part come from."""

    part: str
    tables: list[Path]  # a CSV file, or Parquet files of the same columns; none: the sample, or the `cells` tell
    pixels: PixelTable | None  # in the CSV file
    cells: list[Images]  # in columns of Parquet files
    array: Images | None

    @property
    def is_new(self) -> bool:
        """Whether they are not a CSV file, or none, with images that have names."""
        return bool(self.pixels or self.cells or self.array or (self.tables and self.tables[0].suffix == ".parquet"))

    @property
    def files(self) -> list[Path]:
        """All files that they come from."""
        return [*self.tables, *(images.file for images in [*self.cells, *([self.array] if self.array else [])])]


def add_images(
    index: ImageIndex, cache: Path, sample: Sample, settings: DataSettings, parts: Sequence[str] = ("train", "test")
) -> list[str]:
    """Add the images to the index that lie in containers and tables, and the tables that name those without names.

    Returns what is to be told. Written once for files of a size and modification time. Raises `UserError` where nothing
    tells which row an image belongs to, and for cells that are no pixels; then nothing is left behind.
    """
    found = look_into_containers(index, cache, parts)
    may_be_pixels = len(index.paths) < len(sample.ids)
    sources = [_source(part, index, found, settings, may_be_pixels=may_be_pixels) for part in parts]
    if parts[0] == "train" and not sources[0].pixels:
        sources = [source for source in sources if not source.pixels]  # a test.csv of features
    sources = [source for source in sources if source.is_new]
    if not sources:
        return []
    files = dict.fromkeys(path for source in sources for path in source.files)
    facts = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    named = [sample.id_column, settings.id_column, settings.image_column, digest_rows(sample.ids)]
    folder = cache / f"tables-{digest([_VERSION, facts, named, [source.part for source in sources]])[:16]}"
    if not folder.exists():
        with alone(cache / ".unpack.lock", f"writing tables of images into {cache}"):
            if not folder.exists():
                _write_all(folder, sources, sample, settings)
    index.add(folder, before=True)
    for number, container in index.containers:
        if index.folders[number] == folder:
            (stack,) = contents_of(str(folder / container)).stacks
            index.include([f"{container}/{stack.member(row)}" for row in range(stack.rows)], number)
    return _notes(sources, folder, sample)


def _source(part: str, index: ImageIndex, found: Containers, settings: DataSettings, *, may_be_pixels: bool) -> _Source:
    name = TRAIN if part == "train" else TEST
    own = [images for images in found.stacks if images.part == part]
    host = find_table(index, name)
    if own and host is None and part == "train":
        host = find_table(index, LABELS)
    if pixels := pixel_table(host) if host and may_be_pixels else None:
        return _Source(part, [pixels.path], pixels, [], None)
    if (
        not own and host and settings.image_column and settings.image_column in read_header(host)[0]
    ):  # names tell nothing, but a column does
        own = [images for images in found.stacks if not images.part]
    cells = [images for images in own if images.table]
    if len(own) > 1 and len(cells) < len(own):
        first, second = own[:2]
        raise UserError(
            f"{first.name} and {second.name} both hold images of {part} ({len(own):,} such arrays): keep one array"
            " [N, height, width] of all, in the order of a table; or write each image as a PNG file, named by its id"
        )
    tables = {images.table for images in cells}
    called = [path for path in found.tables if _is_table_of(path, part, name, index) and path not in tables]
    array = own[0] if own and not cells else None
    return _Source(part, [host] if host else called, None, cells, array)


def _is_table_of(path: Path, part: str, name: str, index: ImageIndex) -> bool:
    folder = next(folder for folder in index.folders if path.is_relative_to(folder))
    return is_called(path.stem, name) and part_of(f"{path.relative_to(folder)}/") == part


def _notes(sources: Sequence[_Source], folder: Path, sample: Sample) -> list[str]:
    notes, pixels = [], [source.pixels for source in sources if source.pixels]
    if pixels:
        how = f"{pixels[0].kind}), written as arrays into {folder}"
        notes.append(f"the images are the columns of pixels in {_names([table.path for table in pixels])} ({how}")
    for source in (source for source in sources if not source.pixels):
        tables = source.tables or list(dict.fromkeys(images.table for images in source.cells if images.table))
        if tables and tables[0].suffix == ".parquet":
            notes.append(f"{_names(tables)} is read in place of {source.part}.csv")
        if source.array or (source.cells and source.tables):
            first = [*source.cells, source.array][0]
            assert first is not None
            with (folder / f"{source.part}.csv").open(encoding="utf-8", newline="") as file:
                row = next(csv.DictReader(file))
            image = next(cell for cell in row.values() if cell.startswith(f"{first.container}/"))
            id_ = row.get(sample.id_column, next(iter(row.values())))
            notes.append(f"the images of {_names(tables or [sample.path])} are in {first.name}, first {id_!r}: {image}")
    return notes


def _names(paths: Sequence[Path]) -> str:
    shown = " and ".join(path.name for path in paths[:2])
    return shown if len(paths) < 3 else f"{paths[0].name} and {len(paths) - 1} more"


def _write_all(folder: Path, sources: Sequence[_Source], sample: Sample, settings: DataSettings) -> None:
    if pixels := [source.pixels.path for source in sources if source.pixels]:
        print(f"pixels: the images in {_names(pixels)} are written into {folder}", flush=True)
    scale = 0.0
    try:
        with whole_folder(folder) as partial:
            for source in sources:
                rows = rows_of_tables(source.tables) if source.tables and not source.pixels else None
                if source.pixels:
                    array = f"{source.part}.csv.npy"
                    rows, scale = write_pixels(partial / array, source.pixels, scale)
                    rows = numbered(rows, source.part, source.pixels.path, sample, settings)
                    rows = with_images(rows, "image", [f"{array}/[{row}]" for row in range(len(rows))])
                elif source.cells:
                    rows = rows_of_cells(rows, source.tables, source.cells, source.part, sample, settings)
                elif source.array:
                    rows = rows_of_array(rows, source.tables, source.array, source.part, sample, settings)
                assert rows is not None
                write_table(partial / f"{source.part}.csv", rows, Dialect())
    except OSError as error:
        raise UserError(f"{folder} could not be written: {error.strerror or error}") from error
