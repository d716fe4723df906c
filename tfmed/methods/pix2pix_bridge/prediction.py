"""`tfmed predict`: whole volumes translated slice by slice, on their own grid."""

import numpy as np

from tfmed.data import preprocess
from tfmed.tasks import translation


def predict(method, words, out):
    """Write `<name>_ct.nii.gz` (int16 HU) or `<name>_mr.nii.gz` (float32) per input; see `translation.predict`."""
    target = method.config.target
    return translation.predict(
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
        return translation.on_grid(prepared.replace(array=values), image)
    hu = prepared.replace(array=method.window.invert(made))
    return translation.whole_hu(translation.on_grid(hu, image, method.config.window_hu[0]))
