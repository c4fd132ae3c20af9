"""Train the reference-based colorizers, and measure how much key frames and hints help (notebook 13).

    python -m experiments.key_frames [--conditions grayscale canny] [--seeds 0 1 2]

Sizes come from the profile (NSTLIB_PROFILE). Checkpoints and weights go to ``replicated/key_frames/``, records to
``figures/key_frames.json``. A training on record is not repeated; an interrupted one goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor

from experiments.profiles import ROOT, Profile, current
from experiments.records import device_name, means, read_json, write_json
from experiments.table1 import CONDITIONS, TEST_SEED
from nstlib.anime import AnimeClip
from nstlib.anime_pairs import AnimePairs
from nstlib.color import lab_to_rgb, rgb_to_lab
from nstlib.correspondence import MATCHED_LAYERS, match_colors
from nstlib.datasets import CachedFrames
from nstlib.edges import Condition
from nstlib.hints import Dab
from nstlib.metrics import color_accuracy, measure
from nstlib.reference import ReferenceColorizer, ReferenceRecipe
from nstlib.training import ModelError
from nstlib.vgg import FeatureExtractor

POOL = 3000  # pairs that are composed, and kept in memory: 2.4 GB at 256 pixels
VALIDATION = 32
SPLITS = ("shots", "scenes")
DABS = 10
SPEEDS = (1.0, 2.0, 3.0)  # of the clips' cameras, in pixels a frame
MEASURES = ("accuracy", "accuracy_5", "accuracy_ab", "accuracy_ab_5")


def train(condition: str, seed: int, profile: Profile, folder: Path) -> ReferenceColorizer:
    """Train on pairs of frames, or go on with it; keep the weights.

    Raises:
        nstlib.ModelError: training diverged, or ``folder`` holds another training.
    """
    recipe = ReferenceRecipe(epochs=profile.key_frame_epochs)
    model = ReferenceColorizer(CONDITIONS[condition], profile.frame_size, recipe=recipe, seed=seed)
    count = min(POOL, profile.key_frame_pairs * recipe.epochs)
    model.fit(
        CachedFrames(AnimePairs("train", model.frame_size, count, seed=seed), model.condition),
        frames_per_epoch=profile.key_frame_pairs,
        validation=CachedFrames(AnimePairs("validation", model.frame_size, VALIDATION), model.condition),
        folder=folder / f"{condition}-seed{seed}",
    )
    model.save(folder / f"reference-{condition}-seed{seed}.safetensors")
    return model


def measure_pairs(model: ReferenceColorizer, split: str, count: int) -> dict[str, dict[str, float]]:
    """Color frames in every way that there is, and measure how right they are.

    Args:
        split: of ``AnimePairs``; these are the same for all models.
        count: of pairs.

    Returns:
        Way -> means of the measures. Ways: "copied", the reference as it is; "matched", by VGG's features, untrained; "none",
        the model without colors; "reference"; "hints", ten dabs of true colors; "both".
    """
    pairs = AnimePairs(split, model.frame_size, count, seed=TEST_SEED)
    generator = torch.Generator().manual_seed(TEST_SEED)
    measured: dict[str, list[dict[str, Tensor]]] = {}
    for i in range(count):
        reference, truth = pairs[i][None].split(3, dim=1)
        condition = model.condition(truth)
        hints = random_dabs(truth, DABS, generator)
        ways = {
            "copied": with_luma(reference, truth, model.condition),
            "matched": match(reference, truth, model.condition, model.device),
            "none": model.colorize(condition),
            "reference": model.colorize(condition, reference=reference),
            "hints": model.colorize(condition, hints=hints),
            "both": model.colorize(condition, reference=reference, hints=hints),
        }
        for way, colored in ways.items():
            found = measure(colored.cpu(), truth)
            if way in ("hints", "both"):
                found["dabs_met"] = dabs_met(colored.cpu(), hints)
            measured.setdefault(way, []).append(found)
    kept = (*MEASURES, "dabs_met")
    return {
        way: means({key: torch.cat([one[key] for one in found]) for key in kept if key in found[0]})
        for way, found in measured.items()
    }


def measure_clip(model: ReferenceColorizer, speed: float, length: int) -> dict[str, Any]:
    """Color a clip of an unseen scene from its first frame.

    Returns:
        "accuracy" of every frame after the first: of the model's clip, of a clip that is colored frame by frame, and of two
        baselines, which copy the first frame or the previous true frame. "flicker": the change of a and b from frame to frame
        in these two clips and in the ground truth. "flicker_after_motion": the same after the camera's motion is compensated.
    """
    clip = AnimeClip("scenes", model.frame_size, length, speed)
    frames = torch.stack([clip[i] for i in range(length)])
    conditions = model.condition(frames)
    colored, apart = [frames[:1]], [frames[:1]]
    for i in range(1, length):
        condition = conditions[i : i + 1]
        colored.append(model.colorize(condition, reference=[frames[:1], colored[-1]]).cpu())
        apart.append(model.colorize(condition, reference=frames[:1]).cpu())
    clips = {"colored": torch.cat(colored), "frame by frame": torch.cat(apart), "truth": frames}
    copies = {
        "first copied": with_luma(frames[:1].expand_as(frames[1:]), frames[1:], model.condition),
        "truth before copied": with_luma(frames[:-1], frames[1:], model.condition),
    }
    seen = {**{way: clips[way][1:] for way in ("colored", "frame by frame")}, **copies}
    shifts = [clip.shift(i) for i in range(length)]
    return {
        "speed": speed,
        "accuracy": {
            way: [round(float(value), 4) for value in color_accuracy(pictures, frames[1:])] for way, pictures in seen.items()
        },
        "flicker": {way: round(flicker(pictures, [0.0] * length), 4) for way, pictures in clips.items()},
        "flicker_after_motion": {way: round(flicker(pictures, shifts), 4) for way, pictures in clips.items()},
    }


def flicker(frames: Tensor, shifts: Sequence[float]) -> float:
    """Mean change of a and b from one frame to the next, in units of CIELAB.

    Args:
        frames: shape (N, 3, H, W), RGB in [0, 1].
        shifts: by how many pixels each frame shows the scene to the left; only the area that both frames show is compared.
    """
    changes = []
    for before, after, start, end in zip(frames[:-1], frames[1:], shifts[:-1], shifts[1:], strict=True):
        moved = round(end - start)
        width = frames.shape[3] - abs(moved)
        was, now = before[None, ..., max(moved, 0) :][..., :width], after[None, ..., max(-moved, 0) :][..., :width]
        changes.append((rgb_to_lab(now) - rgb_to_lab(was))[:, 1:].abs().mean())
    return float(torch.stack(changes).mean())


def match(reference: Tensor, truth: Tensor, condition: Condition, device: torch.device) -> Tensor:
    """Color a frame by VGG's features; from grayscale, with its own luma."""
    lines, reference_lines = condition(truth).to(device), condition(reference).to(device)
    colored = match_colors(lines, reference_lines, reference.to(device), _extractor(device))
    return with_luma(colored.cpu(), truth, condition)


