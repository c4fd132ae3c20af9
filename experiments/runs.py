"""Train the variants and measure them.

A run's checkpoints let it go on after an interruption; its record holds all that was measured, and ``model.safetensors`` the
trained networks, but for medical images. The first frames of the test set, colorized by seed 0, are kept as pictures.
"""

from __future__ import annotations

import copy
import warnings
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import update_bn

from experiments.profiles import Profile
from experiments.records import device_name, means, read_json, write_json
from experiments.variants import KINDS, LINES, MEDICAL_SIZE, VARIANTS, build, datasets
from nstlib.cyclegan import CycleGAN
from nstlib.datasets import CachedFrames
from nstlib.images import save_image
from nstlib.medical import IMAGES
from nstlib.metrics import PerceptualDistance, edge_agreement, measure
from nstlib.model import ColorizationModel
from nstlib.training import Frames

EXAMPLES = 6  # test frames that are kept as pictures
POOL = 4000  # training frames that are composed, and kept in memory
LOSSES = ("adversarial", "discriminator", "cycle_colors", "cycle_lines")  # kept of every epoch
BATCH = 32  # frames that are measured at a time
SETTLE = 4  # batches of training patches, to measure batch norm's statistics anew


def run(name: str, seed: int, profile: Profile, folder: Path) -> dict[str, Any]:
    """Train a variant, or go on with its training, and measure it; keep the colorized examples of seed 0.

    Args:
        name: of ``VARIANTS``.
        seed: of weights, frames and their order.
        profile: sizes and counts; pictures go to ``profile.figures / "ablations"``.
        folder: for the run's own folder, with its checkpoint and the trained networks.

    Returns:
        The record: plain values.

    Raises:
        nstlib.ModelError: training diverged, or ``folder`` holds another training.
    """
    variant = VARIANTS[name]
    size, epochs, per_epoch = profile.ablation_size, profile.ablation_epochs, profile.ablation_frames
    if variant.group == "medical":
        size, epochs, per_epoch = MEDICAL_SIZE, profile.medical_epochs, profile.medical_frames
    model = build(variant, size, epochs, seed)
    sets = datasets(variant, size, seed, min(POOL, epochs * per_epoch), profile.patches, profile.test_frames)
    before = model.evaluate(sets["validation"])
    settled = [measure_settled(model, sets["train"], sets["validation"])] if variant.medical else []
    run_folder = folder / f"{name}-seed{seed}"
    settled_path = run_folder / "settled.json"
    history = model.fit(
        CachedFrames(sets["train"], variant.condition),
        frames_per_epoch=per_epoch,
        validation=sets["validation"],
        folder=run_folder,
        callback=partial(_add_settled, sets=sets, path=settled_path) if variant.medical else None,
    )
    if not variant.medical:  # a file would be read as of a network for patches, and theirs was made for larger frames
        model.save(run_folder / "model.safetensors")
    if seed == 0:
        _keep_examples(name, model, sets["test"], profile.figures / "ablations")
    measured = measure_all(model, sets["test"])
    record = {
        "variant": name,
        "seed": seed,
        "notebook": variant.notebook,
        "profile": profile.name,
        "device": device_name(model.device),
        "condition": variant.condition.config(),
        "epochs": epochs,
        "frames_per_epoch": per_epoch,
        "steps": epochs * max(1, round(per_epoch / model.recipe.batch_size)),
        "seconds": round(sum(entry["seconds"] for entry in history)),
        "losses": {
            key: [round(entry[key], 4) if key in entry else None for entry in history]
            for key in LOSSES
            if any(key in entry for entry in history)
        },
        "curves": {  # on validation frames, t = 2, before training and after every epoch
            key: [round(value, 4) for value in (float(before[key].mean()), *(entry[key] for entry in history))]
            for key in ("accuracy", "accuracy_ab")
        },
        "test": means(measured),
    }
    if variant.medical:
        settled += read_json(settled_path)
        record["patches"] = len(sets["train"])
        record["settled"] = {  # curves of each image
            image: {key: [entry[image][key] for entry in settled] for key in ("accuracy", "accuracy_ab")} for image in IMAGES
        }
        record["images"] = {  # images take turns
            image: means(measures) for image, measures in by_image(measured).items()
        }
    if name in KINDS.values():
        record["lines"] = on_every_line(model, sets["test"])
    return record


