"""The sections of a settings file that every method shares: `train`, and the whole of a run's settings."""

from typing import Annotated, Literal

import pydantic
from pydantic import Field

from tfmed import registry
from tfmed.config import MethodConfig, PathText, Strict
from tfmed.data.settings import DataConfig, as_run


class ScheduleConfig(Strict):
    """Learning rate over the steps: warm up linearly, hold, then decay to `final` times the base rate.

    `steps` is a tenth after 2/3, and a hundredth after 8/9 of the steps, whatever `decay_from` and `final` are.
    """

    kind: Literal["constant", "linear", "cosine", "polynomial", "steps"] = "constant"
    warmup_steps: int = Field(0, ge=0)  # over which the rate rises from 0
    decay_from: float = Field(0.0, ge=0, lt=1)  # share of the steps after which the decay begins
    final: float = Field(0.0, ge=0, le=1)  # share of the base rate at the last step


class EarlyStoppingConfig(Strict):
    """Stop when a validation metric has not become better for `patience` validations."""

    metric: str
    mode: Literal["min", "max"] = "min"
    patience: int = Field(10, gt=0)


class StartFrom(Strict):
    """Weights that a training starts from: those of a trained run of the same method, or of a bundle."""

    run: PathText  # its directory, or the bundle's
    other_shapes: Literal["refuse", "anew"] = "refuse"  # weights of other shapes here, such as for other classes


class TrainConfig(Strict):
    """How a run is carried out."""

    steps: int = Field(1000, gt=0)  # training steps of a stage
    start_from: Annotated[StartFrom | None, pydantic.BeforeValidator(as_run)] = None  # a run, or a bundle; null: seed
    batch_size: int = Field(4, gt=0, le=2**16)  # over all replicas
    gradient_accumulation: int = Field(1, gt=0, le=2**16)  # micro-batches of a batch; memory is that of one
    schedule: ScheduleConfig = ScheduleConfig()
    strategy: Literal["auto", "cpu", "mirrored", "multiworker"] = "auto"  # auto: all GPUs of this machine, or its CPU
    replicas: int | None = Field(None, gt=0, le=256)  # `mirrored` without GPUs: so many logical CPU devices
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"  # of a network's layers
    xla: bool = False  # compile training steps with XLA
    log_every: int = Field(50, gt=0)  # steps
    validate_every: int = Field(1000, gt=0)  # steps
    preview_every: int = Field(1000, gt=0)  # steps
    checkpoint_every_steps: int = Field(1000, gt=0)
    checkpoint_every_minutes: float = Field(10.0, gt=0)  # whichever of the two comes first
    keep_checkpoints: int = Field(3, gt=0)  # the newest, beside the best
    early_stopping: EarlyStoppingConfig | None = None  # {metric, mode, patience}; null: never
    tensorboard: bool = True  # write its events too
    loggers: tuple[Literal["mlflow", "wandb"], ...] = ()  # where losses and pictures go besides

    @pydantic.model_validator(mode="after")
    def _fits(self) -> "TrainConfig":
        if self.batch_size % self.gradient_accumulation:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be cut into gradient_accumulation {self.gradient_accumulation} "
                "equal micro-batches; choose a divisor"
            )
        if self.replicas and self.batch_size % (self.replicas * self.gradient_accumulation):
            raise ValueError(
                f"batch_size {self.batch_size} cannot be shared by replicas {self.replicas} x gradient_accumulation "
                f"{self.gradient_accumulation}; choose a multiple"
            )
        return self


class Settings(Strict):
    """All settings of a run; `model` is the method's own section."""

    method: str  # see `tfmed catalog`
    profile: str = "paper"  # the named set of changes that was chosen
    seed: int = Field(0, ge=0, lt=2**31)  # of weights, samples, noise and split
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    model: MethodConfig = MethodConfig()

    @pydantic.model_validator(mode="after")
    def _sections_agree(self) -> "Settings":
        kind = registry.method_class(self.method)
        if self.data.augment_with and not (kind.takes_altered or kind.takes_generated):
            raise ValueError(
                f"data.augment_with: {self.method} trains on no made cases; leave it out, or take a method that "
                "segments or classifies whole images"
            )
        kind.check(self)
        return self
