"""A trained translator as a SavedModel: intensities, slices, and back, in one graph."""

import tensorflow as tf

from tfmed.engine.exporting import ExportModule


class TranslationModule(ExportModule):
    """ "serving_default": `image` `(z, y, x)` float32, axes towards RAS, in HU or the MR's values -> `ct` or `mr`.

    Args:
        model: a Translator.
        window: the Window of HU.
        percentile: of an MR's voxels above 0.
        white: the value of an MR that 1 stands for; None: the translation is a CT.
        translator: the VolumeTranslator that the SavedModel takes the place of.
    """

    def __init__(self, model, window, percentile, white, translator):
        super().__init__(model)
        self.held = ExportModule(model.generator).held  # no critics, and no images that a history keeps
        self.percentile, self.white = percentile, white
        self._window = lambda: window
        self.note = translator.note(dict.fromkeys(translator.outputs, "serving_default"), inside=1)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None), tf.float32, "image")])
    def translate(self, image):
        """The translation of a volume."""
        window = self._window()
        if self.white is not None:
            made = self.model.translated(window.graph(image))
            return {"mr": (made + 1.0) * (self.white / 2.0)}
        made = self.model.translated(tf.clip_by_value(image / self._percentile_of(image), 0.0, 1.0) * 2.0 - 1.0)
        return {"ct": window.invert(made)}

    def _percentile_of(self, image):
        """As numpy's: linear between the two nearest of the sorted voxels above 0."""
        bright = tf.sort(tf.boolean_mask(image, image > 0))
        last = tf.size(bright) - 1
        place = tf.cast(last, tf.float64) * (self.percentile / 100.0)
        below = tf.cast(tf.floor(place), tf.int32)
        first, second = bright[below], bright[tf.minimum(below + 1, last)]
        return first + (second - first) * tf.cast(place - tf.floor(place), tf.float32)

    def signatures(self):
        """What the SavedModel can do."""
        return {"serving_default": self.translate}
