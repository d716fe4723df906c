"""`tfmed predict`: whole volumes translated slice by slice, on their own grid."""

import numpy as np

from tfmed.data import preprocess
from tfmed.engine import translating


def predict(method, words, out):
    """Write `<name>_ct.nii.gz` (int16 HU) or `<name>_mr.nii.gz` (float32) per input; see `translating.predict`."""
    target = method.config.target
    return translating.predict(
        lambda image: {target: translated(method, image)}, method.config.source, (target,), words, out
    )


def translated(method, image):
    """The translation of a Volume on its own grid: int16 HU, or float32 on the scale of the training MRs."""
    steps = method.preprocessing()
    if method.config.source == "mr":
        steps = (*steps[:-1], method.mr_scale)
    prepared = preprocess.run(steps, image)
    made = method.translate(prepared)
    if method.config.target == "mr":
        values = (made + 1) * np.float32(method.mr_white() / 2)
        return translating.on_grid(prepared.replace(array=values), image)
    hu = prepared.replace(array=method.window.invert(made))
    return translating.whole_hu(translating.on_grid(hu, image, method.config.window_hu[0]))
