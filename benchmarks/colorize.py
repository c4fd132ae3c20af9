"""Training speed in frames of 256 pixels per second: this repository's training step and a plain pix2pix step, in one run.

    python benchmarks/colorize.py [--rounds N]

The plain step is as in tutorials, with the widths of Nazeri et al. 2018: U-Net and PatchGAN of width 64, float32, batches of 4,
discriminator and generator once each, the discriminator on real and fake in turn. Ours is ``Colorizer.training_step`` with the
laptop recipe, through Fabric. Both get the same frames, composed before, and turn them into grayscale and CIELAB. They take
turns, so that other work on the machine slows both. The ratio is the median over the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss

from experiments.records import processor, write_json
from nstlib.anime import AnimeFrames
from nstlib.color import rgb_to_lab, scale_lab
from nstlib.colorizer import RECIPES, Colorizer
from nstlib.devices import default_fabric, fast_precision
from nstlib.edges import grayscale
from nstlib.networks import PatchGAN, UNet
from nstlib.training import Trainer

SIZE, RECIPE = 256, RECIPES["laptop"]
FRAMES = 64  # that both are trained on
PLAIN_BATCH, PLAIN_STEPS = 4, 4
STEPS = 24  # three of them with the GAN's part


class Plain:
    """pix2pix as in tutorials."""

    def __init__(self) -> None:
        self.generator, self.discriminator = UNet(SIZE, RECIPES["poster"].width), PatchGAN(RECIPES["poster"].width)
        self.generator_optimizer, self.discriminator_optimizer = (
            torch.optim.Adam(network.parameters(), 2e-4, betas=(0.5, 0.999)) for network in (self.generator, self.discriminator)
        )

    def step(self, frames: torch.Tensor) -> None:
        """Train on a batch (B, 3, H, W), RGB in [0, 1]."""
        condition, colors = grayscale(frames) * 2 - 1, scale_lab(rgb_to_lab(frames))
        colorized = self.generator(condition)

        self.discriminator.requires_grad_(True)
        self.discriminator_optimizer.zero_grad()
        real, fake = self.discriminator(condition, colors), self.discriminator(condition, colorized.detach())
        loss = binary_cross_entropy_with_logits(real, torch.ones_like(real))
        loss = (loss + binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))) / 2
        loss.backward()
        self.discriminator_optimizer.step()

        self.discriminator.requires_grad_(False)
        self.generator_optimizer.zero_grad()
        fake = self.discriminator(condition, colorized)
        loss = binary_cross_entropy_with_logits(fake, torch.ones_like(fake)) + 100 * l1_loss(colorized, colors)
        loss.backward()
        self.generator_optimizer.step()


class Ours:
    """As ``Colorizer.fit`` runs it."""

    def __init__(self) -> None:
        colorizer = Colorizer("grayscale", SIZE, recipe=RECIPE)
        self.trainer = Trainer(colorizer, AnimeFrames("train", SIZE, 10**6), fabric=default_fabric())
        colorizer.generator.train()

    def step(self, frames: torch.Tensor) -> None:
        """Train on a batch (B, 3, H, W), RGB in [0, 1]."""
        self.trainer.advance(frames)


def main() -> None:
    """Run the command (see the module)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    torch.manual_seed(0)
    frames = torch.stack(list(AnimeFrames("train", SIZE, FRAMES)))
    rates: dict[str, list[float]] = {"plain": [], "ours": []}
    contenders = {"plain": (Plain(), PLAIN_BATCH, PLAIN_STEPS), "ours": (Ours(), RECIPE.batch_size, STEPS)}
    for round_ in range(-1, options.rounds):  # the first warms up
        for name, (contender, batch, steps) in contenders.items():
            started = time.perf_counter()
            for step in range(steps):
                contender.step(frames[[i % FRAMES for i in range(step * batch, (step + 1) * batch)]])
            if round_ >= 0:
                rates[name].append(steps * batch / (time.perf_counter() - started))
                print(f"round {round_ + 1}, {name}: {rates[name][-1]:.1f} frames a second", flush=True)
    ratios = [ours / plain for ours, plain in zip(rates["ours"], rates["plain"], strict=True)]
    result = {
        "plain frames a second": round(statistics.median(rates["plain"]), 1),
        "our frames a second": round(statistics.median(rates["ours"]), 1),
        "ratio": round(statistics.median(ratios), 2),
        "lowest ratio": round(min(ratios), 2),
        "size": SIZE,
        "widths": {"plain": RECIPES["poster"].width, "ours": RECIPE.width},
        "batches": {"plain": PLAIN_BATCH, "ours": RECIPE.batch_size},
        "precision": str(fast_precision()),
        "device": processor(),
        "torch": torch.__version__,
    }
    print(json.dumps(result, indent=1))
    write_json(result, Path(__file__).with_name("colorize_256.json"))


if __name__ == "__main__":
    main()
