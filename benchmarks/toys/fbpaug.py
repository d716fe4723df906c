"""FBPAug on phantoms: which augmentation makes a segmenter agree with itself on a scan's soft and sharp kernels?

Run: python -m benchmarks.toys.fbpaug [--seeds 0 1 2] [--steps 400] [--methods NAME ...] [--out toy_fbpaug.csv]

Trains the network of the demo profile on soft reconstructions (64 x 64) of 18 phantom chests with ground-glass lesions,
by each augmentation, and prints for 6 other chests: Dice on soft reconstructions, Dice on sharp ones, and consistency,
the Dice between both predictions. The sharp kernel is unsharp masking, none of FBPAug's
family. The last lines are means.

Runs that stand in the table --out are not made again, so that a run that was broken off goes on.
"""

import tfmed  # isort: skip

import keras
import numpy as np
import tensorflow as tf

from benchmarks.support import tables
from benchmarks.support.processes import REPOSITORY
from tfmed import registry
from tfmed.tasks.segmentation_scores import case_rows

METHODS = {
    **{name: [f"model.augmentation={name}"] for name in ("none", "fbp", "gamma", "noise", "windowing")},
    **{name: [f"model.kernels={name}"] for name in ("sharpen", "smooth", "coupled")},
    "residual": ["model.residual=true"],
    "always": ["model.share=1"],
}
_SHARED = (
    "data.options={cases: 24, shape: [16, 64, 64], field_of_view_mm: 300}",
    "data.split={seed: 0, validation: 0, test: 0.25}",  # all seeds train and test on the same chests
    "model.patch=[64, 64]",
)


def trained(seed, name, steps):
    """The Method with its trained network."""
    overrides = [*METHODS[name], *_SHARED, f"seed={seed}", f"train.steps={steps}"]
    settings = tfmed.load_config(REPOSITORY / "configs" / "fbpaug.yaml", overrides, profile="demo")
    method = registry.method_class(settings.method)(settings)
    keras.utils.set_random_seed(seed)
    stage = next(iter(method.stages()))
    model = stage.model()
    step = tf.function(model.train_step, autograph=False)
    for batch in stage.train().batches(0, steps):
        step(batch)
    method.models[stage.name] = model
    return method


def trained_and_scored(seed, name, steps):
    """(Dice on soft, Dice on sharp reconstructions, consistency), means over the test cases."""
    method = trained(seed, name, steps)
    segmenter = method.segmenter()
    rows = [case_rows(method, segmenter, case)[0] for case in method.cases["test"]]
    return tuple(np.mean([row[key] for row in rows]) for key in ("Dice", "other kernel's Dice", "consistency"))


def main():
    columns = ("Dice, soft", "Dice, sharp", "consistency")
    tables.make(__doc__, METHODS, 400, "toy_fbpaug.csv", columns, 3, trained_and_scored)


if __name__ == "__main__":
    main()
