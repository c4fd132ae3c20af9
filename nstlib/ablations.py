"""The poster's "future research": every variant that notebooks 09 to 12 compare, trained and measured in the same way.

    python -m nstlib.ablations --list                       what there is, and how much of it is done
    python -m nstlib.ablations [NAME ...] [--seeds 0 1 2]   train and measure these variants, or all
    python -m nstlib.ablations --tune perceptual            choose a loss's weight, or the start, on validation frames
    python -m nstlib.ablations --table                      what came out for line-art, as the README shows it

A variant is a colorizer with another condition, another loss, other data or another start; the training loop is
``Colorizer.fit`` for all of them. Sizes come from the profile (NSTLIB_PROFILE). Checkpoints go to ``replicated/ablations/``;
records to ``figures/ablations.json`` (``--tune``: ``ablations_tuning.json``); and what the first seed paints to
``figures/ablations/``. What is on record is not run again, and what was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from nstlib.assets import asset_path
from nstlib.colorizer import RECIPES, Colorizer, ColorizerError, Recipe
from nstlib.cyclegan import CycleGAN, CycleRecipe
from nstlib.edges import Condition
from nstlib.frames import AnimeFrames
from nstlib.images import load_image, save_image
from nstlib.medical import MedicalPatches
from nstlib.metrics import PerceptualDistance, edge_agreement, measure
from nstlib.table1 import CONDITIONS, TEST_SEED, device_name, shown, spread, summarize, write_json

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "figures" / "ablations.json"
TUNING = ROOT / "figures" / "ablations_tuning.json"
VALIDATION_FRAMES = 64
SAMPLES = 8  # held-out frames that are kept as painted

# Chosen by --tune on validation frames, with a seed of its own. Weights of the losses that the poster has not: beside L1 the
# largest that costs less than a fiftieth of the poster's accuracy there; without L1 the most accurate, as for the start.
PERCEPTUAL_WEIGHT, STRUCTURE_WEIGHT = 1.0, 100.0
PAINT_GAIN = 0.1
TUNED = {  # name -> setting of the recipe, what is tried for it, other changes; a loss of weight 0 is the poster's recipe
    "start": ("paint_gain", (1.0, 0.1), {}),
    "perceptual": ("perceptual_weight", (0.0, 0.1, 0.3, 1.0), {}),
    "perceptual-gan": ("perceptual_weight", (1.0, 3.0), {"l1_weight": 0.0}),
    "structure": ("structure_weight", (0.0, 30.0, 100.0, 200.0), {}),
}

LINES = {
    "canny": CONDITIONS["canny"],
    "sobel": Condition("sobel", detail=2),
    "sobel-lines": Condition("sobel", detail=2, threshold=0.1),
    "xdog": Condition("xdog", detail=2),
}
LOSSES = {  # what Eq. (4) becomes
    "l1-gan": {},  # the poster's
    "perceptual-gan": {"l1_weight": 0.0, "perceptual_weight": PERCEPTUAL_WEIGHT},
    "l1-perceptual-gan": {"perceptual_weight": PERCEPTUAL_WEIGHT},
    "l1": {"adversarial_weight": 0.0},
}
LINE_ART = {  # label -> variant, as the README's table has them
    "L1 + GAN on Canny (the poster)": "canny-l1-gan",
    "L1 alone": "canny-l1",
    "perceptual + GAN": "canny-perceptual-gan",
    "L1 + perceptual + GAN": "canny-l1-perceptual-gan",
    "L1 + GAN + structure": "canny-structure",
    "L1 + GAN + structure + perceptual": "canny-structure-perceptual",
    "CycleGAN, unpaired": "canny-cyclegan",
    "the poster's on Sobel": "sobel-l1-gan",
    "the poster's on thresholded Sobel": "sobel-lines-l1-gan",
    "the poster's on XDoG": "xdog-l1-gan",
    "the poster's on mixed lines": "mixed-l1-gan",
}
SHARES = (0.1, 0.3, 1.0)  # of the medical patches
MEDICAL_SIZE = 64  # pixels, as the colorizers that ship, whatever the profile
MEDICAL_LR = 2e-3  # of the generator; the laptop's is for a start from nothing


@dataclass(frozen=True)
class Variant:
    """One thing that is done differently."""

    notebook: str
    condition: Condition
    changes: dict[str, float]  # to the recipe
    model: type[Colorizer] = Colorizer
    share: float | None = None  # of the medical patches; None for anime frames
    start: str | None = None  # the colorizer that it goes on from
    longer: int = 1  # times as many epochs as the profile has

    def recipe(self, epochs: int) -> Recipe:
        """That of the laptop run, but for what is changed, and with this variant's number of epochs.

        All begin near gray. He's weights begin in colours that sRGB has not, and of those VGG says so little that without L1
        the generator never left them: it painted one pattern, whatever the condition.
        """
        base = CycleRecipe() if self.model is CycleGAN else replace(RECIPES["laptop"], paint_gain=PAINT_GAIN)
        return replace(base, epochs=epochs, **self.changes)


VARIANTS: dict[str, Variant] = {
    **{f"{name}-{loss}": Variant("09", CONDITIONS[name], changes) for name in CONDITIONS for loss, changes in LOSSES.items()},
    "canny-cyclegan": Variant("10", CONDITIONS["canny"], {}, CycleGAN),
    "canny-cyclegan-long": Variant("10", CONDITIONS["canny"], {}, CycleGAN, longer=5),  # is it only a matter of steps?
    "canny-structure": Variant("10", CONDITIONS["canny"], {"structure_weight": STRUCTURE_WEIGHT}),
    "canny-structure-perceptual": Variant(
        "10", CONDITIONS["canny"], {"structure_weight": STRUCTURE_WEIGHT, "perceptual_weight": PERCEPTUAL_WEIGHT}
    ),
    **{f"{name}-l1-gan": Variant("11", LINES[name], {}) for name in ("sobel", "sobel-lines", "xdog")},
    "mixed-l1-gan": Variant("11", Condition("mixed", detail=2), {}),
    **{
        f"medical-{name}-{origin}-{share:.0%}".replace("%", ""): Variant(
            "12", CONDITIONS[name], {"generator_lr": MEDICAL_LR}, share=share, start=start, longer=2
        )
        for name in CONDITIONS
        for origin, start in (("scratch", None), ("anime", f"colorizer-{name}"))
        for share in SHARES
    },
    **{  # does the comparison hang on the learning rate?
        f"medical-{name}-scratch-100-{speed}": Variant("12", CONDITIONS[name], {"generator_lr": lr}, share=1.0, longer=2)
        for name in CONDITIONS
        for speed, lr in (("slower", MEDICAL_LR / 2), ("faster", RECIPES["laptop"].generator_lr))
    },
}


def build(variant: Variant, size: int, epochs: int, seed: int) -> Colorizer:
    """The variant's colorizer, untrained or with the weights that it goes on from."""
    colorizer = variant.model(variant.condition, size, recipe=variant.recipe(epochs), seed=seed)
    if variant.start:
        colorizer.generator.load_state_dict(Colorizer.load(asset_path(variant.start)).generator.state_dict())
    return colorizer


