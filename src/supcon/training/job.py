"""Did torchrun start this process as one of several? Its environment tells, without an import of torch."""

import os


def in_job() -> bool:
    """Say whether this process is one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def on_this_machine() -> tuple[int, int]:
    """Return this process's number among those of the job on its machine, and how many these are."""
    return (int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])) if in_job() else (0, 1)
