"""MetaHistoSeg on toy textures: the card's behaviour check."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfmed.methods.metahistoseg import Config, FineTuned, Maml
from tfmed.metrics.segmentation import confusion_matrix, mean_iou
from tfmed.tasks.backbones import UNet

pytestmark = [pytest.mark.one_stack, pytest.mark.long]

SIDE, STEPS, FINE_TUNING, PER_TASK = 32, 150, 25, 60


def discs(draw):
    """A label of bright discs, `(y, x)` in 0, 1."""
    y, x = np.mgrid[:SIDE, :SIDE]
    label = np.zeros((SIDE, SIDE), int)
    for cy, cx in draw.integers(4, SIDE - 4, (3, 2)):
        label[(y - cy) ** 2 + (x - cx) ** 2 < draw.integers(9, 30)] = 1
    return label


def stripes_and_dots(draw):
    """A label of stripes (1) to one side and dots (2) to the other."""
    y, x = np.mgrid[:SIDE, :SIDE]
    label = np.where(((x + draw.integers(6)) % 6 < 2) & (x < SIDE // 2), 1, 0)
    label[((x + draw.integers(5)) % 5 < 2) & ((y + draw.integers(5)) % 5 < 2) & (x >= SIDE // 2)] = 2
    return label


def rings(draw):
    """A label of rings, `(y, x)` in 0, 1."""
    y, x = np.mgrid[:SIDE, :SIDE]
    label = np.zeros((SIDE, SIDE), int)
    for cy, cx in draw.integers(8, SIDE - 8, (2, 2)):
        label[np.abs(np.hypot(y - cy, x - cx) - draw.uniform(4, 7)) < 1.2] = 1
    return label


def pictures(kind, count, seed):
    """(images `(n, y, x, 3)` in 0 .. 255, labels): classes have colours of their own, under noise."""
    draw = np.random.default_rng(seed)
    labels = np.stack([kind(draw) for _ in range(count)])
    colours = np.array([[120, 90, 110], [160, 110, 90], [100, 130, 140]])
    images = colours[labels] + draw.normal(0, 30, (*labels.shape, 3))
    return np.clip(images, 0, 255).astype(np.float32), labels.astype(np.int32)


def config():
    network = UNet(widths=(8, 16), norm="batch", decoder_convolutions=2)
    plain = dict(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
    return Config(patch=(SIDE, SIDE), network=network, support=4, query=4, inner_rate=0.01, learning_rate=1e-3,
                  fine_tune_rate=1e-3, **plain)  # fmt: skip


def query_losses(model, batch):
    """The query images' mean loss before the inner steps, and after."""
    adapted, model.config = model.config, model.config.model_copy(update={"inner_steps": 0})
    before = float(model.network_loss(batch)[0])
    model.config = adapted
    return before, float(model.network_loss(batch)[0])


def meta_trained(seed):
    """(trunk, losses `(steps, 2)` of the last 20 steps): two episodes a step, of two tasks."""
    tasks = [pictures(kind, PER_TASK, seed + k) for k, kind in enumerate((discs, stripes_and_dots))]
    draw = np.random.default_rng(seed)
    model = Maml(config(), classes=(2, 3), per_step=16, seed=seed)
    step, losses = tf.function(model.train_step, autograph=False), []
    for number in range(STEPS):
        drawn = [(task, draw.choice(PER_TASK, 8, replace=False)) for task in draw.integers(0, 2, 2)]
        batch = {
            "image": np.concatenate([tasks[task][0][chosen] for task, chosen in drawn]),
            "label": np.concatenate([tasks[task][1][chosen] for task, chosen in drawn]),
            "task": np.repeat([task for task, _ in drawn], 8),
            "index": np.arange(16 * number, 16 * number + 16),
        }
        batch = {name: tf.constant(value) for name, value in batch.items()}
        if number >= STEPS - 20:
            losses.append(query_losses(model, batch))
        step(batch)
    return model.trunk, np.array(losses)


def fine_tuned_iou(seed, start):
    """The mIoU of 40 other pictures of rings after 25 steps on 20."""
    images, labels = pictures(rings, 20, seed + 100)
    model = FineTuned(config(), start=start, per_step=20, seed=seed)
    step = tf.function(model.train_step, autograph=False)
    for number in range(FINE_TUNING):
        index = np.arange(20 * number, 20 * number + 20)
        step({"image": tf.constant(images), "label": tf.constant(labels), "index": tf.constant(index)})
    unseen, truth = pictures(rings, 40, seed + 200)
    found = model.network(unseen, training=False).numpy().argmax(-1)
    return mean_iou(confusion_matrix(found, truth, 2))


def test_adapted_weights_and_a_meta_trained_start_are_better():
    """Inner steps lower the query loss; a third task is learnt better from the meta-trained trunk than from scratch."""
    better = []
    for seed in range(3):
        keras.utils.set_random_seed(seed)
        trunk, losses = meta_trained(seed)
        before, after = losses.mean(0)
        assert after < before
        better.append(fine_tuned_iou(seed, trunk) > fine_tuned_iou(seed, None))
    assert sum(better) >= 2
