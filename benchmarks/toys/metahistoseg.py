"""MetaHistoSeg on phantoms of tissue: which start is best for a new task of which there are few images?

Run: python -m benchmarks.toys.metahistoseg [--seeds 0 1 2] [--steps 240] [--methods NAME ...] [--out FILE]

The demo's settings (configs/metahistoseg.yaml): grades, cells, nuclei and lesions are the other tasks, 60 pictures of
64 x 64 pixels each; glands are the new one. Arms: MAML, pooled training with as many images per step, and no
pre-training, each fine-tuned on 5, 10 and 20 pictures by as many steps. Printed is the mIoU of 15 other pictures,
all pixels together; and for MAML how much its inner steps lowered the loss of the query images of 20 episodes.

Runs that stand in the table --out are not made again, so that a run that was broken off goes on.
"""

import tfmed  # isort: skip

import functools
import pathlib

import keras
import numpy as np
import tensorflow as tf

from benchmarks.support import tables
from tfmed import registry
from tfmed.metrics.segmentation import confusion_matrix, mean_iou

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "metahistoseg.yaml"
TRAININGS, SHOTS, STEPS, FINE_TUNING, EPISODES = ("maml", "transfer", "scratch"), (5, 10, 20), 240, 60, 20
METHODS = tuple(f"{training} {shots}" for shots in SHOTS for training in TRAININGS)


def method_of(seed, training, shots, steps):
    """The Method of an arm."""
    words = (f"model.training={training}", f"model.shots={shots or 'null'}", f"seed={seed}",
             f"train.steps={steps}", f"model.fine_tune_steps={FINE_TUNING}",
             "model.selection_steps=0", "train.early_stopping=null")  # fmt: skip
    settings = tfmed.load_config(CONFIG, words, profile="demo")
    keras.utils.set_random_seed(seed)
    return registry.method_class(settings.method)(settings)


def run(stage):
    """The trained model of a stage."""
    model, samples = stage.model(), stage.train()
    step = tf.function(model.train_step, autograph=False)
    for batch in samples.batches(0, stage.steps):
        step(batch)
    return model


@functools.cache
def pretrained(seed, training, steps):
    """(the model after pre-training, by how much inner steps lower the query loss, 0 where there are none)."""
    method = method_of(seed, training, None, steps)
    stage = next(iter(method.stages()))
    model, lowered = run(stage), 0.0
    if training == "maml":
        size, samples = method.config.episode, stage.train()
        first = steps * samples.per_step
        batches = [{name: tf.constant(np.stack([samples.read(first + k * size + i)[name] for i in range(size)]))
                    for name in ("image", "label", "task")} for k in range(EPISODES)]  # fmt: skip
        loss = tf.function(lambda batch: model.network_loss(batch)[0], autograph=False)
        after = [float(loss(batch)) for batch in batches]
        model.config = model.config.model_copy(update={"inner_steps": 0})
        loss = tf.function(lambda batch: model.network_loss(batch)[0], autograph=False)
        lowered = float(np.mean([float(loss(batch)) for batch in batches]) - np.mean(after))
    return model, lowered


def score(seed, name, steps):
    """(mIoU of the test pictures, by how much inner steps lower the query loss)."""
    training, shots = name.split()
    method = method_of(seed, training, shots, steps)
    stages, lowered = method.stages(), 0.0
    if training != "scratch":
        next(stages)
        method.models["pretrained"], lowered = pretrained(seed, training, steps)
    stage = next(stages)
    method.models[stage.name] = run(stage)
    total = 0
    for case in method.prepared("test"):
        one = method.open(case)
        total = total + confusion_matrix(method.labels(one.image), np.asarray(one.label), method.config.classes)
    return mean_iou(total), lowered


def main():
    tables.make(__doc__, METHODS, STEPS, "toy_metahistoseg.csv", ("mIoU", "lowered by"), 3, score)


if __name__ == "__main__":
    main()
