"""The `data` section of a settings file."""

import os
import pathlib
from typing import Annotated, Any, Literal

import pydantic

from tfmed.config import PathText, Strict
from tfmed.data.preprocess import Step


class SplitConfig(Strict):
    """Shares of the patient groups; what is left trains."""

    validation: float = pydantic.Field(0.125, ge=0, lt=1)
    test: float = pydantic.Field(0.125, ge=0, lt=1)
    given: bool = False  # use the parts that the source names; those that it does not name are drawn
    folds: int | None = pydantic.Field(None, ge=2)  # cross-validation: `fold` is tested, `test` does not count
    fold: pydantic.NonNegativeInt = 0  # which one, from 0
    balanced: bool = False  # folds alike in the size of their patients' lesions; of methods that know lesions
    by_data_set: bool = False  # of source joined: each data set is split by itself, so that all parts hold all sets
    seed: int | None = pydantic.Field(None, ge=0)  # null: the run's; set it to train several runs on one split

    @pydantic.model_validator(mode="after")
    def _leaves_training(self) -> "SplitConfig":
        if self.validation + self.test >= 1:
            raise ValueError("validation + test must leave a share for training")
        if self.folds and self.given:
            raise ValueError("choose one of folds and given")
        if self.balanced and not self.folds:
            raise ValueError("balanced: is for folds; set folds, or leave it out")
        if self.folds and self.fold >= self.folds:
            raise ValueError(f"fold: {self.fold} is none of 0 .. {self.folds - 1}")
        return self


class AugmentWith(Strict):
    """A trained run that makes more training cases: of style transfer, of inpainting, or of pictures by class."""

    run: PathText  # its directory
    share: float = pydantic.Field(0.5, gt=0, le=0.95)  # of the training cases, made ones and real ones together
    seed: int = pydantic.Field(0, ge=0, lt=2**31)  # of what is made


def as_run(found: Any) -> Any:
    """A run's directory alone stands for a section."""
    return {"run": str(found)} if isinstance(found, (str, os.PathLike)) else found


class DataConfig(Strict):
    """Where the cases come from and how they are prepared."""

    source: str = "phantom_chest_ct"  # a name of tfmed.data.sources
    root: PathText | None = None  # the data set's folder; built-in phantoms need none
    options: dict[str, Any] = pydantic.Field(default_factory=dict)  # the source's own options
    split: SplitConfig = SplitConfig()
    labelled_share: float = pydantic.Field(1.0, gt=0, le=1)  # of the training patients, whose labels are used
    labelled_seed: int | None = pydantic.Field(None, ge=0)  # of the choice of these; null: the run's seed
    augment_with: Annotated[AugmentWith | None, pydantic.BeforeValidator(as_run)] = None
    preprocess: tuple[Step, ...] = ()  # steps before the method's own
    cache_dtype: Literal["float32", "float16"] = "float32"  # of cached images; labels keep theirs
    cache_dir: PathText | None = None  # default: $TFMED_CACHE, else ~/.cache/tfmed

    def cache_folder(self) -> pathlib.Path:
        """The folder of the preprocessing cache."""
        return pathlib.Path(self.cache_dir or os.environ.get("TFMED_CACHE") or "~/.cache/tfmed").expanduser()