def data(variant: Variant, size: int, seed: int, frames: int, patches: int, tests: int) -> dict[str, Dataset[Tensor]]:
    """What it is trained on, what is looked at meanwhile, what it is measured on.

    Args:
        frames: to train on, in the whole run.
        patches: medical ones, if all of them are taken.
        tests: to measure on.
    """
    size *= variant.condition.detail
    if variant.share is not None:
        # nothing is chosen by the medical learning curve, so it may be that of the test patches
        return {
            "train": MedicalPatches("train", size, max(1, round(variant.share * patches)), seed=seed),
            "validation": MedicalPatches("test", size, min(VALIDATION_FRAMES, tests)),
            "test": MedicalPatches("test", size, tests, seed=TEST_SEED),
        }
    return {
        "train": AnimeFrames("train", size, frames, seed=seed),
        "validation": AnimeFrames("validation", size, min(VALIDATION_FRAMES, tests)),
        "test": AnimeFrames("shots", size, tests, seed=TEST_SEED),
    }


@cache
def _perceptual_distance() -> PerceptualDistance:
    return PerceptualDistance()  # VGG is read once


def judge(colorizer: Colorizer, frames: Dataset[Tensor]) -> dict[str, float]:
    """Everything that is measured, means over ``frames`` to four digits: Table 1's, edges, perceptual distance, and "ink", how
    dark the condition is."""
    parts: list[dict[str, Tensor]] = []
    for start in range(0, len(frames), 32):
        batch = colorizer.compare(frames, range(start, min(start + 32, len(frames))))
        parts.append(
            {
                **measure(batch["painted"], batch["truth"]),
                **edge_agreement(batch["painted"], batch["truth"]),
                "perceptual": _perceptual_distance()(batch["painted"], batch["truth"]),
                "ink": 1 - batch["condition"].mean(dim=(1, 2, 3)),
            }
        )
    return summarize({name: torch.cat([part[name] for part in parts]) for name in parts[0]})


