"""Files of weights: this project's own, and those of any trainer, whose encoder is found by its names and shapes."""

import logging
import re
import warnings
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from supcon.errors import UserError
from supcon.storage.files import write_atomic
from supcon.storage.processes import on_this_machine
from supcon.training.model.timm_import import timm

Tensors = dict[str, Tensor]  # by name
Shapes = Mapping[str, torch.Size]  # of the model's own tensors, by name

_TORCH = (b"PK\x03\x04", b"\x80")  # how torch's files begin: a zip, or a pickle of old
_COMPILED = "_orig_mod."  # torch.compile adds it to the names of what it wraps, the network or single blocks
_COUNTER = "num_batches_tracked"  # read by no timm encoder, and lacking in checkpoints of other frameworks
_AVERAGED = {"ema", "teacher"}  # words in the prefix of a copy that is an average, made to be evaluated
_FOLLOWING = {"k", "key", "momentum", "target"}  # of a copy that only serves the trained one: MoCo's, BYOL's


def save_weights(path: Path, **parts: nn.Module) -> None:
    """Write the state of `parts` to one safetensors file; tensors are called PART.NAME."""
    tensors = {
        f"{part}.{name}": tensor.detach().cpu().contiguous()
        for part, module in parts.items()
        for name, tensor in module.state_dict().items()
    }
    write_atomic(path, lambda file: file.write(save(tensors)))


def load_weights(path: Path, **parts: nn.Module) -> None:
    """Load `parts` from a file of `save_weights`. Raises `UserError` where it is damaged or of another network."""
    with _named(path):
        load_tensors(load_file(path), **parts)


def load_tensors(tensors: Tensors, **parts: nn.Module) -> None:
    """Load `parts` from tensors that are called PART.NAME. Raises torch's `RuntimeError` where they do not fit."""
    for part, module in parts.items():
        prefix = f"{part}."
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})


def has_part(path: Path, part: str) -> bool:
    """Say whether a file of `save_weights` holds `part`. Raises `UserError` as `load_weights` does."""
    with _open(path) as file:
        return any(name.startswith(f"{part}.") for name in file.keys())  # noqa: SIM118


def shape_in(path: Path, name: str) -> list[int]:
    """Return the shape of one tensor of a safetensors file. Raises `UserError` as `load_weights` does."""
    with _named(path), safe_open(path, framework="pt") as file:
        shape: list[int] = file.get_slice(name).get_shape()
    return shape


def average_weights(paths: Sequence[Path], needed: Sequence[str]) -> Tensors:
    """Return the means of the tensors of several files of `save_weights`; those of integers are the first file's.

    Means are taken in float64 and returned in the type of the first file's tensors, so that equal tensors are their own
    mean. Of the parts, those `needed` must be alike in all files; others are left out where they are not. Raises
    `UserError`, naming the file, where a needed part differs in names or shapes, or a file is damaged.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(_open(path)) for path in paths]
        shapes = [{name: file.get_slice(name).get_shape() for name in file.keys()} for file in files]  # noqa: SIM118
        tensors: Tensors = {}
        for part in dict.fromkeys(name.partition(".")[0] for name in shapes[0]):
            of_part = [{name: shape for name, shape in own.items() if name.startswith(f"{part}.")} for own in shapes]
            other = next((number for number, own in enumerate(of_part) if own != of_part[0]), None)
            if other is None:
                tensors |= {name: _mean([file.get_tensor(name) for file in files]) for name in of_part[0]}
            elif part in needed:
                own, first = of_part[other], of_part[0]
                odd = min(name for name in own | first if own.get(name) != first.get(name))
                raise UserError(f"{paths[other]} is of another network than {paths[0]}, first {odd}: leave it out")
    return tensors


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0]
    if not first.is_floating_point():
        return first
    return torch.stack([tensor.double() for tensor in tensors]).mean(dim=0).to(first.dtype)


def _open(path: Path) -> Any:
    with _named(path):
        return safe_open(path, framework="pt")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let what goes wrong with a file be a `UserError` that names it."""
    try:
        yield
    except Exception as error:  # safetensors, the file system and torch each raise errors of their own
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} could not be loaded ({reason}): run its stage again with --force") from None


