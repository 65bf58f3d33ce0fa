"""Files that hold many images: HDF5, NumPy arrays, Parquet. Which images there are, and what stands in their way."""

import shutil
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from supcon.competition.files.index import ImageIndex, part_of
from supcon.errors import UserError
from supcon.images.container import Contents, Stack
from supcon.images.members import contents_of, named_damage, use_container
from supcon.storage.files import digest, whole_folder
from supcon.storage.lock import alone
from supcon.storage.sizes import bytes_text

_BOMB_RATIO, _BOMB_BYTES = 100, 2**30  # as of archives
_SPARED = 2**28  # bytes of the disk that stay free
TABLES = ".parquet"  # the suffix of containers that are tables too


@dataclass(frozen=True)
class Images:
    """Images without names: the rows of a stack."""

    file: Path  # the container
    folder: int  # number of the folder that it lies in
    container: str  # its relative path there
    stack: Stack
    others: str  # what else the container holds
    table: Path | None = None  # the Parquet file whose rows they are in

    @property
    def part(self) -> str:
        """Whether they are "train" or "test", or "" where no name tells."""
        return part_of(self.path(0))

    @property
    def name(self) -> str:
        """What they are called in a message."""
        return f"{self.file}/{self.stack.name}".removesuffix("/")

    def path(self, row: int) -> str:
        """Return the path of the image in that row."""
        return f"{self.container}/{self.stack.member(row)}"


@dataclass
class Containers:
    """What the containers of an index hold."""

    stacks: list[Images] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)  # Parquet files that can be read


def look_into_containers(index: ImageIndex, cache: Path, parts: Collection[str]) -> Containers:
    """Add the images in containers to the index, but those of other `parts`, and return what has no names of its own.

    A container whose images lie beside it as files is passed over, and so are images without names where half as many
    have some: they are masks or the like. A container that cannot be read, or holds no images, gets a line in
    `index.unread` or `index.without_images`: it stops nobody who does not need it.
    """
    found, named, numbered = Containers(), list[tuple[list[str], int]](), list[Images]()
    for folder, container in list(index.containers):
        path = index.folders[folder] / container
        if part_of(f"{container}/") not in ("", *parts):
            continue
        try:
            contents = contents_of(str(path))
        except UserError as error:
            index.unread[container] = str(error)
            continue
        table = path if path.suffix.lower() == TABLES else None
        if table:
            found.tables.append(table)
        elif not contents.named and not contents.stacks:
            index.without_images[container] = _without_images(path, contents)
        if contents.named and not _lie_beside(contents.named, container, index):
            named.append(([f"{container}/{name}" for name in contents.named], folder))
        numbered += [Images(path, folder, container, stack, contents.others, table) for stack in contents.stacks]
    for paths, folder in named:  # when all have been compared with files, and none with another container's images
        index.include(paths, folder)
    of_parts = Counter(map(part_of, index.paths))
    for images in numbered:
        rows = images.stack.rows
        if images.part in ("", *parts) and not 0 < rows <= 2 * of_parts[images.part]:
            found.stacks.append(_with_own_rows(images, index, cache))
    for images in found.stacks:
        if not images.part:
            index.unread[images.container] = (
                f"{images.name} holds {images.stack.rows:,} images by number, and no name says whether of train or"
                " test: call it train or test, or name the column that numbers them with --data.image_column"
            )
        index.include(map(images.path, range(images.stack.rows)), images.folder)
    return found


def _without_images(path: Path, contents: Contents) -> str:
    held = f"it holds {contents.others}" if contents.others else "it holds no array of numbers"
    return (
        f"{path} has no images that are read ({held}): read are arrays [N, height, width] and [N, height, width, 3],"
        " or an image of each name; else write them as PNG or TIFF files, named by their ids"
    )


def _lie_beside(names: list[str], container: str, index: ImageIndex) -> bool:
    part = part_of(f"{container}/")
    return all(any(index.matches(name, side) for side in ([part] if part else ["train", "test"])) for name in names)


def _with_own_rows(images: Images, index: ImageIndex, cache: Path) -> Images:
    """Return the images, copied once into `cache` where a row cannot be read without very many others."""
    if images.stack.scattered:
        return images
    path, stack = images.file, images.stack
    with use_container(str(path)) as container:
        suffix = container.copied_as
    status = path.stat()
    folder = cache / f"rows-{digest([str(path), status.st_size, status.st_mtime_ns, stack.name])[:16]}"
    name = f"{images.container}/{stack.name.replace('/', '_')}{suffix}"
    if not folder.exists():
        with alone(cache / ".unpack.lock", f"writing images into {cache}"):
            if not folder.exists():
                _copy(path, stack, folder, name)
    index.add(folder)
    index.containers.pop()  # which is known here
    inner = "" if suffix == ".npy" else stack.name
    copied = Stack(inner, stack.rows, stack.bytes)
    return Images(folder / name, len(index.folders) - 1, name, copied, images.others, images.table)


def _copy(path: Path, stack: Stack, folder: Path, name: str) -> None:
    size = path.stat().st_size
    if stack.bytes > _BOMB_BYTES and stack.bytes > _BOMB_RATIO * size:
        raise UserError(
            f"{path} would unpack to {bytes_text(stack.bytes)} from {size / 1e6:.3g} MB: it looks like a"
            " decompression bomb, and is not read"
        )
    free = shutil.disk_usage(folder.parent).free - _SPARED
    if stack.bytes > free:
        raise UserError(
            f"{path} unpacks to {bytes_text(stack.bytes)}, {bytes_text(max(free, 0))} are free below {folder.parent}:"
            " make room, or use a --root on a larger disk"
        )
    print(f"images: {path} cannot be read one image at a time: all are written once into {folder}", flush=True)
    with whole_folder(folder) as partial, use_container(str(path)) as container, named_damage(str(path)):
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        container.copy(stack, partial / name)
