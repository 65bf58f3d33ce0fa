"""`model.kwargs`: further arguments of the encoder, as a JSON object."""

import json
from typing import Any

from supcon.errors import UserError

_SAID_ELSEWHERE = {
    "num_classes": "0, since the heads are our own",
    "in_chans": "3, since images have three channels",
    "img_size": "--data.image_size",
    "drop_path_rate": "--model.drop_path",
    "drop_rate": "--model.dropout",
    "pretrained": "--model.pretrained",
    "checkpoint_path": "--model.weights",
    "pretrained_cfg": "timm's own",
    "pretrained_cfg_overlay": "timm's own",
    "model_name": "--model.encoder",
    "features_only": "not for encoders of one vector an image",
}


def read_kwargs(text: str) -> dict[str, Any]:
    """Return what `model.kwargs` says. Raises `UserError` where it is no object, or names what is said elsewhere."""
    options = _read(text)
    if options is None:
        raise UserError(f"--model.kwargs {text!r} is no JSON object: write it as '{{\"window_size\": 8}}'")
    if known := sorted(_SAID_ELSEWHERE.keys() & options.keys()):
        raise UserError(f"--model.kwargs: {known[0]} is {_SAID_ELSEWHERE[known[0]]}; leave it out")
    return options


def canonical_kwargs(text: str) -> str:
    """Return the one spelling of all texts that say the same, "" of no arguments; what is no object as it is."""
    options = _read(text)
    return text if options is None else json.dumps(options, sort_keys=True) if options else ""


def _read(text: str) -> dict[str, Any] | None:
    try:
        options = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        return None
    return options if isinstance(options, dict) else None
