"""Baselines of segmentation from the classes of images: colour deconvolution, and where a classifier looks."""

import functools

import tensorflow as tf

from tfmed.engine.method import Method
from tfmed.metrics.attribution import Attribution, to_unit
from tfmed.nn.adam import Adam
from tfmed.nn.resnet import FEATURES, resnet18
from tfmed.ops.colour import STAINS, separate_stains
from tfmed.training.classifier import ClassifierModel

CLASSIFIER = "classifier"  # the stage in which it is trained
NAMES = {
    "colour": "colour deconvolution",
    "cam": "CAM",
    "grad_cam": "Grad-CAM",
    "guided_grad_cam": "guided Grad-CAM",
}


def classifier(config, rate, **options):
    """The `ClassifierModel` of a binary ResNet-18."""
    return ClassifierModel(resnet18(config.channels, 1, config.classifier_width), Adam(rate), **options)


class WeakBaselines(Method):
    """Base of methods that are compared with these; their config has `baselines`, and what their classifier is."""

    def classifier_stages(self):
        """The stage of the baselines' classifier, or none where no baseline asks for it; it comes last."""
        config = self.config
        if set(config.baselines) - {"colour"}:
            steps = config.classifier_steps or self.settings.train.steps
            yield self.stage(CLASSIFIER, classifier, self.samples, config.classifier_rate, steps=steps)

    @functools.cached_property
    def attribution(self):
        """The `Attribution` of the trained classifier."""
        trained, config = self.models[CLASSIFIER].network, self.config
        guided = resnet18(config.channels, 1, config.classifier_width, guided=True)
        guided.set_weights(trained.get_weights())
        return Attribution(trained, FEATURES, guided)

    def baseline_map(self, name, image):
        """A map `(y, x)` in [0, 1] of a prepared image `(y, x, channel)`, high where a baseline sees the pattern."""
        if name == "colour":
            return to_unit(separate_stains(image[None])[..., STAINS.index("dab")])[0]
        return to_unit(getattr(self.attribution, name)(tf.constant(image[None]), tf.constant([1])))[0]
