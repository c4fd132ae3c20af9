"""What the models' recipes share: how long and how fast to train, and the size of the networks.

Each model's own recipe adds the weights of its losses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

from nstlib.arguments import choice, number, weight, whole_number
from nstlib.networks import checked_fold


@dataclass(frozen=True)
class TrainingRecipe:
    """Length, batches, the generator's learning rate and its schedule.

    Fields whose names end in ``_weight`` are weights of the generator's losses, by the names of these: ``l1_weight`` of "l1".

    Raises:
        ValueError: a setting is out of its range, or all weights are 0.
    """

    epochs: int = 30
    batch_size: int = 16
    generator_lr: float = 3e-4
    beta1: float = 0.0  # of Adam
    beta2: float = 0.999
    schedule: str = "exponential"  # learning rates fall to a tenth over the run; or "one-cycle"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            self.check(name, whole_number, least=1)
        self.check("generator_lr", number, above=0)
        self.check("beta1", number, least=0, below=1)
        self.check("beta2", number, least=0, below=1)
        choice(self.schedule, "schedule", ("exponential", "one-cycle"))
        for name in self.weights:
            self.check(f"{name}_weight", weight)
        if self.weights and not any(self.weights.values()):
            raise ValueError("all weights of the losses are 0: there is nothing to learn")

    def check(self, name: str, checked: Callable[..., float], **limits: float) -> None:
        """Replace a setting by what a check of ``nstlib.arguments`` makes of it: a plain number, which a file can hold."""
        object.__setattr__(self, name, checked(getattr(self, name), name, **limits))

    @property
    def weights(self) -> dict[str, float]:
        """Loss of the generator -> its weight."""
        names = [field.name for field in fields(self) if field.name.endswith("_weight")]
        return {name.removesuffix("_weight"): getattr(self, name) for name in names}


@dataclass(frozen=True)
class UNetRecipe(TrainingRecipe):
    """The size of a U-Net, beside all that a training has.

    Raises:
        ValueError: a setting is out of its range, or all weights are 0.
    """

    width: int = 64  # channels of the first layer
    widest: int = 8  # the deep layers have at most ``widest`` times ``width`` channels
    fold: int = 1  # side of the squares of pixels that become channels
    output_gain: float = 1.0  # factor on the last layer's initial weights: the smaller, the nearer to gray it begins

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "widest"):
            self.check(name, whole_number, least=1)
        self.check("fold", checked_fold)
        self.check("output_gain", number, above=0)


@dataclass(frozen=True)
class AdversarialRecipe(UNetRecipe):
    """A U-Net and the PatchGAN that it is trained against: of the same width, on frames folded half as much.

    Raises:
        ValueError: a setting is out of its range, or all weights are 0.
    """

    discriminator_lr: float = 3e-5
    discriminator_halvings: int = 3  # 1, 2, 3 see patches of 16, 34, 70 pixels, times the discriminator's fold
    generator_steps: int = 2  # adversarial steps of the generator for each step of the discriminator
    adversarial_every: int = 1  # adversarial losses are computed only once in this many steps
    adversarial_weight: float = 1.0  # at 0 there is no discriminator

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("discriminator_lr", number, above=0)
        self.check("discriminator_halvings", whole_number, least=1, most=5)
        for name in ("generator_steps", "adversarial_every"):
            self.check(name, whole_number, least=1)
        others = [value for name, value in self.weights.items() if name != "adversarial"]
        if self.adversarial_every > 1 and others and not any(others):
            raise ValueError("adversarial_every must be 1 where the GAN's loss is the only one: other steps would have no loss")


@dataclass(frozen=True)
class LaptopRecipe(AdversarialRecipe):
    """The recipe for 20 minutes on two CPU cores. The comments give the reason for each departure from the poster's recipe."""

    batch_size: int = 8  # twice the steps for the same work: accuracy 0.52 instead of 0.48 in a trial of 9,600 frames
    width: int = 32  # a quarter of the work
    fold: int = 4  # 256 pixels at little more than the price of 64
    output_gain: float = 0.1  # tanh begins far from saturation, where its gradient vanishes
    discriminator_halvings: int = 2  # with fold 2, patches of 68 pixels; the poster's have 70
    adversarial_every: int = 8  # most of the discriminator's work saved, for the same accuracy in a trial
    generator_steps: int = 1  # instead, the discriminator steps less often (adversarial_every)
    generator_lr: float = 3e-3  # batch norm bears it, and with the schedule below it learns faster; at 5e-3 a run lost its way
    discriminator_lr: float = 1e-3  # it takes an eighth of the steps
    beta1: float = 0.5  # as pix2pix
    beta2: float = 0.99  # forgets a large gradient sooner
    schedule: str = "one-cycle"  # warm up, then fall to zero: the last, small steps refine the result
