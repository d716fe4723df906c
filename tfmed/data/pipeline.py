"""From a function of the sample index to the batches of a training run."""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf
from numpy.typing import DTypeLike

from tfmed.errors import DataError
from tfmed.io.geometry import machine_memory


@dataclasses.dataclass
class Samples:
    """What a stage trains on: sample `i` is `read(i)`, whatever was read before.

    Args:
        read: sample index -> {name: array}; a pure function of the index.
        spec: name -> (shape, dtype) of one sample's arrays. Batches also hold `index`, the int64 sample index, from
            which a model derives its noise and its step.
        per_step: samples that one training step takes, over all replicas.

    `failure` holds the exception of a failed `read`, which TensorFlow would otherwise only quote in its own error.
    """

    read: Callable[[int], Mapping[str, np.ndarray]]
    spec: Mapping[str, tuple[tuple[int, ...], DTypeLike]]
    per_step: int
    failure: Exception | None = None
    _ended: bool = dataclasses.field(default=False, init=False, repr=False)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """{name: shape} of a sample's arrays."""
        return {name: shape for name, (shape, _) in self.spec.items()}

    def batches(
        self, first_step: int = 0, last_step: int | None = None, worker: int = 0, workers: int = 1, prefetch: int = 2
    ) -> tf.data.Dataset:
        """A `tf.data.Dataset` of batches `{name: (per_step / workers, *shape)}`, steps first_step .. last_step - 1."""
        share = self.per_step // workers
        self._check_memory(share * (prefetch + 1))
        names = list(self.spec)

        def read(index: np.ndarray) -> list[np.ndarray]:
            try:
                sample = self.read(int(index))
            except Exception as error:
                self.failure = error
                raise
            return [np.asarray(sample[name], dtype=self.spec[name][1], order="C") for name in names]

        def load(index: tf.Tensor) -> dict[str, tf.Tensor]:
            dtypes = [tf.as_dtype(self.spec[name][1]) for name in names]
            # Stateless in truth: only then may it run in parallel while op determinism is on.
            arrays = tf.numpy_function(read, [index], dtypes, stateful=False)
            sample = zip(names, arrays, strict=True)
            return {"index": index} | {name: tf.ensure_shape(array, self.spec[name][0]) for name, array in sample}

        def goes_on(step: tf.Tensor) -> tf.Tensor:
            # A variable in its place would count as state, and reading would not be parallel any more (see `load`).
            return tf.numpy_function(lambda _: not self._ended, [step], tf.bool, stateful=False)

        self._ended = False
        steps = tf.data.Dataset.range(first_step, last_step if last_step is not None else np.iinfo(np.int64).max)
        steps = steps.take_while(goes_on)
        indices = steps.flat_map(
            lambda step: tf.data.Dataset.range(share).map(lambda i: step * self.per_step + worker * share + i)
        )
        parallel = min(os.cpu_count() or 1, max(1, share))
        samples = indices.map(load, num_parallel_calls=parallel, deterministic=True)
        return samples.batch(share, drop_remainder=True).prefetch(prefetch)

    @property
    def bytes(self) -> int:
        """Of one sample's arrays."""
        return sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in self.spec.values())

    def _check_memory(self, count: int) -> None:
        """Refuse samples that the machine cannot hold so many of, before the first is read."""
        one = self.bytes
        if one * count > machine_memory():
            raise DataError(
                f"{count} samples of {one / 2**20:.0f} MiB are in memory at a time, more than this machine has; lower "
                "train.batch_size, or the size of a sample"
            )

    def end(self) -> None:
        """Let the batches that are being read come to their end after the few that are under way."""
        self._ended = True

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """The batch of one step as numpy arrays: what `batches` gives, without TensorFlow's machinery."""
        indices = np.arange(step * self.per_step, (step + 1) * self.per_step, dtype=np.int64)
        samples = [self.read(int(i)) for i in indices]
        arrays = {name: np.stack([s[name] for s in samples]).astype(kind[1]) for name, kind in self.spec.items()}
        return {"index": indices} | arrays
