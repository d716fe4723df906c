"""A trained synthesizer as a SavedModel: intensities, windows and HU in one graph."""

import tensorflow as tf

from tfmed.data.preprocess import ZScore
from tfmed.engine.exporting import ExportModule
from tfmed.methods.fsmr2ct.frequencies import in_hu
from tfmed.ops.sliding_window import window_graph


class SynthesisModule(ExportModule):
    """An MR `image` `(z, y, x)` float32, as it is after the settings' preprocessing, axes towards RAS -> HU.

    "serving_default" gives `ct` `(z, y, x)` float32; with frequency supervision "frequencies" gives `low` and `high`.

    Args:
        method: an FSMethod.
    """

    def __init__(self, method):
        super().__init__(method.model)
        network, window, clip = method.model.generator, method.window, method.config.clip
        blended = window_graph(lambda windows: network(windows, training=False), **method.windows)
        spec = tf.TensorSpec((None, None, None), tf.float32, "image")

        def made(image):
            return in_hu(blended(ZScore().graph(image)[..., None]), window, clip)

        @tf.function(input_signature=[spec])
        def ct(image):
            return {"ct": made(image)["ct"]}

        @tf.function(input_signature=[spec])
        def frequencies(image):
            return {name: value for name, value in made(image).items() if name != "ct"}

        self.calls, signatures = {"serving_default": ct}, {"ct": "serving_default"}
        if method.config.head == "freq":
            self.calls["frequencies"] = frequencies
            signatures |= dict.fromkeys(("low", "high"), "frequencies")
        self.note = method.translator().note(signatures, inside=1)

    def signatures(self):
        """What the SavedModel can do."""
        return dict(self.calls)