def start_from(path: Path, encoder: str, model: nn.Module, convert: Callable[[Tensors], nn.Module]) -> nn.Module:
    """Return the timm `model` called `encoder` with the weights of a file of any trainer, and say what was taken.

    `_prefix` tells where in the file the encoder is. Where all its tensors are there they are loaded as they are;
    otherwise `convert` makes the model anew by timm's own rules, which know other shapes and names. Raises `UserError`
    where the file cannot be read or most of the model's tensors are not in it.
    """
    groups = dict(_groups(_read(path)))
    file = {f"{group}{name}": tensor for group, tensors in groups.items() for name, tensor in tensors.items()}
    if not file:
        raise UserError(
            f"--model.weights {path} holds no floating-point tensors by name: give the file of a state dict"
        )
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items() if not name.endswith(_COUNTER)}
    prefix = _prefix(file, shapes)
    state = {name.removeprefix(prefix): tensor for name, tensor in file.items() if name.startswith(prefix)}
    fitting = [name for name, shape in shapes.items() if name in state and state[name].shape == shape]
    if broken := [name for name in fitting if not state[name].isfinite().all()]:
        raise UserError(
            f"--model.weights {path}: {prefix}{broken[0]} holds NaN or infinity: its training had diverged; give an"
            " earlier checkpoint, or another file"
        )
    taken, absent = f"tensors of {encoder}" + (f" from {prefix}*" if prefix else ""), "not in the file"
    if len(fitting) == len(shapes):
        model.load_state_dict(state, strict=False)
        left = [name for name in state if name not in shapes and not name.endswith(_COUNTER)]
        _say(path, f"all {len(shapes)} {taken}" + (f"; not taken: {_few(left)}" if left else ""))
        return model

    misfit = _misfit(file, prefix, shapes, fitting)
    if len(fitting) < len(shapes) / 2:  # the names of another code, which timm may know; biases are told by name alone
        largest = max(groups, key=lambda group: (len(groups[group]), _preference(group)))
        state = timm.models.clean_state_dict(groups[largest])
        shapes = {name: shape for name, shape in shapes.items() if len(shape) > 1}
        taken, absent = f"weights of {encoder}", "converted or not in the file"
    converted = _converted(convert, state)
    lacking = _lacking(converted, shapes, state) if converted else list(shapes)
    if converted is None or len(lacking) >= len(shapes) / 2:
        raise UserError(
            f"--model.weights {path} does not fit {encoder}, {misfit}: name the network of the file with"
            " --model.encoder, or give another file"
        )
    if lacking:
        _say(path, f"{len(shapes) - len(lacking)} of the {len(shapes)} {taken}; {absent}: {_few(lacking)}")
    else:
        _say(path, f"all {len(shapes)} {taken}, converted by timm")
    return converted


def _read(path: Path) -> object:
    """Return what a file of safetensors or torch holds; nothing but tensors and plain values is unpickled (law 11)."""
    start = b""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start = file.read(9)
            if start[8:] == b"{":  # behind the header's length; names are no sign, as those of a cache have no suffix
                return load_file(path)
            file.seek(0)
            with torch.serialization.safe_globals([Namespace]):  # a trainer's options
                return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the file system, safetensors, pickle and torch each raise errors of their own
        blocked = re.search(r"GLOBAL (\S+)|TorchScript", str(error))
        if blocked or (isinstance(error, UnpicklingError) and start.startswith(_TORCH)):
            name = f" ({blocked[1]})" if blocked and blocked[1] else ""
            raise UserError(
                f"--model.weights {path} holds objects{name} beside its tensors, which could run any code when they are"
                f" read: where you trust it, save its tensors anew by c = torch.load('{path}', weights_only=False) and"
                " torch.save(c['state_dict'], 'NEW.pth') (its trainer may use another key; a whole model has"
                " c.state_dict()), and give NEW.pth"
            ) from None
        reason = f" ({' '.join(str(error).split())[:120]})" if start.startswith(_TORCH) or start[8:] == b"{" else ""
        raise UserError(
            f"--model.weights {path} is damaged, or no file of PyTorch or safetensors{reason}: fetch it anew, or give"
            " another file"
        ) from None


