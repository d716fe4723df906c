"""Low frequencies of a CT, the preparation of a pair (MR, CT and its low frequencies on one grid), and back to HU."""

from typing import Literal

import numpy as np
import tensorflow as tf
from scipy import ndimage

from tfmed.config import Strict
from tfmed.data.preprocess import Window, ZScore
from tfmed.errors import DataError


def lowpass(array, kind="gaussian", size=15.0):
    """The low frequencies of a volume `(z, y, x)`, float32.

    Args:
        array: any real dtype.
        kind: "gaussian" (cut off at 4 sigma; the border continues, so a constant stays as it is) or "box" (zeros
            beyond the border, as in the authors' code).
        size: sigma, or width of the box, in voxels.
    """
    array = np.asarray(array, np.float32)
    if kind == "gaussian":
        return ndimage.gaussian_filter(array, size, mode="nearest", truncate=4.0)
    if kind == "box":
        return ndimage.uniform_filter(array, round(size), mode="constant")
    raise ValueError(f"lowpass is {kind!r}; gaussian and box are available")


class PairTargets(Strict):
    """The last step of a pair's preparation: [MR, CT] -> [MR standardised, CT scaled, its low frequencies]."""

    step: Literal["mr_ct_targets"] = "mr_ct_targets"
    window_hu: tuple[float, float]
    range: tuple[float, float]
    lowpass: str
    size: float

    def together(self, images):
        """Three float32 Volumes of two.

        Raises:
            DataError: the MR, or the CT within the window, is constant.
        """
        mr, ct = images
        scaled = Window(window_hu=self.window_hu, range=self.range).apply(ct)
        for name, image in (("MR", mr), ("CT", scaled)):
            if image.array.min() == image.array.max():
                value = f"{image.array.flat[0]:g}"
                raise DataError(f"every voxel of the prepared {name} is {value}; is the CT in HU? Remove the case")
        low = lowpass(scaled.array, self.lowpass, self.size)
        return [ZScore().apply(mr), scaled, scaled.replace(array=low)]


def in_hu(parts, window, clip):
    """{"ct", and of a network with frequency supervision "low", "high"} in HU; arrays or tensors `(...)`.

    Args:
        parts: what the network answers, `(..., 1 or 3)`.
        window: the Window of the CT.
        clip: whether to clip the CT to it.
    """
    (low, high), (bottom, top) = window.window_hu, window.range
    width = (high - low) / (top - bottom)
    whole = parts[..., 0]
    if clip:
        limit = np.clip if isinstance(parts, np.ndarray) else tf.clip_by_value
        whole = limit(whole, bottom, top)
    made = {"ct": (whole - bottom) * width + low}
    if parts.shape[-1] == 3:
        made |= {"low": (parts[..., 1] - bottom) * width + low, "high": parts[..., 2] * width}
    return made
