"""A stage that says where it ran, for tests of what runs stages."""

import json
import os
import signal
import time

from supcon.errors import UserError
from supcon.settings import Request


def run(request: Request) -> None:
    """Do to `request.folds` what `request.options` say: `fails` and `dies` name folds, `meets` how many run at once."""
    (fold,), options, started = request.folds, request.options, time.time()
    if fold in options.dies:
        os.kill(os.getpid(), signal.SIGKILL)
    if fold in options.fails:
        raise UserError("the loss is nan: lower the learning rate")
    (request.root / f"{fold}.begun").touch()
    while len(list(request.root.glob("*.begun"))) < options.meets:  # others, or it waits in vain
        time.sleep(0.02)
    seen: dict[str, object] = {
        name: os.environ.get(name) for name in ("SUPCON_CORES", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    }
    seen |= {"process": os.getpid(), "started": started, "ended": time.time()}
    (request.root / f"{fold}.json").write_text(json.dumps(seen))
