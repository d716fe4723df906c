"""Steps that change values and not places; label maps pass through.

A step with a `graph` method also exists as a function of tensors: exported models run such steps themselves.
"""

from typing import Any, Literal

import numpy as np
import pydantic
import SimpleITK as sitk

from tfmed.config import Interval, Strict
from tfmed.errors import DataError
from tfmed.io.volume import Volume


class Window(Strict):
    """Clip to a window (HU for CT) and scale it linearly to `range`; float32. Labels pass through."""

    step: Literal["window"] = "window"
    window_hu: Interval = (-1000.0, 400.0)
    range: Interval = (-1.0, 1.0)

    def apply(self, volume: Volume, is_label: bool = False) -> Volume:
        if is_label:
            return volume
        (low, high), (bottom, top) = self.window_hu, self.range
        scaled = np.clip(volume.array.astype(np.float32), low, high)
        scaled = (scaled - low) * np.float32((top - bottom) / (high - low)) + np.float32(bottom)
        return volume.replace(array=scaled)

    def graph(self, image: Any) -> Any:
        """The same of a float32 tensor of any shape."""
        import tensorflow as tf

        (low, high), (bottom, top) = self.window_hu, self.range
        return (tf.clip_by_value(image, low, high) - low) * np.float32((top - bottom) / (high - low)) + bottom

    def invert(self, array: np.ndarray) -> np.ndarray:
        """From `range` back to HU, float32, of an array; a tensor stays one."""
        (low, high), (bottom, top) = self.window_hu, self.range
        values = array if hasattr(array, "graph") or hasattr(array, "numpy") else np.asarray(array, np.float32)
        return (values - bottom) * np.float32((high - low) / (top - bottom)) + np.float32(low)


class Hounsfield(Strict):
    """Refuse an image that is not in HU, and cut one that is at -1000 (padding) and `most_hu` (metal); labels pass.

    A CT that shows any air has voxels below `air_below_hu`; one scaled to 0 .. 255, or shifted to begin at 0, has not.
    """

    step: Literal["hounsfield"] = "hounsfield"
    air_below_hu: float = -500.0
    most_hu: float = 3000.0

    def apply(self, volume: Volume, is_label: bool = False) -> Volume:
        if is_label:
            return volume
        if volume.array.size and volume.array.min() >= self.air_below_hu:
            raise DataError(f"hounsfield: {self._message(f'{volume.array.min():g}')}")
        return volume.replace(array=np.clip(volume.array.astype(np.float32), -1000, self.most_hu))

    def graph(self, image: Any) -> Any:
        """The same of a float32 tensor of any shape."""
        import tensorflow as tf

        from tfmed.ops.checks import checked

        has_air = tf.reduce_min(image) < self.air_below_hu
        return tf.clip_by_value(checked(image, has_air, f"image: {self._message('more')}"), -1000, self.most_hu)

    def _message(self, lowest: str) -> str:
        return (
            f"the lowest value is {lowest}, and air in a CT lies near -1000 HU; give the image in HU (stored value * "
            "RescaleSlope + RescaleIntercept), not scaled or shifted"
        )


class ZScore(Strict):
    """Subtract the mean and divide by the standard deviation of an image; float32. Labels pass through."""

    step: Literal["zscore"] = "zscore"
    nonzero: bool = False  # statistics over, and change of, the voxels that are not 0 alone (skull-stripped MR)

    def apply(self, volume: Volume, is_label: bool = False) -> Volume:
        if is_label:
            return volume
        values = volume.array.astype(np.float32)
        counted = values[values != 0] if self.nonzero else values
        mean, deviation = (counted.mean(dtype=np.float64), counted.std(dtype=np.float64)) if counted.size else (0, 1)
        scaled = ((values - np.float32(mean)) / np.float32(max(deviation, 1e-8))).astype(np.float32)
        return volume.replace(array=np.where(values != 0, scaled, np.float32(0)) if self.nonzero else scaled)

    def graph(self, image: Any) -> Any:
        """The same of one image as a float32 tensor of any shape."""
        import tensorflow as tf

        used = tf.cast(image != 0, tf.float32) if self.nonzero else tf.ones_like(image)
        count = tf.maximum(tf.reduce_sum(used), 1.0)
        mean = tf.reduce_sum(image * used) / count
        mean += tf.reduce_sum((image - mean) * used) / count  # what rounding took from a float32 sum of many voxels
        deviation = tf.sqrt(tf.reduce_sum(tf.square(image - mean) * used) / count)
        return (image - mean) / tf.maximum(deviation, 1e-8) * used