def measure_all(model: ColorizationModel, frames: Frames) -> dict[str, Tensor]:
    """Of every frame: Table 1's measures, edge agreement, perceptual distance, and "ink", the darkness of the condition."""
    parts: list[dict[str, Tensor]] = []
    distance = _perceptual_distance(model.device)
    for start in range(0, len(frames), BATCH):
        batch = model.compare(frames, range(start, min(start + BATCH, len(frames))))
        parts.append(
            {
                **measure(batch["colorized"], batch["truth"]),
                **edge_agreement(batch["colorized"], batch["truth"]),
                "perceptual": distance(batch["colorized"].to(model.device), batch["truth"].to(model.device)).cpu(),
                "ink": 1 - batch["condition"].mean(dim=(1, 2, 3)),
            }
        )
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def by_image(measured: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Measures of medical patches, those of each image apart; the images take turns."""
    return {image: {key: values[i :: len(IMAGES)] for key, values in measured.items()} for i, image in enumerate(IMAGES)}


def measure_settled(model: ColorizationModel, train: Frames, patches: Frames) -> dict[str, dict[str, float]]:
    """Table 1's measures on patches of each medical image, batch norm's statistics measured anew; the model stays as it is.

    While the learning rate is high, weights change faster than batch norm's running means can follow, and a good model may look
    bad with them. So the statistics are measured again, on training patches: "PreciseBN" (Y. Wu, J. Johnson, "Rethinking
    'Batch' in BatchNorm", 2021, arXiv 2105.07576).
    """
    own = copy.deepcopy(model.generator.state_dict())
    starts = range(0, min(SETTLE * BATCH, len(train)), BATCH)
    batches = (torch.stack([train[i] for i in range(start, min(start + BATCH, len(train)))]) for start in starts)
    try:
        update_bn((model.inputs(batch.to(model.device))[0] for batch in batches), model.generator)
        measured = model.evaluate(patches)
    finally:
        model.generator.load_state_dict(own)
    return {image: means(measures) for image, measures in by_image(measured).items()}


def _add_settled(model: ColorizationModel, sets: dict[str, Frames], path: Path) -> None:
    """After every epoch: beside the checkpoint, so that an interrupted run keeps its curve."""
    epochs = len(model.history)
    earlier = read_json(path)[: epochs - 1]
    if len(earlier) < epochs - 1:
        raise ValueError(f"{path.name} has {len(earlier)} of {epochs - 1} epochs; delete {path.parent.name} and train again")
    write_json([*earlier, measure_settled(model, sets["train"], sets["validation"])], path)


def on_every_line(model: ColorizationModel, frames: Frames) -> dict[str, float]:
    """Accuracy (t = 2) when the model is given lines of each kind in ``LINES``, whichever it was trained on."""
    own, results = model.condition, {}
    try:
        for name, condition in LINES.items():
            model.condition = condition
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*ink", category=RuntimeWarning)  # other lines are the point here
                results[name] = round(float(model.evaluate(frames)["accuracy"].mean()), 4)
    finally:
        model.condition = own
    return results


@cache
def _perceptual_distance(device: torch.device) -> PerceptualDistance:
    return PerceptualDistance().to(device)  # reads VGG once


def _keep_examples(name: str, model: ColorizationModel, frames: Frames, folder: Path) -> None:
    """Save the first frames side by side, one file for each kind of picture: colorized frames, conditions and ground truth,
    which variants share; for a CycleGAN, also the lines that it draws."""
    variant = VARIANTS[name]
    examples = model.compare(frames, range(min(EXAMPLES, len(frames))))
    sheets = {
        name: examples["colorized"],
        variant.inputs: examples["condition"].expand(-1, 3, -1, -1),
        f"{variant.group}-truth": examples["truth"],
    }
    if isinstance(model, CycleGAN):
        sheets[f"{name}-there-and-back"] = model.draw(examples["colorized"]).cpu().expand(-1, 3, -1, -1)
        sheets[f"{name}-drawn"] = model.draw(examples["truth"]).cpu().expand(-1, 3, -1, -1)
    folder.mkdir(parents=True, exist_ok=True)
    for title, images in sheets.items():
        save_image(torch.cat(list(images), dim=2)[None], folder / f"{title}.png")
