"""Limits of the machine: memory, open files, processes, shared memory, disks; and what reads the output."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.attacks.attack import FLAGS, Attack, End, ended, flags_of, permitted, run, started

SHORT = flags_of("--finetune.epochs=1", "--machine.workers=2")
LARGE = (*SHORT, "--data.image_size=224", "--finetune.batch_size=40")
GROUP = f"/sys/fs/cgroup/pids/attacked{os.getpid()}"
TMPFS = "unshare -m bash -c 'mount -t tmpfs tmpfs /dev/shm'"
PIDS = f"mkdir {GROUP} && test -w {GROUP}/pids.max; status=$?; rmdir {GROUP}; exit $status"


def limited(line: str, command: str, flags: tuple[str, ...], fresh: bool = False) -> Callable[[Path], End]:
    """Run a command after a line of bash in the same shell; `fresh` without the caches, which are made anew."""

    def do(root: Path) -> End:
        if fresh:
            shutil.rmtree(root / "cache")
        return run(root, command, *flags, within=line)

    return do


def in_namespace(size: str, place: str = "/dev/shm") -> Callable[[Path], End]:
    """Train with a small file system at `place`, which others do not see."""
    inner = f'mount -t tmpfs -o size={size} tmpfs {place} && exec "$@"'
    return lambda root: run(root, "finetune", *LARGE, within=f"set -- unshare -m bash -c '{inner}' in \"$@\"")


def on_a_disk_with(free_kb: int, command: str, flags: tuple[str, ...]) -> Callable[[Path], End]:
    """Run a command where the run's folder is a disk with so much room left."""

    def do(root: Path) -> End:
        disk, content = root / "runs", root / "runs-before"
        disk.rename(content)
        disk.mkdir()
        used = sum(-(-path.stat().st_size // 4096) * 4 + 4 for path in content.rglob("*"))
        inner = (
            f"mount -t tmpfs -o size={used + 200}k tmpfs {disk} && cp -a {content}/. {disk}/ && mount -o"
            f' remount,size=$(( $(df -k --output=used {disk} | tail -n 1) + {free_kb} ))k {disk} && exec "$@"'
        )
        return run(root, command, *flags, within=f"set -- unshare -m bash -c '{inner}' in \"$@\"")

    return do


def with_processes(most: int, command: str, flags: tuple[str, ...], fresh: bool = False) -> Callable[[Path], End]:
    """Run a command in a control group of at most so many processes and threads."""

    def do(root: Path) -> End:
        line = f"mkdir -p {GROUP} && echo {most} > {GROUP}/pids.max && echo $$ > {GROUP}/cgroup.procs"
        end = limited(line, command, flags, fresh)(root)
        subprocess.run(["rmdir", GROUP], check=False)
        return end

    return do


def long_tmpdir(root: Path) -> End:
    """Train with a TMPDIR below which no socket can have a name."""
    folder = root / ("t" * 140)
    folder.mkdir()
    return run(root, "finetune", *SHORT, within=f"export TMPDIR={folder}")


def full_output(root: Path) -> End:
    """Write what doctor says to a full disk."""
    with open("/dev/full", "w") as full:
        return ended(started(root, "doctor", "--quick", *FLAGS, stdout=full.fileno()), root)


def no_reader(root: Path) -> End:
    """Write the ledger to a program that ends before it reads."""
    return run(root, "ledger", within='set -- bash -c \'"$@" | true; exit ${PIPESTATUS[0]}\' in "$@"')


FILES, TASKS, MEMORY, DISK = (
    f"error: .*{words}"
    for words in ("too many open files", "no more processes or threads", "not enough memory", "No space left on device")
)
TUNE = (*FLAGS, "--force")
DOCTOR = ("--quick", *FLAGS)
ATTACKS = [
    Attack("1 MB of /dev/shm", in_namespace("1m"), 0, "no loader processes: /dev/shm has", needs=permitted(TMPFS)),
    Attack("64 MB of /dev/shm", in_namespace("64m"), 0, "epoch 1/1", needs=permitted(TMPFS)),
    Attack("TMPDIR of 140 characters", long_tmpdir, 0, "no loader processes: TMPDIR .* is too long"),
    Attack("12 open files, decoding", limited("ulimit -n 12", "doctor", DOCTOR, fresh=True), 2, FILES),
    Attack("12 open files, training", limited("ulimit -n 12", "finetune", SHORT), 0, "no loader processes: too many"),
    Attack("16 open files, training", limited("ulimit -n 16", "finetune", SHORT), 2, FILES),
    Attack("100 MB of memory", limited("ulimit -v 100000", "doctor", DOCTOR), 2, MEMORY),
    Attack("300 MB of memory", limited("ulimit -v 300000", "doctor", DOCTOR), 2, MEMORY),
    *(
        Attack(f"{mb} MB of memory, training", limited(f"ulimit -v {mb}000", "finetune", SHORT), 2, MEMORY)
        for mb in (700, 1000, 1200)
    ),
    *(
        Attack(f"{most} processes, {word}", with_processes(most, *call), status, says, needs=permitted(PIDS))
        for most, word, call, status, says in (
            (6, "decoding", ("doctor", DOCTOR, True), 2, TASKS),
            (8, "training", ("finetune", SHORT), 0, "no loader processes: no more processes or threads"),
            (8, "tuning", ("tune", TUNE), 2, TASKS),
        )
    ),
    *(
        Attack(f"{free} kB of disk, {command}", on_a_disk_with(free, command, flags), 2, DISK, needs=permitted(TMPFS))
        for free in (0, 8, 12, 24)
        for command, flags in (("tune", TUNE), ("finetune", SHORT))
    ),
    Attack("output to a full disk", full_output, 2, "error: what this command prints cannot be written"),
    Attack("output to nobody", no_reader, 141, "^$"),
]