def with_luma(colors: Tensor, truth: Tensor, condition: Condition) -> Tensor:
    """Colors with the lightness that the gray gives away, if the condition is grayscale."""
    if condition.operator != "grayscale":
        return colors
    gray = condition(truth).expand(-1, 3, -1, -1)
    return lab_to_rgb(torch.cat([rgb_to_lab(gray)[:, :1], rgb_to_lab(colors)[:, 1:]], dim=1))


def random_dabs(truth: Tensor, count: int, generator: torch.Generator) -> list[Dab]:
    """Dabs of a frame's own colors (1, 3, H, W) at random places."""
    dabs = []
    for x, y in torch.rand(count, 2, generator=generator).tolist():
        color = truth[0, :, int(y * truth.shape[2]), int(x * truth.shape[3])]
        dabs.append(Dab(x, y, tuple(color.tolist())))
    return dabs


def dabs_met(colored: Tensor, dabs: Sequence[Dab]) -> Tensor:
    """Share of the dabs in whose middle a colored frame (1, 3, H, W) has their color, within t = 5: shape (1,)."""
    places = [(int(dab.y * colored.shape[2]), int(dab.x * colored.shape[3])) for dab in dabs]
    pixels = torch.stack([colored[0, :, row, column] for row, column in places])
    colors = torch.tensor([dab.color for dab in dabs])
    found, wanted = (values[:, :, None, None].expand(-1, -1, 16, 16) for values in (pixels, colors))  # images of one color
    return color_accuracy(found, wanted, 5.0).mean()[None]


@cache
def _extractor(device: torch.device) -> FeatureExtractor:
    return FeatureExtractor(layers=MATCHED_LAYERS).to(device)


def record(model: ReferenceColorizer, profile: Profile) -> dict[str, Any]:
    """Measure a trained model: plain values."""
    return {
        "profile": profile.name,
        "device": device_name(model.device),
        **model.config(),
        "pairs_per_epoch": profile.key_frame_pairs,
        "seconds": round(sum(entry["seconds"] for entry in model.history)),
        "pairs": profile.key_frame_tests,
        **{split: measure_pairs(model, split, profile.key_frame_tests) for split in SPLITS},
        "clips": [measure_clip(model, speed, profile.clip_frames) for speed in SPEEDS],
    }


def main(arguments: Sequence[str]) -> int:
    """Run the command (see the module) and return its exit status: 1 for a failed run, 2 for a wrong argument or profile,
    130 for Ctrl+C."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.key_frames", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--conditions", nargs="+", choices=list(CONDITIONS), default=list(CONDITIONS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args(arguments)
    try:
        profile = current()
        path, folder = profile.figures / "key_frames.json", ROOT / "replicated" / "key_frames" / profile.name
        for seed in options.seeds:
            for condition in options.conditions:
                known = {(entry["condition"]["operator"], entry["seed"]) for entry in read_json(path)}
                if (condition, seed) in known:
                    print(f"{condition}, seed {seed}, is on record already")
                    continue
                model = train(condition, seed, profile, folder)
                entry = record(model, profile)
                with FileLock(folder / "records.lock"):  # another process may add a record, too
                    write_json([*read_json(path), entry], path)
                values = {split: entry[split]["reference"]["accuracy"] for split in SPLITS}
                print(f"{condition}, seed {seed}: accuracy with a reference {values}; {entry['seconds']} s", flush=True)
    except (ModelError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