class RobustScale(Strict):
    """Subtract the median of an image and divide by its interquartile range; float32. Labels pass through."""

    step: Literal["robust_scale"] = "robust_scale"

    def apply(self, volume: Volume, is_label: bool = False) -> Volume:
        if is_label:
            return volume
        values = volume.array.astype(np.float32)
        low, median, high = np.percentile(values.astype(np.float64), (25, 50, 75))
        if not high > low:
            raise DataError(f"robust_scale: {self._message()}")
        return volume.replace(array=((values - np.float32(median)) / np.float32(high - low)).astype(np.float32))

    def graph(self, image: Any) -> Any:
        """The same of one image as a float32 tensor of any shape."""
        import tensorflow as tf

        from tfmed.ops.checks import checked

        low, median, high = _quantiles(image, (0.25, 0.5, 0.75))
        span = tf.cast(checked(high - low, high > low, f"image: {self._message()}"), tf.float32)
        return (image - tf.cast(median, tf.float32)) / span

    def _message(self) -> str:
        return "half of the voxels have one value, so there is no range between quartiles; crop it, or use step zscore"


class PercentileWindow(Strict):
    """Map two percentiles of an image's voxels to `range`, and clip to it; float32. Labels pass through."""

    step: Literal["percentile_window"] = "percentile_window"
    percentiles: Interval = (1.0, 99.0)
    range: Interval = (0.0, 1.0)

    @pydantic.field_validator("percentiles")
    @classmethod
    def _are_percentiles(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] < value[1] <= 100:
            raise ValueError(f"percentiles: {list(value)} are not two ascending numbers from 0 to 100")
        return value

    def apply(self, volume: Volume, is_label: bool = False) -> Volume:
        if is_label:
            return volume
        values, (bottom, top) = volume.array.astype(np.float32), self.range
        low, high = np.percentile(values.astype(np.float64), self.percentiles)
        if not high > low:
            raise DataError(f"percentile_window: {self._message()}")
        share = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
        return volume.replace(array=(share * np.float32(top - bottom) + np.float32(bottom)).astype(np.float32))

    def graph(self, image: Any) -> Any:
        """The same of one image as a float32 tensor of any shape."""
        import tensorflow as tf

        from tfmed.ops.checks import checked

        low, high = _quantiles(image, [percentile / 100 for percentile in self.percentiles])
        span = tf.cast(checked(high - low, high > low, f"image: {self._message()}"), tf.float32)
        bottom, top = self.range
        return tf.clip_by_value((image - tf.cast(low, tf.float32)) / span, 0, 1) * np.float32(top - bottom) + bottom

    def _message(self) -> str:
        return "both percentiles are one value; widen percentiles, or crop the image"


def _quantiles(image: Any, shares: Any) -> list[Any]:
    """Quantiles of a tensor's values, float64 scalars, between neighbours linearly as `numpy.percentile` has them."""
    import tensorflow as tf

    ordered = tf.cast(tf.sort(tf.reshape(image, [-1])), tf.float64)
    last = tf.size(ordered) - 1
    found = []
    for share in shares:
        place = tf.cast(last, tf.float64) * share
        below = tf.cast(tf.floor(place), tf.int32)
        first, second = ordered[below], ordered[tf.minimum(below + 1, last)]
        found.append(first + (second - first) * (place - tf.floor(place)))
    return found


class PercentileScale(Strict):
    """Map 0 and a percentile of an image's voxels above 0 to `range`, and clip to it; float32. Labels pass through."""

    step: Literal["percentile_scale"] = "percentile_scale"
    percentile: float = pydantic.Field(99.9, gt=0, le=100)
    range: Interval = (0.0, 1.0)

    def apply(self, volume: Volume, is_label: bool = False) -> Volume:
        if is_label:
            return volume
        low, high = self.range
        share = np.clip(volume.array.astype(np.float32) / np.float32(self.white(volume.array)), 0, 1)
        return volume.replace(array=share * np.float32(high - low) + np.float32(low))

    def graph(self, image: Any) -> Any:
        """The same of one image as a float32 tensor of any shape."""
        import tensorflow as tf

        from tfmed.ops.checks import checked

        low, high = self.range
        bright = tf.sort(tf.boolean_mask(image, image > 0))
        count = tf.size(bright)
        message = "image: no voxel is above 0; it is empty, or in other units than what the model was trained on"
        place = tf.cast(checked(count, count > 0, message) - 1, tf.float64) * (self.percentile / 100)
        below = tf.cast(tf.floor(place), tf.int32)
        share = tf.cast(place - tf.floor(place), tf.float32)
        white = bright[below] + (bright[tf.minimum(below + 1, count - 1)] - bright[below]) * share
        return tf.clip_by_value(image / white, 0, 1) * np.float32(high - low) + low

    def white(self, array: np.ndarray) -> Any:
        """The value that becomes the upper end of `range`.

        Raises:
            DataError: no voxel is above 0.
        """
        bright = array[array > 0]
        if not bright.size:
            raise DataError("percentile_scale: no voxel is above 0; shift the values first, or remove the case")
        return float(np.percentile(bright, self.percentile))


