"""The poster's "future research", and its lambda: what notebooks 06 and 09 to 12 compare.

A variant is a model with another condition, another loss, other data or other initial weights than the poster's. All of them
are trained by ``fit``; ``experiments.runs`` trains and measures them, and ``experiments.report`` says what came out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from experiments.table1 import CONDITIONS as TABLE1
from experiments.table1 import TEST_SEED
from nstlib.anime import AnimeFrames
from nstlib.assets import asset_path
from nstlib.colorizer import RECIPES, Colorizer
from nstlib.cyclegan import CycleGAN, CycleRecipe
from nstlib.edges import Condition
from nstlib.medical import MedicalPatches
from nstlib.model import ColorizationModel
from nstlib.recipe import TrainingRecipe
from nstlib.training import Frames

VALIDATION_FRAMES = 64
MEDICAL_SIZE = 128  # pixels, the side of the patches, in every profile
MEDICAL_LR = 2e-3  # of the generator; the laptop recipe's is for training from scratch

LINES = {  # kinds of line-art that notebook 11 compares
    "canny": TABLE1["canny"],
    "sobel": Condition("sobel"),
    "sobel-lines": Condition("sobel", threshold=0.1),
    "xdog": Condition("xdog"),
}
# L1 replaced: colors on the whole, edges, and what VGG sees. The weights were chosen on validation frames.
PERCEPTUAL = {
    "l1_weight": 0.0,
    "color_weight": 200.0,
    "gradient_weight": 40.0,
    "perceptual_weight": 25.0,
    "perceptual_frames": 4,
}
GRADIENT_WEIGHT = 100.0  # beside L1
# without another loss, every step needs the GAN; without momentum and with a lower learning rate, G oscillates less
GAN_ALONE = {"l1_weight": 0.0, "adversarial_every": 1, "generator_lr": 5e-4, "beta1": 0.0}
# both directions are learned, with weights as in the paper, and every step has its GAN
NAIVE_CYCLE = {
    "operator_weight": 0.0,
    "noise": 0.0,
    "adversarial_every": 1,
    "cycle_colors_weight": 10.0,
    "cycle_lines_weight": 10.0,
}
# L1 replaced by squared distances of VGG's features and nothing else
NAIVE = {"l1_weight": 0.0, "perceptual_weight": 1.0, "perceptual_distance": "squared"}
LINE_ART = {  # label in the table in docs/future_research.md -> variant
    "L1 + GAN on Canny (the poster)": "canny-l1-gan",
    "L1 alone": "canny-l1",
    "L1 + GAN, λ = 10": "canny-l1-10-gan",
    "GAN alone": "canny-gan",
    "perceptual + GAN": "canny-perceptual-gan",
    "perceptual + GAN, the naive way": "canny-naive-gan",
    "L1 + GAN + gradient": "canny-gradient",
    "CycleGAN, unpaired": "canny-cyclegan",
    "CycleGAN, unpaired, both directions learned": "canny-cyclegan-naive",
}
KINDS = {  # label in notebook 11 -> the variant trained on lines of this kind; they are tested on all of ``LINES``
    "Canny (the poster)": "canny-l1-gan",
    "Sobel": "sobel-l1-gan",
    "Sobel, thresholded": "sobel-lines-l1-gan",
    "XDoG": "xdog-l1-gan",
    "mixed": "mixed-l1-gan",
}


@dataclass(frozen=True)
class Variant:
    """One thing that is done differently."""

    notebook: str
    condition: Condition
    changes: Mapping[str, Any]  # to the recipe
    model: type[ColorizationModel] = Colorizer
    medical: bool = False  # patches of medical images in place of frames
    start: str | None = None  # the asset whose weights are fine-tuned; None trains from scratch

    @property
    def group(self) -> str:
        """Variants whose test frames are the same: "anime" frames or "medical" patches."""
        return "medical" if self.medical else "anime"

    @property
    def inputs(self) -> str:
        """The group and its kind of condition. Variants with the same value get the same inputs."""
        return f"{self.group}-{self.condition.operator}" + ("-lines" if self.condition.settings.get("threshold") else "")

    def recipe(self, epochs: int) -> TrainingRecipe:
        """The recipe "laptop", or that of the shipped networks (medical patches) or of CycleGANs, with this variant's changes
        and ``epochs`` epochs."""
        base: TrainingRecipe
        if self.model is CycleGAN:
            base = CycleRecipe()
        elif self.group == "medical":
            base = shipped(f"colorizer-{self.condition.operator}").recipe
        else:
            base = RECIPES["laptop"]
        return replace(base, epochs=epochs, **self.changes)


VARIANTS: dict[str, Variant] = {
    "canny-l1-gan": Variant("09", TABLE1["canny"], {}),  # the poster's
    "canny-l1": Variant("06", TABLE1["canny"], {"adversarial_weight": 0.0}),
    "canny-l1-10-gan": Variant("06", TABLE1["canny"], {"l1_weight": 10.0}),
    "canny-gan": Variant("06", TABLE1["canny"], GAN_ALONE),
    "canny-perceptual-gan": Variant("09", TABLE1["canny"], PERCEPTUAL),
    "canny-naive-gan": Variant("09", TABLE1["canny"], NAIVE),
    "grayscale-l1-gan": Variant("09", TABLE1["grayscale"], {}),
    "grayscale-perceptual-gan": Variant("09", TABLE1["grayscale"], PERCEPTUAL),
    "canny-cyclegan": Variant("10", TABLE1["canny"], {}, CycleGAN),
    "canny-cyclegan-naive": Variant("10", TABLE1["canny"], NAIVE_CYCLE, CycleGAN),
    "canny-gradient": Variant("10", TABLE1["canny"], {"gradient_weight": GRADIENT_WEIGHT}),
    **{f"{name}-l1-gan": Variant("11", LINES[name], {}) for name in ("sobel", "sobel-lines", "xdog")},
    "mixed-l1-gan": Variant("11", Condition("mixed"), {}),
    **{
        f"medical-{name}-{origin}": Variant("12", condition, {"generator_lr": MEDICAL_LR}, medical=True, start=start)
        for name, condition in TABLE1.items()
        for origin, start in (("scratch", None), ("anime", f"colorizer-{name}"))
    },
}


@cache
def shipped(name: str) -> ColorizationModel:
    """A colorizer that comes with the repository, by the name of its asset."""
    return Colorizer.load(asset_path(name))


def build(variant: Variant, size: int, epochs: int, seed: int) -> ColorizationModel:
    """The variant's model, untrained or with the weights that it fine-tunes.

    Args:
        size: shorter side of the frames in pixels.
        epochs: the number that it will be trained for.
        seed: of initial weights and of the order of frames.
    """
    # medical variants have the shipped networks, made for larger frames; these are convolutional, so patches keep their size
    made_for = shipped(f"colorizer-{variant.condition.operator}").size if variant.medical else size
    model = variant.model(variant.condition, made_for, recipe=variant.recipe(epochs), seed=seed)
    model.size = size
    if variant.start:
        model.generator.load_state_dict(shipped(variant.start).generator.state_dict())
    return model


def datasets(variant: Variant, size: int, seed: int, frames: int, patches: int, tests: int) -> dict[str, Frames]:
    """The "train", "validation" and "test" frames of a variant, each (3, H, W), RGB in [0, 1].

    Args:
        size: shorter side of the frames in pixels.
        seed: of the training frames.
        frames: number of training frames in the whole run, if they are anime.
        patches: number of training patches, if they are medical.
        tests: number of test frames.
    """
    if variant.medical:
        # nothing is chosen by the medical validation accuracy, so it may be measured on test patches
        return {
            "train": MedicalPatches("train", size, patches, seed=seed),
            "validation": MedicalPatches("test", size, min(VALIDATION_FRAMES, tests)),
            "test": MedicalPatches("test", size, tests, seed=TEST_SEED),
        }
    return {
        "train": AnimeFrames("train", size, frames, seed=seed),
        "validation": AnimeFrames("validation", size, min(VALIDATION_FRAMES, tests)),
        "test": AnimeFrames("shots", size, tests, seed=TEST_SEED),
    }
