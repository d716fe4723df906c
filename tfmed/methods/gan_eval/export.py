"""The generators of all classes as one SavedModel."""

import tensorflow as tf

from tfmed.engine.exporting import ExportModule


class Sampler(ExportModule):
    """`sample(seed, label, n)`: n images `(n, size, size)` float32, in the values of the files.

    Args:
        models: the ImageGAN of each class; the same one for all where it is told the class.
        window: the Window that maps values to [-1, 1].
    """

    def __init__(self, models, window):
        super().__init__(models[0])
        self._models = lambda: models
        self.held = [variable for model in dict.fromkeys(models) for variable in ExportModule(model).held]
        self._window = lambda: window

    @tf.function(
        input_signature=[
            tf.TensorSpec((), tf.int64, "seed"),
            tf.TensorSpec((), tf.int32, "label"),
            tf.TensorSpec((), tf.int32, "n"),
        ]
    )
    def sample(self, seed, label, n):
        def of(number, model):
            return lambda: model.images_of(seed, 0, tf.cast(n, tf.int64), number)

        images = tf.switch_case(label, [of(number, model) for number, model in enumerate(self._models())])
        return {"images": self._window().invert(images)}

    def signatures(self):
        return {"serving_default": self.sample, "sample": self.sample}