def on_every_line(colorizer: Colorizer, frames: Dataset[Tensor]) -> dict[str, float]:
    """Accuracy (t = 2) when it is given lines of each kind in ``LINES``, whatever it was trained on."""
    own, results = colorizer.condition, {}
    try:
        for name, condition in LINES.items():
            colorizer.condition = condition
            results[name] = round(float(colorizer.evaluate(frames)["accuracy"].mean()), 4)
    finally:
        colorizer.condition = own
    return results


def run(name: str, seed: int, profile: Any, folder: Path) -> dict[str, Any]:
    """Train a variant, or go on training it, and measure it; the first seed's paintings are kept (``paintings``).

    Returns:
        The record: plain values.
    """
    variant = VARIANTS[name]
    size = MEDICAL_SIZE if variant.share else profile.frame_size
    colorizer = build(variant, size, profile.ablation_epochs * variant.longer, seed)
    per_epoch = max(16, profile.ablation_frames // 6) if variant.share else profile.ablation_frames
    epochs = colorizer.recipe.epochs
    sets = data(variant, size, seed, epochs * per_epoch, profile.patches, profile.test_frames)
    before = colorizer.evaluate(sets["validation"])
    history = colorizer.fit(
        sets["train"], frames_per_epoch=per_epoch, validation=sets["validation"], folder=folder / f"{name}-seed{seed}"
    )
    if seed == 0:
        sample = colorizer.compare(sets["test"], range(min(SAMPLES, len(sets["test"]))))
        kept = {name: sample["painted"]}
        if isinstance(colorizer, CycleGAN):
            kept[f"{name}-there-and-back"] = colorizer.draw(sample["painted"]).cpu().expand(-1, 3, -1, -1)
            kept[f"{name}-drawn"] = colorizer.draw(sample["truth"]).cpu().expand(-1, 3, -1, -1)
        (profile.figures / "ablations").mkdir(parents=True, exist_ok=True)
        for title, images in kept.items():
            save_image(torch.cat(list(images), dim=2)[None], profile.figures / "ablations" / f"{title}.png")
    record = {
        "variant": name,
        "seed": seed,
        "notebook": variant.notebook,
        "profile": profile.name,
        "device": device_name(colorizer.device),
        "condition": variant.condition.config(),
        "epochs": epochs,
        "frames_per_epoch": per_epoch,
        "steps": epochs * max(1, round(per_epoch / colorizer.recipe.batch_size)),
        "seconds": round(sum(entry["seconds"] for entry in history)),
        "curves": {  # on validation frames, t = 2, before training and after every epoch
            name: [round(value, 4) for value in (float(before[name].mean()), *(entry[name] for entry in history))]
            for name in ("accuracy", "chroma")
        },
        "test": judge(colorizer, sets["test"]),
    }
    if variant.share is not None:
        record["patches"] = len(sets["train"])
    if variant.notebook == "11" or name == "canny-l1-gan":
        record["lines"] = on_every_line(colorizer, sets["test"])
    return record


def sample(name: str) -> dict[str, Tensor]:
    """The first test frames as on record: "condition" (N, 1, H, W), "truth" and what the first seed "painted" (N, 3, H, W), all
    in [0, 1].

    Raises:
        nstlib.ImageError: it is not on record.
    """
    variant, painted = VARIANTS[name], paintings(name)
    test = data(variant, painted.shape[2], 0, 1, 1, len(painted))["test"]
    frames = torch.stack([test[i] for i in range(len(test))])
    return {"condition": variant.condition(frames), "truth": variant.condition.reduce(frames), "painted": painted}


def paintings(name: str) -> Tensor:
    """What a variant's first seed made of the first test frames, (N, 3, H, W), RGB in [0, 1].

    Of a CycleGAN there are also "NAME-there-and-back", line-art drawn from its paintings, and "NAME-drawn", from the truth.

    Raises:
        nstlib.ImageError: it is not on record.
    """
    sheet = load_image(RECORDS.parent / "ablations" / f"{name}.png")
    return torch.cat(sheet.split(sheet.shape[2], dim=3))


def tune(name: str, profile: Any, folder: Path) -> dict[str, dict[str, float]]:
    """What line-art comes to on validation frames (``judge``) with each value that might be taken for a setting (``TUNED``)."""
    key, choices, changes = TUNED[name]
    results = {}
    for value in choices:
        variant = Variant("09", CONDITIONS["canny"], {**changes, key: value})
        colorizer = build(variant, profile.frame_size, profile.ablation_epochs, seed=100)
        frames = profile.ablation_epochs * profile.ablation_frames
        sets = data(variant, profile.frame_size, 100, frames, 0, profile.test_frames)
        run_folder = folder / (f"tune-{name}-{value:g}" if value else "tune-0")
        colorizer.fit(sets["train"], frames_per_epoch=profile.ablation_frames, folder=run_folder)
        found = results[f"{value:g}"] = judge(colorizer, sets["validation"])
        values = ", ".join(f"{measure} {found[measure]:.4f}" for measure in ("accuracy", "edge_f1", "perceptual"))
        print(f"{name}, {key} {value:g}: {values}", flush=True)
    return results


# --- what is on record --------------------------------------------------------------------------------------------------


def read(path: Path = RECORDS) -> Any:
    """All records, or what else ``path`` holds; nothing if there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def recorded(path: Path) -> set[tuple[str, int]]:
    """Variants and seeds on record in ``path``."""
    return {(record["variant"], record["seed"]) for record in read(path)}


def across(records: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Accuracy of each variant on lines of every kind, mean and deviation over the seeds: trained on -> tested on -> value."""
    found = {name: [record["lines"] for record in records if record["variant"] == name] for name in names}
    return {name: {line: spread([lines[line] for lines in seeds]) for line in LINES} for name, seeds in found.items()}


def curves(records: Sequence[dict[str, Any]], name: str, measure: str = "accuracy") -> Tensor:
    """A variant's "accuracy" or "chroma" on validation frames, before training and after every epoch, (seeds, epochs + 1)."""
    return torch.tensor([record["curves"][measure] for record in records if record["variant"] == name])


def reached(curve: Tensor, level: float, steps: int) -> int | None:
    """After how many of ``steps`` the mean of ``curves`` over the seeds is at ``level`` for the first time; None if never.

    It was measured once an epoch, so that the answer is a multiple of an epoch's steps.
    """
    mean = curve.mean(0)
    epochs = (mean >= level).nonzero()
    return int(epochs[0]) * steps // (len(mean) - 1) if len(epochs) else None


def summary(records: Sequence[dict[str, Any]], name: str) -> dict[str, dict[str, float]]:
    """Mean and deviation over the seeds of every measure of a variant.

    Raises:
        KeyError: it is not on record.
    """
    found = [record["test"] for record in records if record["variant"] == name]
    if not found:
        raise KeyError(name)
    return {key: spread([test[key] for test in found]) for key in found[0]}


MEASURES = {  # as tables head them, and to how many digits
    "accuracy": ("accuracy, t = 2", 3),
    "accuracy_5": ("t = 5", 3),
    "chroma": ("chroma, t = 2", 3),
    "psnr": ("PSNR", 1),
    "ssim": ("SSIM", 3),
    "edge_f1": ("edge F1", 3),
    "perceptual": ("perceptual distance", 3),
}


LINE_MEASURES = {  # those of lines
    "edge_precision": ("edge precision", 3),
    "edge_recall": ("edge recall", 3),
    **{key: MEASURES[key] for key in ("edge_f1", "accuracy", "chroma", "perceptual")},
}


def table(
    measured: dict[str, dict[str, dict[str, float]]], measures: dict[str, tuple[str, int]] = MEASURES, first: str = ""
) -> str:
    """Variants (label -> ``summary``) as a Markdown table, a column for each of ``measures``; ``first`` heads the labels."""
    lines = [f"| {first} | " + " | ".join(title for title, _ in measures.values()) + " |", "|---" * (len(measures) + 1) + "|"]
    for label, values in measured.items():
        cells = [shown(values[key], digits) for key, (_, digits) in measures.items()]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def tuned(name: str) -> str:
    """What ``--tune`` found for each value of a setting (``TUNED``), as a Markdown table."""
    found = {value: {key: {"mean": mean} for key, mean in measured.items()} for value, measured in read(TUNING)[name].items()}
    return table(found, {key: MEASURES[key] for key in ("accuracy", "chroma", "edge_f1", "perceptual")}, f"`{TUNED[name][0]}`")


def line_art(records: Sequence[dict[str, Any]]) -> str:
    """The README's table: every variant of line-art that is on record."""
    names = {record["variant"] for record in records}
    return table({label: summary(records, name) for label, name in LINE_ART.items() if name in names}, first="line-art")


def versus(value: dict[str, float], other: dict[str, float], digits: int = 3) -> str:
    """As "0.231 ± 0.004 against 0.192 ± 0.003 (+20%, 8 standard deviations)"; deviations as of the difference."""
    change = value["mean"] - other["mean"]
    deviation = (value.get("sd", 0) ** 2 + other.get("sd", 0) ** 2) ** 0.5
    if abs(change) < deviation:
        far = "within a standard deviation"
    else:
        far = f"{change / other['mean']:+.0%}" + (f", {abs(change) / deviation:.1f} standard deviations" if deviation else "")
    return f"{shown(value, digits)} against {shown(other, digits)} ({far})"


def main(arguments: list[str]) -> int:
    """The command; see the module."""
    from nstlib import profiles

    try:
        profile = profiles.current()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="variants; all if none is given")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--list", action="store_true", help="show every variant and the seeds that are on record")
    parser.add_argument("--table", action="store_true", help="print what came out for line-art")
    parser.add_argument("--tune", choices=list(TUNED), help="choose the weight of a loss, or the start")
    options = parser.parse_args(arguments)
    path, folder = profile.figures / "ablations.json", ROOT / "replicated" / "ablations" / profile.name
    unknown = [name for name in options.names if name not in VARIANTS]
    if unknown:
        print(f"there is no variant {', '.join(unknown)}; --list shows them", file=sys.stderr)
        return 2
    records = read(path)
    if options.list:
        for name, variant in VARIANTS.items():
            seeds = sorted(record["seed"] for record in records if record["variant"] == name)
            print(f"{variant.notebook}  {name:37} seeds on record: {', '.join(map(str, seeds)) or '-'}")
        return 0
    if options.table:
        print(line_art(records))
        return 0
    try:
        if options.tune:
            tuning = profile.figures / "ablations_tuning.json"
            write_json({**(read(tuning) or {}), options.tune: tune(options.tune, profile, folder)}, tuning)
            return 0
        asked = [(name, seed) for seed in options.seeds for name in options.names or VARIANTS]
        known = [f"{name}, seed {seed}" for name, seed in asked if (name, seed) in recorded(path)]
        if known:
            print(f"on record already ({len(known)}; --seeds takes others): {', '.join(known[:3])}{', ...' * (len(known) > 3)}")
        for name, seed in asked:
            if (name, seed) not in recorded(path):  # asked anew each time: another process may write there, too
                record = run(name, seed, profile, folder)
                records = [*read(path), record]
                order = list(VARIANTS)
                records.sort(key=lambda entry: (order.index(entry["variant"]), entry["seed"]))
                write_json(records, path)
                test = record["test"]
                print(
                    f"{name}, seed {seed}: accuracy {test['accuracy']:.3f}, chroma {test['chroma']:.3f}, "
                    f"edge F1 {test['edge_f1']:.3f}, perceptual {test['perceptual']:.3f}; {record['seconds']} s",
                    flush=True,
                )
    except ColorizerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
