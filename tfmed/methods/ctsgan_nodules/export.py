"""The trained networks as a SavedModel, from HU to HU."""

import tensorflow as tf

from tfmed.engine.exporting import ExportModule


class NoduleModule(ExportModule):
    """Signatures on float32 arrays in HU, axes towards RAS.

    "serving_default" and "erase": a `cube` with a nodule in its middle -> `cube`; "inject": a `cube` and its `mask` (1
    where the nodule is to be painted) -> `cube`; "classify", of a run with classifiers: `volume` `(z, y, x)` ->
    `probability` () that it has nodules. Sides of cubes are multiples of 2^downs.

    Args:
        injector, eraser, classifier: the models; the last may be None.
        window: the Window of HU.
    """

    def __init__(self, injector, eraser, classifier, window):
        super().__init__(eraser)
        self.injector = ExportModule(injector)
        self.classifier = ExportModule(classifier) if classifier else None
        self._window = lambda: window

    def classify(self, volume):
        """How probable nodules are."""
        shown = (self._window().graph(volume) + 1.0) * 0.5
        logit = self.classifier.model.network(shown[None, ..., None], training=False)[0, 0]
        return {"probability": tf.sigmoid(tf.cast(logit, tf.float32))}

    @tf.function(input_signature=[tf.TensorSpec((None, None, None), tf.float32, name) for name in ("cube", "mask")])
    def inject(self, cube, mask):
        """A cube with a nodule."""
        return self._painted(self.injector.model, self._window().graph(cube) * (1.0 - mask))

    @tf.function(input_signature=[tf.TensorSpec((None, None, None), tf.float32, "cube")])
    def erase(self, cube):
        """A cube without its nodule."""
        return self._painted(self.model, self._window().graph(cube))

    def _painted(self, model, shown):
        made = model.generator(shown[None, ..., None], training=False)[0, ..., 0]
        return {"cube": self._window().invert(made)}

    def signatures(self):
        """What the SavedModel can do."""
        found = {"serving_default": self.erase, "erase": self.erase, "inject": self.inject}
        if self.classifier is None:
            return found
        spec = tf.TensorSpec((None, None, None), tf.float32, "volume")
        return found | {"classify": tf.function(self.classify, input_signature=[spec])}
