"""Style transfer against the loop that tutorials show, side by side in one run (`make bench`, about a quarter of an hour).

Both minimize the same loss on the same images at the same size, from the same start, the content image:

- the plain loop: torchvision's VGG-16 module in its default memory layout and float32, weights frozen, one scale, torch's
  L-BFGS as it comes (no line search), 300 iterations, pixels clamped in the closure as PyTorch's own tutorial does;
- nstlib: StyleTransfer as it is used, coarse to fine.

One number compares them: the loss of the picture as it can be saved (clipped to [0, 1]), computed in float32 by the plain
loop's network. Its time is not counted. Without a line search the plain loop's loss has spikes, and may end on one. So we
measure how long nstlib takes to reach the plain loop's final loss, and how long to reach its lowest loss.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

import nstlib
from nstlib.devices import fast_precision
from nstlib.files import atomic_write
from nstlib.images import resize
from nstlib.transfer import STYLE_LAYERS, StyleTransfer
from nstlib.vgg import PREPROCESSING, layer_names

CONTENT_WEIGHT, STYLE_WEIGHT, TV_WEIGHT = 1.0, 8.0, 10.0
CONTENT_LAYER = "relu4_2"


class PlainLoop:
    """Gatys et al. as in tutorials."""

    def __init__(self, content: Tensor, style: Tensor) -> None:
        self.content = content
        features = torchvision.models.vgg16(weights=None).features[: layer_names().index("relu5_1") + 1]
        ours = nstlib.FeatureExtractor(layers=["relu5_1"])
        for theirs, mine in zip(features, ours.net, strict=True):
            if isinstance(theirs, nn.Conv2d):
                theirs.weight.data.copy_(mine.weight)
                theirs.bias.data.copy_(mine.bias)
        pooled = [nn.AvgPool2d(2) if isinstance(module, nn.MaxPool2d) else module for module in features]
        self.net = nn.Sequential(*pooled).requires_grad_(False).eval()
        mean, std = PREPROCESSING["caffe"]
        self.mean, self.std = torch.tensor(mean).view(1, 3, 1, 1), torch.tensor(std).view(1, 3, 1, 1)
        with torch.no_grad():
            self.target = self.features(content)[CONTENT_LAYER]
            self.grams = {layer: self.gram(f) for layer, f in self.features(style).items() if layer in STYLE_LAYERS}

    def features(self, image: Tensor) -> dict[str, Tensor]:
        """VGG's features of an image (1, 3, H, W), RGB in [0, 1], by layer."""
        x, found = (image - self.mean) / self.std, {}
        for name, module in zip(layer_names(), self.net, strict=False):
            x = module(x)
            if name in STYLE_LAYERS or name == CONTENT_LAYER:
                found[name] = x
        return found

    @staticmethod
    def gram(features: Tensor) -> Tensor:
        """Gram matrix (N, N) of features (1, N, H, W)."""
        f = features.flatten(2)[0]
        return f @ f.T / f.shape[1]

    def loss(self, image: Tensor) -> Tensor:
        """The weighted sum of content loss, style loss and total variation; relative, as nstlib's."""
        features = self.features(image)
        content = (features[CONTENT_LAYER] - self.target).square().sum() / self.target.square().sum()
        style = sum((self.gram(features[k]) - a).square().sum() / a.square().sum() for k, a in self.grams.items()) / len(
            self.grams
        )
        across, down = image.diff(dim=3).square().sum(), image.diff(dim=2).square().sum()
        return CONTENT_WEIGHT * content + STYLE_WEIGHT * style + TV_WEIGHT * (across + down) / image.numel()

    def run(self, iterations: int) -> tuple[Tensor, float, float]:
        """The final image, the lowest loss on the way, and the seconds it took."""
        image = (255 * self.content).clone().requires_grad_(True)
        optimizer = torch.optim.LBFGS([image], max_iter=iterations, tolerance_grad=0, tolerance_change=0)
        count, lowest, started = 0, float("inf"), time.perf_counter()

        def closure() -> Tensor:
            nonlocal count, lowest
            with torch.no_grad():
                image.clamp_(0, 255)
            optimizer.zero_grad()
            loss = 1e6 * self.loss(image / 255)  # a large loss, so that L-BFGS's first step is not lost in rounding
            loss.backward()
            count, lowest = count + 1, min(lowest, loss.item() / 1e6)
            if count % 20 == 0:
                print(
                    f"  plain loop: {count} evaluations, {time.perf_counter() - started:.0f} s, loss {loss.item() / 1e6:.4f}",
                    flush=True,
                )
            return loss

        optimizer.step(closure)
        return (image.detach() / 255).clamp(0, 1), lowest, time.perf_counter() - started


