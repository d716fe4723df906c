"""What methods that learn from few labelled and many unlabelled scans share: two streams, paired augmentation."""

import functools
from typing import Literal

import numpy as np
import pydantic
from pydantic import PositiveInt

from tfmed.augment.paired import sample_grid
from tfmed.data.pipeline import Samples
from tfmed.data.sampling import Stream
from tfmed.data.streams import Streams
from tfmed.errors import DataError
from tfmed.ops.warp import warp_array
from tfmed.tasks.appearance import Appearance
from tfmed.tasks.segmentation import SegmentationMethod
from tfmed.tasks.segmentation_settings import SegmentationConfig

_TRANSFORMS = Stream("semi_supervised.transforms", 0xA9)


class SemiSupervisedConfig(SegmentationConfig):
    """Of `train.batch_size` samples, `labelled_batch` have labels; see also `data.labelled_share`."""

    labelled_batch: PositiveInt = 2
    unlabelled_pool: Literal["all", "rest"] = "all"  # all training cases, or those whose labels are not used
    weak: Literal["weak", "strong", "none"] = "weak"  # transform of every sample, its label with it
    fill: float | Literal["edge"] = 0.0  # what transforms bring in from outside; edge: image and label go on
    appearance: Appearance = Appearance()  # of what learns; what teaches sees images as they are

    @pydantic.model_validator(mode="after")
    def _slices_are_of_volumes(self) -> "SemiSupervisedConfig":
        if self.appearance.slices and len(self.patch) == 2:
            raise ValueError("appearance.slices: changes the slices of volumes, and patch is a slice; set it to 0")
        return self


class SemiSupervisedMethod(SegmentationMethod):
    """Base of semi-supervised methods: `samples` gives image, label and, if asked for, a second transform's grid."""

    Config = SemiSupervisedConfig
    follows_folders = True

    @classmethod
    def check(cls, settings):
        batch, labelled = settings.train.batch_size, settings.model.labelled_batch
        if labelled > batch:
            raise ValueError(f"model.labelled_batch {labelled} is more than train.batch_size {batch}; lower it")
        shares = (settings.train.replicas or 1) * settings.train.gradient_accumulation
        periods = Streams(labelled, batch - labelled).periods
        if periods % shares:
            raise ValueError(
                f"{labelled} labelled and {batch - labelled} unlabelled samples cannot be shared alike by {shares} "
                f"replicas or micro-batches; make both multiples of {shares}"
            )

    @functools.cached_property
    def streams(self):
        """The Streams of a batch."""
        labelled = self.config.labelled_batch
        return Streams(labelled, self.settings.train.batch_size - labelled)

    def transform(self, seed):
        """The policy by which a sample of this seed is moved, or None."""
        return None if self.config.weak == "none" else self.config.weak

    def prepared(self, part, progress=None):
        """As `SegmentationMethod.prepared`, with the unlabelled cases checked too."""
        cases = super().prepared(part, progress)
        if part == "train":
            self.unlabelled_of(cases)
        return cases

    def unlabelled_of(self, cases):
        """Those of the training cases that the unlabelled stream shows; with `rest` none of a labelled patient.

        Raises:
            DataError: there are none, or a patient would stand in both streams.
        """
        if self.config.unlabelled_pool == "all" or not self.streams.unlabelled:
            return cases
        mixed = {case.group for case in cases if case.label is None}
        mixed &= {case.group for case in cases if case.label is not None}
        if mixed:
            raise DataError(
                f"patient {min(mixed)}: some of its scans have a label map and some have none, so it would stand among "
                "labelled and unlabelled cases; label all of them, or take those without out"
            )
        chosen = {case.id for case in self.labelled_of(cases)}
        rest = [case for case in cases if case.id not in chosen]
        if not rest:
            raise DataError("every training case is labelled; set model.unlabelled_pool: all, or add cases")
        return rest

    def samples(self, strong=None):
        """Samples `image` `(*patch, channel)` float32, `label` `(*patch)` int32 (0 in the unlabelled stream).

        Args:
            strong: policy of a second transform, to be replayed in the training step: adds its `grid`
                `(*patch, axes)` float32.
        """
        config, streams, seed = self.config, self.streams, self.settings.seed
        labelled, cases = self.training_cases
        pool = self.unlabelled_of(cases)
        draw = {True: self.patches(labelled), False: self.patches(pool, 1, foreground=0.0)}
        shape, channels = config.patch, len(config.modalities)

        def read(index):
            is_labelled, number = streams.place(index)
            image, label, _ = draw[is_labelled](number)
            image = self.flat(image).astype(np.float32)
            label = self.flat(label) if is_labelled else np.zeros(shape, np.uint8)
            seeds = _TRANSFORMS(seed, index).integers(2**31, size=2)
            policy = self.transform(seeds[0])
            if policy is not None:
                grid = sample_grid(seeds[0], shape, policy)
                image = warp_array(image, grid, order=1, fill=config.fill)
                outside = "edge" if config.fill == "edge" else 0
                label = warp_array(label[..., None], grid, 0, outside)[..., 0] if is_labelled else label
            sample = {"image": image, "label": label}
            return sample if strong is None else sample | {"grid": sample_grid(seeds[1], shape, strong)}

        spec = {"image": ((*shape, channels), "float32"), "label": (shape, "int32")}
        if strong is not None:
            spec["grid"] = ((*shape, len(shape)), "float32")
        return Samples(read, spec, streams.per_step)
