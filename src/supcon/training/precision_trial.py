"""Time a few training steps in each precision and memory format: `precision` runs this module as a process."""

import json
import sys
import time
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from supcon.errors import run_stage
from supcon.settings.settings import MachineSettings, ModelSettings
from supcon.training.device import autocast, lacks_bfloat16, set_up_device
from supcon.training.model.encoder import Encoder
from supcon.training.precision import NOT_FOR_THIS, Trial

TIMED = 5  # steps, after one to warm up
ENOUGH = 4.0  # seconds a candidate: after that a slow candidate needs no more steps


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line of JSON for each candidate, as soon as it is timed."""
    trial = json.loads(sys.argv[1])
    device = set_up_device(MachineSettings(device=trial["device"], threads=trial["threads"]))
    for precision, channels_last in trial["candidates"]:
        speed = images_per_second(trial, precision, channels_last, device)
        print(json.dumps({"speed": speed}), flush=True)


def images_per_second(trial: "Trial", precision: str, channels_last: bool, device: torch.device) -> float | str:
    """Return the images a second of forward and backward passes of random images, or why there is no such number."""
    if precision == ("bfloat16" if lacks_bfloat16(device) else "float16"):
        return NOT_FOR_THIS
    torch.manual_seed(0)
    side, images = trial["side"], trial["images"]
    settings = ModelSettings(encoder=trial["encoder"], pretrained=False)
    encoder = Encoder(settings, side, load_weights=False, channels_last=channels_last).to(device)
    views = torch.randint(0, 256, (images, side, side, 3), dtype=torch.uint8, device=device)
    seconds: list[float] = []
    while len(seconds) <= TIMED and (len(seconds) < 2 or sum(seconds) < ENOUGH):
        started = time.perf_counter()
        encoder.zero_grad(set_to_none=True)
        with autocast(device, precision):
            features = encoder(views)
        loss = F.normalize(features.float(), dim=1)[:, 0].sum()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(encoder.parameters(), float("inf")).item()  # waits for the device
        seconds.append(time.perf_counter() - started)
        if not torch.isfinite(torch.tensor(norm)):
            return "not finite"
    return round(images / min(seconds[1:]), 1)  # the shortest step: other processes can only make a step longer


if __name__ == "__main__":
    run_stage(main)