def _groups(content: object, group: str = "", around: tuple[int, ...] = ()) -> Iterator[tuple[str, Tensors]]:
    """Yield every dict of weights in a file by the names of the dicts around it: `model.`, `state_dict.encoder.`."""
    if not isinstance(content, dict) or id(content) in around:  # of dicts around it: one may hold itself
        return
    tensors = {str(k).replace(_COMPILED, ""): value for k, value in content.items() if _is_loadable(str(k), value)}
    if tensors:
        yield group, tensors
    for key, value in content.items():
        yield from _groups(value, f"{group}{key}.", (*around, id(content)))


def _is_loadable(name: str, value: object) -> bool:
    """Say whether `value` is a tensor to load: no integers of a quantised network, not sparse, nor without data."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta:
        return False
    return value.is_floating_point() or name.endswith(_COUNTER)


def _prefix(file: Tensors, shapes: Shapes) -> str:
    """Return what stands before the model's names in most of those of the file, where shapes fit too.

    Of several networks alike an average is preferred, as it is what trainers evaluate, then the trained one to the
    one that follows it (a momentum or target encoder), then the first.
    """
    fits = Counter[str]()
    for name, tensor in file.items():
        for start in (0, *(dot.end() for dot in re.finditer(r"\.", name))):
            fits[name[:start]] += shapes.get(name[start:]) == tensor.shape
    return max(fits, key=lambda prefix: (fits[prefix], _preference(prefix)))


def _preference(prefix: str) -> int:
    words = set(re.findall("[a-z]+", prefix.lower()))
    return 2 * bool(words & _AVERAGED) - bool(words & _FOLLOWING)


def _converted(convert: Callable[[Tensors], nn.Module], state: Tensors) -> nn.Module | None:
    try:
        # timm lists all names of the file that it does not take, and warns of its interpolation
        with without_warnings(), torch.random.fork_rng(devices=[]):  # heads start as they do unconverted
            return convert(state)
    except Exception:  # timm's rules for one network raise any error on the tensors of another
        return None


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keep back what other packages warn of, where a line of ours says what matters."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _lacking(model: nn.Module, shapes: Shapes, state: Tensors) -> list[str]:
    """Return the names in `shapes` that `state` has neither by name nor, by content, under another one."""
    contents = {_content(tensor) for tensor in state.values()}
    own = model.state_dict()
    return [
        name
        for name, shape in shapes.items()
        if name not in state and (len(shape) < 2 or _content(own[name]) not in contents)
    ]


def _content(tensor: Tensor) -> tuple[int, float]:
    return tensor.numel(), tensor.float().flatten().sum().item()


def _misfit(file: Tensors, prefix: str, shapes: Shapes, fitting: Sequence[str]) -> str:
    """Return how many tensors fit, with the first that does not and what the file has in its place."""
    ours = next(name for name in shapes if name not in fitting)
    left = [name for name in file if name.removeprefix(prefix) not in fitting and file[name].ndim > 1]
    theirs = prefix + ours if prefix + ours in file else next(iter(left), None)
    held = f"{theirs} {list(file[theirs].shape)}" if theirs else "nothing more"
    return (
        f"{len(fitting)} of whose {len(shapes)} tensors it holds (the encoder has {ours} {list(shapes[ours])}, the file"
        f" {held})"
    )


def _few(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _say(path: Path, line: str) -> None:
    if on_this_machine()[0] == 0:
        print(f"--model.weights {path.name}: {line}", flush=True)
