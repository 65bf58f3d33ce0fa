"""Is everything below a root as it was written? Every file with a checksum is read: weights, predictions, pixels."""

import shlex
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from supcon.errors import UserError
from supcon.images.cache import ImageCache
from supcon.run.done import damages, made_by, not_as_hashed, read_done
from supcon.settings.sources import load_resolved
from supcon.storage.files import check_seal, read_checked_json, read_npz, sha256_file


@dataclass
class Verified:
    """What was read, and what is damaged."""

    files: int = 0
    images: int = 0
    unknown: list[Path] = field(default_factory=list)  # of an earlier version, which kept no checksum
    damaged: list[str] = field(default_factory=list)  # a line each, with what makes it anew


def verify(root: Path) -> Verified:
    """Read all that runs and the cache below `root` hold, and compare it with its checksums."""
    result = Verified()
    for run in sorted(path for path in (root / "runs").glob("*") if path.is_dir()):
        for folder in (run, *sorted(run.glob("fold*")), run / "full"):
            _verify_folder(folder, result)
        _note(result, _of_run(run))
    for folder in sorted((root / "cache").glob("images-*")):
        _verify_images(folder, result)
    for folder in sorted((root / "cache").glob("features-*")):
        _verify_features(folder, result)
    for path in sorted((root / "cache").glob("copies-of-*.npz")):
        _note(result, _of_copies(path))
    return result


def _verify_folder(folder: Path, result: Verified) -> None:
    for done_file in sorted(folder.glob("*.done.json")):
        lines = list(damages(done_file))
        result.damaged += lines
        result.files += 1
        if not lines:
            content = read_done(done_file)
            result.files += len(content.get("files", ())) or 1
            _note(result, _of_submission(folder, content))
    for path in sorted(folder.glob("*.checkpoint.pt")):
        result.files += 1
        try:
            if not check_seal(path):
                result.unknown.append(path)
        except (OSError, ValueError) as error:
            result.damaged.append(f"{path} is damaged ({error}): delete it to start its stage anew")


def _note(result: Verified, lines: Iterator[str]) -> None:
    result.damaged += lines


def _of_run(run: Path) -> Iterator[str]:
    try:
        if (run / "resolved.yaml").exists():
            load_resolved(run / "resolved.yaml")
    except UserError as error:
        yield str(error)
    archive = run / "bundle.zip"
    try:
        if archive.exists() and (name := zipfile.ZipFile(archive).testzip()):
            raise ValueError(name)
    except Exception as error:  # zipfile, zlib and the file system each raise errors of their own
        yield f"{archive} is damaged ({error}): `./run.sh bundle --run {shlex.quote(run.name)}` makes it anew"


def _of_submission(folder: Path, content: dict[str, object]) -> Iterator[str]:
    """Say whether the kept file of an ensemble is what was written."""
    if isinstance(name := content.get("submission"), str):
        path = folder.parents[1] / "submissions" / name
        if path.is_file() and sha256_file(path) != content.get("sha256"):
            yield f"{path} has changed since, or is damaged: {made_by(folder / 'scores.json')} writes another"


def _of_copies(path: Path) -> Iterator[str]:
    try:
        read_npz(path)
    except UserError:
        yield f"{path} is damaged: delete it, and the next command compares the images anew"


def _verify_features(folder: Path, result: Verified) -> None:
    cure = f"delete {folder}, and the next command computes the features anew"
    try:
        hashes = read_checked_json(folder / "index.json", cure)["files"] if (folder / "index.json").exists() else {}
    except UserError as error:
        result.damaged.append(str(error))
        return
    result.files += 1 + len(hashes)
    result.damaged += [f"{path} is missing or damaged: {cure}" for path in not_as_hashed(folder, hashes)]


def _verify_images(folder: Path, result: Verified) -> None:
    cure = f"delete {folder}, and the next command decodes the images anew"
    result.files += 1
    try:
        images = ImageCache(folder)
        if images.checksums is None:
            result.unknown.append(folder)
        for position in range(len(images)):
            images[position]
        result.images += len(images)
    except UserError as error:
        result.damaged.append(f"{str(error).rpartition(': ')[0]}: {cure}")
    except Exception as error:  # arrays that do not go together
        result.damaged.append(f"{folder} is damaged ({error}): {cure}")
