"""Whether torchrun started this process as one of several: read from the environment, without importing torch."""

import os


def in_job() -> bool:
    """Say whether this process is one of several that train a model together."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def on_this_machine() -> tuple[int, int]:
    """Return this process's number on its machine, from 0, and the number of the job's processes there."""
    return (int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])) if in_job() else (0, 1)