@torch.no_grad()
def saved_loss(loop: PlainLoop, image: Tensor) -> float:
    """The loss of an image (1, 3, H, W) as it can be saved, clipped to [0, 1]."""
    return float(loop.loss(image.clamp(0, 1)))


def seconds_per_evaluation(function: Callable[[Tensor], Tensor], image: Tensor, repeats: int = 5) -> float:
    """Median seconds of one loss and gradient."""
    times = []
    for _ in range(repeats + 1):
        x = image.clone().requires_grad_(True)
        started = time.perf_counter()
        function(x).backward()
        times.append(time.perf_counter() - started)
    return sorted(times[1:])[repeats // 2]


def main() -> None:
    """Run the command (see the module)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512, help="longer side in pixels (default 512)")
    parser.add_argument("--iterations", type=int, default=300, help="of the plain loop (default 300)")
    arguments = parser.parse_args()

    content = resize(nstlib.load_image(nstlib.asset_path("toronto")), arguments.size)
    style = resize(nstlib.load_image(nstlib.asset_path("scream")), arguments.size)
    loop = PlainLoop(content, style)
    start = saved_loss(loop, content)
    print(f"{arguments.size} px, {torch.get_num_threads()} threads, loss of the content image {start:.4f}", flush=True)

    image, lowest, plain_seconds = loop.run(arguments.iterations)
    final = saved_loss(loop, image)
    targets = {"final": final, "lowest": min(final, lowest)}
    print(f"plain loop: {arguments.iterations} iterations, {plain_seconds:.1f} s, {targets}", flush=True)

    started, comparing, reached = time.perf_counter(), 0.0, {}
    transfer = StyleTransfer(
        content, style, content_weight=CONTENT_WEIGHT, style_weight=STYLE_WEIGHT, tv_weight=TV_WEIGHT, size=arguments.size
    )
    while len(reached) < len(targets) and transfer.step_count < 4 * transfer.steps:
        losses = transfer.step()
        open_targets = {name: target for name, target in targets.items() if name not in reached}
        # our own loss, in our own precision, only says when the comparison is worth its time
        if losses["size"] == arguments.size and losses["total"] < 1.01 * max(open_targets.values()):
            before = time.perf_counter()
            loss = saved_loss(loop, transfer.image)
            comparing += time.perf_counter() - before
            seconds = time.perf_counter() - started - comparing
            for name, target in open_targets.items():
                if loss <= target:
                    reached[name] = {"steps": transfer.step_count, "seconds": round(seconds, 1), "loss": round(loss, 4)}
                    print(f"nstlib: {name} loss reached: {reached[name]}", flush=True)
        if transfer.step_count % 20 == 0:
            print(f"  nstlib: {transfer.step_count} steps, {losses['size']} px, loss {losses['total']:.4f}", flush=True)

    def our_loss(x: Tensor) -> Tensor:
        return transfer.objective(x)["total"]

    one_plain, one_ours = seconds_per_evaluation(loop.loss, content), seconds_per_evaluation(our_loss, content)
    result = {
        "size": arguments.size,
        "measured_by": "content + 8 style + 10 total variation, relative losses, float32, image clipped to [0, 1]",
        "plain_loop": {
            "iterations": arguments.iterations,
            "seconds": round(plain_seconds, 1),
            **{f"{name}_loss": round(target, 4) for name, target in targets.items()},
        },
        "nstlib": {f"to_{name}_loss": entry for name, entry in reached.items()},
        "ratio": {f"to_{name}_loss": round(plain_seconds / entry["seconds"], 2) for name, entry in reached.items()},
        "seconds_per_evaluation": {"plain_loop": round(one_plain, 3), "nstlib": round(one_ours, 3)},
        "device": f"{platform.machine()} CPU, {torch.get_num_threads()} threads, nstlib in {fast_precision()}",
        "torch": torch.__version__,
    }
    path = Path(__file__).parent / f"transfer_{arguments.size}.json"
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    for name, target in targets.items():
        seconds = reached[name]["seconds"] if name in reached else float("inf")
        print(f"to the plain loop's {name} loss, {target:.4f}: plain loop {plain_seconds:.0f} s, nstlib {seconds:.0f} s")


if __name__ == "__main__":
    main()
