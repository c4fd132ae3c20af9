"""The poster's "future research": what notebooks 09 to 12 compare.

A variant is a model with another condition, another loss, other data or other initial weights than the poster's. All of them
are trained by ``fit``; ``experiments.runs`` trains and measures them, and ``experiments.report`` says what came out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
MEDICAL_SIZE = 256  # pixels, the size of the shipped colorizers, in every profile
MEDICAL_LR = 2e-3  # of the generator; the laptop recipe's is for training from scratch
SHARES = (0.1, 0.3, 1.0)  # of the medical patches

# Chosen on validation frames by `python -m experiments --tune`, with a seed of its own. The weights are of losses that the
# poster does not use. Beside L1: the largest weight that costs less than a fiftieth of the poster's accuracy. Without L1: the
# weight with the best accuracy. The start is that of the laptop recipe, ``output_gain`` 0.1.
PERCEPTUAL_WEIGHT, GRADIENT_WEIGHT = 1.0, 100.0

# Small frames need no folding. Lines are found at twice the size, so that fine ones stay apart.
SMALL = replace(
    RECIPES["laptop"],
    batch_size=16,
    fold=1,
    discriminator_halvings=3,
    discriminator_norm="batch",
    generator_lr=5e-3,
    discriminator_lr=5e-4,
    beta2=0.999,
    adversarial_every=1,
    generator_steps=2,
)
CONDITIONS = {"grayscale": Condition("grayscale"), "canny": Condition("canny", sigma=1.0, supersample=2)}


@dataclass(frozen=True)
class Tuning:
    """Values to try for one setting of the recipe."""

    setting: str
    choices: tuple[float, ...]  # a loss of weight 0 gives the poster's recipe
    changes: Mapping[str, float] = field(default_factory=dict)  # to other settings


TUNED = {
    "start": Tuning("output_gain", (1.0, 0.1)),
    "perceptual": Tuning("perceptual_weight", (0.0, 0.1, 0.3, 1.0)),
    "perceptual-gan": Tuning("perceptual_weight", (1.0, 3.0), {"l1_weight": 0.0}),
    "gradient": Tuning("gradient_weight", (0.0, 30.0, 100.0, 200.0)),
}

LINES = {
    "canny": CONDITIONS["canny"],
    "sobel": Condition("sobel", supersample=2),
    "sobel-lines": Condition("sobel", supersample=2, threshold=0.1),
    "xdog": Condition("xdog", supersample=2),
}
LOSSES: dict[str, dict[str, float]] = {  # changes to Eq. (4)
    "l1-gan": {},  # the poster's
    "perceptual-gan": {"l1_weight": 0.0, "perceptual_weight": PERCEPTUAL_WEIGHT},
    "l1-perceptual-gan": {"perceptual_weight": PERCEPTUAL_WEIGHT},
    "l1": {"adversarial_weight": 0.0},
}
LINE_ART = {  # label in the table in docs/future_research.md -> variant
    "L1 + GAN on Canny (the poster)": "canny-l1-gan",
    "L1 alone": "canny-l1",
    "perceptual + GAN": "canny-perceptual-gan",
    "L1 + perceptual + GAN": "canny-l1-perceptual-gan",
    "L1 + GAN + gradient": "canny-gradient",
    "L1 + GAN + gradient + perceptual": "canny-gradient-perceptual",
    "CycleGAN, unpaired": "canny-cyclegan",
    "the poster's on Sobel": "sobel-l1-gan",
    "the poster's on thresholded Sobel": "sobel-lines-l1-gan",
    "the poster's on XDoG": "xdog-l1-gan",
    "the poster's on mixed lines": "mixed-l1-gan",
}


@dataclass(frozen=True)
class Variant:
    """One thing that is done differently."""

    notebook: str
    condition: Condition
    changes: Mapping[str, Any]  # to the recipe
    model: type[ColorizationModel] = Colorizer
    share: float | None = None  # of the medical patches; None for anime frames
    start: str | None = None  # the asset whose weights are fine-tuned; None trains from scratch
    longer: int = 1  # times as many epochs as the profile has

    @property
    def group(self) -> str:
        """Variants whose test frames are the same: "small" frames of the show, or "medical" patches."""
        return "small" if self.share is None else "medical"

    @property
    def inputs(self) -> str:
        """The group, and what its frames are turned into: variants that have it in common are given the same."""
        return f"{self.group}-{self.condition.operator}" + ("-lines" if self.condition.settings.get("threshold") else "")

    def recipe(self, epochs: int) -> TrainingRecipe:
        """The recipe of small or of shipped networks, or CycleGAN's, with this variant's changes and ``epochs`` epochs.

        Every colorizer begins near gray (``output_gain``). He's initial weights begin with colors outside sRGB. VGG's features
        say little about those, so that without L1 the generator never left them: it gave one pattern for every condition.
        """
        if self.model is CycleGAN:
            base: TrainingRecipe = CycleRecipe()
        else:
            base = SMALL if self.group == "small" else shipped(f"colorizer-{self.condition.operator}").recipe
        return replace(base, epochs=epochs, **self.changes)


VARIANTS: dict[str, Variant] = {
    **{f"{name}-{loss}": Variant("09", CONDITIONS[name], changes) for name in CONDITIONS for loss, changes in LOSSES.items()},
    "canny-cyclegan": Variant("10", CONDITIONS["canny"], {}, CycleGAN),
    "canny-cyclegan-long": Variant("10", CONDITIONS["canny"], {}, CycleGAN, longer=5),  # is it only a matter of steps?
    "canny-gradient": Variant("10", CONDITIONS["canny"], {"gradient_weight": GRADIENT_WEIGHT}),
    "canny-gradient-perceptual": Variant(
        "10", CONDITIONS["canny"], {"gradient_weight": GRADIENT_WEIGHT, "perceptual_weight": PERCEPTUAL_WEIGHT}
    ),
    **{f"{name}-l1-gan": Variant("11", LINES[name], {}) for name in ("sobel", "sobel-lines", "xdog")},
    "mixed-l1-gan": Variant("11", Condition("mixed", supersample=2), {}),
    **{
        f"medical-{name}-{origin}-{share:.0%}".replace("%", ""): Variant(
            "12", TABLE1[name], {"generator_lr": MEDICAL_LR}, share=share, start=start, longer=2
        )
        for name in TABLE1
        for origin, start in (("scratch", None), ("anime", f"colorizer-{name}"))
        for share in SHARES
    },
    **{  # does the comparison depend on the learning rate?
        f"medical-{name}-scratch-100-{speed}": Variant("12", TABLE1[name], {"generator_lr": lr}, share=1.0, longer=2)
        for name in TABLE1
        for speed, lr in (("slower", MEDICAL_LR / 2), ("faster", 5e-3))
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
    model = variant.model(variant.condition, size, recipe=variant.recipe(epochs), seed=seed)
    if variant.start:
        model.generator.load_state_dict(shipped(variant.start).generator.state_dict())
    return model


def datasets(variant: Variant, size: int, seed: int, frames: int, patches: int, tests: int) -> dict[str, Frames]:
    """The "train", "validation" and "test" frames of a variant, each (3, H, W), RGB in [0, 1].

    Args:
        size: shorter side of the model's frames in pixels; the datasets' are larger if the condition is supersampled.
        seed: of the training frames.
        frames: number of training frames in the whole run, if they are anime.
        patches: number of training patches if all are taken, if they are medical.
        tests: number of test frames.
    """
    size *= variant.condition.supersample
    if variant.share is not None:
        # nothing is chosen by the medical validation accuracy, so it may be measured on test patches
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
