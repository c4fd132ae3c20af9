"""What a trainer must know of a recipe. Each model's own recipe adds its networks' settings and the weights of its losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

from nstlib.arguments import choice, number, weight, whole_number


@dataclass(frozen=True)
class TrainingRecipe:
    """Length, batches, learning rates and their schedule.

    Fields whose names end in ``_weight`` are weights of the generator's losses, by the names of these: ``l1_weight`` of "l1".

    Raises:
        ValueError: a setting is out of its range, or all weights are 0.
    """

    epochs: int = 30
    batch_size: int = 16
    generator_lr: float = 3e-4
    discriminator_lr: float = 3e-5
    beta1: float = 0.0  # of Adam
    beta2: float = 0.999
    generator_steps: int = 2  # to one discriminator step
    schedule: str = "exponential"  # learning rates fall to a tenth over the run; or "one-cycle"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "generator_steps"):
            self.check(name, whole_number, least=1)
        self.check("generator_lr", number, above=0)
        self.check("discriminator_lr", number, above=0)
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

    def check_adversarial_every(self) -> None:
        """Check how often the GAN takes its turn, in a recipe that has this setting.

        Raises:
            ValueError: no whole number of at least 1, or steps between the turns would have no loss.
        """
        self.check("adversarial_every", whole_number, least=1)
        every = getattr(self, "adversarial_every")  # noqa: B009 (of some recipes only)
        if every > 1 and not any(value for name, value in self.weights.items() if name != "adversarial"):
            raise ValueError("adversarial_every must be 1 where the GAN's loss is the only one: other steps would have no loss")

    @property
    def weights(self) -> dict[str, float]:
        """Loss of the generator -> its weight."""
        names = [field.name for field in fields(self) if field.name.endswith("_weight")]
        return {name.removesuffix("_weight"): getattr(self, name) for name in names}