class MinMax(Strict):
    """Map the least and the greatest value of an image to 0 and 1; float32. Labels pass through."""

    step: Literal["min_max"] = "min_max"

    def apply(self, volume: Volume, is_label: bool = False) -> Volume:
        if is_label:
            return volume
        values = volume.array.astype(np.float32)
        low, high = values.min(), values.max()
        if not high > low:
            raise DataError(f"min_max: {self._message()}")
        return volume.replace(array=(values - low) / (high - low))

    def graph(self, image: Any) -> Any:
        """The same of one image as a float32 tensor of any shape."""
        import tensorflow as tf

        from tfmed.ops.checks import checked

        low, high = tf.reduce_min(image), tf.reduce_max(image)
        return (image - low) / checked(high - low, high > low, f"image: {self._message()}")

    def _message(self) -> str:
        return "all voxels have one value, so there is no range; check the image, or remove the case"


class N4(Strict):
    """Even out the bias field of an MR coil (Tustison et al. 2010, SimpleITK); float32. Labels pass through.

    The field is estimated from the voxels above 0, on an image `shrink` times smaller along each axis; only voxels that
    are not 0 change.
    """

    step: Literal["n4"] = "n4"
    shrink: pydantic.PositiveInt = 4
    iterations: tuple[pydantic.PositiveInt, ...] = (50, 50, 50, 50)  # most per resolution of the field

    def apply(self, volume: Volume, is_label: bool = False) -> Volume:
        if is_label:
            return volume
        values = volume.array.astype(np.float32)
        # N4 divides by the extent of an axis, which a single slice does not have.
        thick = np.pad(values, [(0, 1 if size == 1 else 0) for size in values.shape], mode="edge")
        image = sitk.GetImageFromArray(thick)
        factors = [max(1, min(self.shrink, size // 8)) for size in image.GetSize()]
        mask = sitk.GetImageFromArray((thick > 0).astype(np.uint8))
        corrector = sitk.N4BiasFieldCorrectionImageFilter()
        corrector.SetMaximumNumberOfIterations(self.iterations)
        corrector.Execute(sitk.Shrink(image, factors), sitk.Shrink(mask, factors))
        field = sitk.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(image))
        field = field[tuple(slice(size) for size in values.shape)]
        return volume.replace(array=values / np.exp(field, dtype=np.float32))


class Equalize(Strict):
    """Histogram equalisation over the voxels of an image that are not 0, to (0, 1]; 0 stays 0. Labels pass through.

    A value becomes its place in the cumulative histogram, interpolated linearly between the centres of the bins.
    """

    step: Literal["equalize"] = "equalize"
    bins: pydantic.PositiveInt | None = None  # null: one per whole value, int(max + 1), from 256 to 65536

    def apply(self, volume: Volume, is_label: bool = False) -> Volume:
        if is_label:
            return volume
        values = volume.array.astype(np.float32)
        used = values != 0
        if not used.any():
            return volume.replace(array=values)
        counted = values[used].astype(np.float64)  # in float32 the bins of a narrow range have no width
        if counted.min() == counted.max():
            return volume.replace(array=used.astype(np.float32))
        counts, edges = np.histogram(counted, self.bins or int(np.clip(counted.max() + 1, 256, 1 << 16)))
        shares = np.cumsum(counts) / counted.size
        equal = np.zeros_like(values)
        equal[used] = np.interp(counted, (edges[:-1] + edges[1:]) / 2, shares)
        return volume.replace(array=equal)

    def graph(self, image: Any) -> Any:
        """The same of one image as a float32 tensor of any shape."""
        import tensorflow as tf

        used = image != 0
        counted = tf.cast(tf.boolean_mask(image, used), tf.float64)

        def equalized() -> Any:
            low, high = tf.reduce_min(counted), tf.reduce_max(counted)
            usual = tf.cast(tf.clip_by_value(tf.cast(high + 1, tf.int64), 256, 1 << 16), tf.int32)
            bins = usual if self.bins is None else tf.constant(self.bins)
            place = (counted - low) / (high - low) * tf.cast(bins, tf.float64)  # in bins
            counts = tf.math.bincount(tf.minimum(tf.cast(place, tf.int32), bins - 1), minlength=bins)
            shares = tf.cumsum(tf.cast(counts, tf.float64)) / tf.cast(tf.size(counted), tf.float64)
            place = tf.clip_by_value(place - 0.5, 0, tf.cast(bins - 1, tf.float64))
            below = tf.cast(tf.floor(place), tf.int32)
            lower, upper = tf.gather(shares, below), tf.gather(shares, tf.minimum(below + 1, bins - 1))
            equal = tf.cast(lower + (upper - lower) * (place - tf.floor(place)), tf.float32)
            return tf.tensor_scatter_nd_update(tf.zeros_like(image), tf.where(used), equal)

        differ = tf.reduce_any(counted != counted[:1])
        return tf.cond(differ, equalized, lambda: tf.cast(used, tf.float32))
