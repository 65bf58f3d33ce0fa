"""Which of timm's encoders train here? python benchmarks/encoders.py [NAME ...]

One of each family, small where there is a choice, without weights: built at two sizes, one training step at each, and
prediction at another size; or the line that refuses it. What ends in any other way is a defect, and the status is 1.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src")]

from supcon.errors import UserError  # noqa: E402
from supcon.settings.settings import MachineSettings, ModelSettings  # noqa: E402
from supcon.training.device import set_up_device  # noqa: E402
from supcon.training.model.encoder import Encoder, fuse_batch_norm  # noqa: E402

SIDES, TESTED = (96, 224), 256  # pixels
ENCODERS = """resnet18 resnext50_32x4d seresnet33ts resnest14d regnety_002 densenet121 vgg11_bn inception_v3
xception41 efficientnet_b0 tf_efficientnetv2_b0 mobilenetv3_small_100 mobilenetv4_conv_small mobileone_s0
ghostnet_100 hardcorenas_a rexnet_100 nfnet_l0 convnext_atto convnextv2_atto inception_next_tiny hgnetv2_b0
repvgg_a0 fastvit_t8 repvit_m0_9 starnet_s1 efficientformer_l1 efficientformerv2_s0 efficientvit_b0
edgenext_xx_small mobilevit_xxs mobilevitv2_050 coatnet_pico_rw_224 maxvit_tiny_tf_224 crossvit_9_240
vit_tiny_patch16_224 vit_small_patch14_dinov2 vit_small_patch16_dinov3 vit_base_patch16_siglip_224
eva02_tiny_patch14_224 deit3_small_patch16_224 beit_base_patch16_224 swin_tiny_patch4_window7_224
swinv2_cr_tiny_ns_224 pvt_v2_b0 poolformer_s12 levit_128s mixer_s32_224 convit_tiny cait_xxs24_224
xcit_nano_12_p16_224 hiera_tiny_224 tiny_vit_5m_224 nextvit_small focalnet_tiny_srf davit_tiny twins_svt_small
visformer_tiny"""


def main() -> None:
    """Print a row an encoder, each tried in a process of its own: some kernels of torch crash."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="*", metavar="NAME", help="(default: one of each family)")
    parser.add_argument("--side", type=int, help=argparse.SUPPRESS)  # in the processes that this one starts
    parser.add_argument("--contiguous", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(tried(options.encoders[0], options.side, channels_last=not options.contiguous))
        return
    names, defects = options.encoders or ENCODERS.split(), 0
    print(f"| encoder | {' | '.join(f'{side} pixels' for side in SIDES)} |\n|---|---|---|")
    for name in names:
        cells = [outcome(name, side) for side in SIDES]
        defects += sum(cell.startswith("DEFECT") for cell in cells)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(f"\n{len(names)} encoders, {defects} defects")
    sys.exit(defects > 0)


def outcome(name: str, side: int) -> str:
    """Return what an encoder did at a size; where torch crashed with channels_last, what it did without."""
    words = [sys.executable, __file__, name, f"--side={side}"]
    first = subprocess.run(words, capture_output=True, text=True, check=False)
    if first.returncode >= 0:
        return said(first)
    second = subprocess.run([*words, "--contiguous"], capture_output=True, text=True, check=False)
    return f"torch crashes with channels_last; without: {said(second)}"


def said(done: "subprocess.CompletedProcess[str]") -> str:
    """Return the last line of a process."""
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines() or [""]
    return lines[-1][:300] if done.returncode == 0 else f"DEFECT {done.returncode}: {lines[-1][:300]}"


def tried(name: str, side: int, *, channels_last: bool) -> str:
    """Return what an encoder did at a size: a training step, and prediction at another size; or what refuses it."""
    device = set_up_device(MachineSettings(device="cpu"))
    torch.manual_seed(0)
    settings = ModelSettings(encoder=name, pretrained=False)
    try:
        encoder = Encoder(settings, side, load_weights=False, channels_last=channels_last).to(device).train()
    except UserError as error:
        return f"refused: {shortened(error)}"
    views = torch.randint(0, 256, (4, side, side, 3), dtype=torch.uint8)
    encoder(views).float().pow(2).sum().backward()
    gradients = [weight.grad for weight in encoder.parameters() if weight.grad is not None]
    if not all(torch.isfinite(gradient).all() for gradient in gradients):
        raise ValueError("a gradient is not finite")
    millions = sum(weight.numel() for weight in encoder.parameters()) / 1e6
    try:
        encoder.require(TESTED, f"--data.test_size {TESTED}")
        fuse_batch_norm(encoder, TESTED)
    except UserError as error:
        return f"trains ({millions:.1f} M); {TESTED}: {shortened(error)}"
    return f"trains ({millions:.1f} M), predicts at {TESTED}"


def shortened(error: UserError) -> str:
    """Return the cure of a refusal."""
    return str(error).rpartition(": ")[2]


if __name__ == "__main__":
    main()
