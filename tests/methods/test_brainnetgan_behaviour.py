"""BrainNetGAN on graphs of stochastic blocks: the card's toy check."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

from tfmed.data.sampling import shuffled
from tfmed.methods.brainnetgan import BrainNetGAN, Config
from tfmed.metrics.graph import similarity
from tfmed.ops.triangle import to_vector

pytestmark = [pytest.mark.one_stack, pytest.mark.long]

REGIONS, BATCH = 20, 32


def subjects(count, seed):
    """(matrices `(count, d, d)` in [0, 1], labels): four blocks of regions; two of them differ between the classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    blocks = np.repeat(np.arange(4), REGIONS // 4)
    within = np.where(blocks[:, None] == blocks, 0.6, 0.25)
    matrices = []
    for label in labels:
        mean = within.copy()
        mean[np.ix_(blocks == 0, blocks == 0)] -= 0.25 * label
        mean[np.ix_(blocks == 2, blocks == 2)] -= 0.25 * label
        edges = np.clip(mean + rng.normal(0, 0.15, mean.shape), 0, None) * (rng.random(mean.shape) < 0.3 + mean)
        edges = np.triu(edges, 1)
        matrices.append(edges + edges.T)
    found = np.stack(matrices).astype(np.float32)
    return found / found.max((1, 2), keepdims=True), labels.astype(np.int32)


def test_generated_graphs_have_their_classes_blocks():
    """After 400 steps class means correlate with real ones, and what learnt from generated graphs knows real ones."""
    keras.utils.set_random_seed(0)
    config = Config(regions=REGIONS, edge_filters=(16, 16), node_filters=32)
    model = BrainNetGAN(config, per_step=BATCH * config.critic_steps)
    matrices, labels = subjects(120, 0)
    step = tf.function(model.train_step, autograph=False)
    for number in range(400):
        indices = np.arange(number * model.per_step, (number + 1) * model.per_step)
        chosen = [shuffled(0, int(i), len(labels)) for i in indices]
        drawn = {"index": indices, "matrix": matrices[chosen], "label": labels[chosen]}
        step({name: tf.constant(values) for name, values in drawn.items()})
    made = model.sample(labels, seed=1)
    assert np.array_equal(made, np.swapaxes(made, 1, 2)) and not np.diagonal(made, axis1=1, axis2=2).any()
    for label in (0, 1):
        ours, theirs = made[labels == label], matrices[labels == label]
        assert np.corrcoef(to_vector(ours.mean(0)[None])[0], to_vector(theirs.mean(0)[None])[0])[0, 1] > 0.9
        assert similarity(ours, theirs)["node strength"].kl < 0.5
    tested, truth = subjects(200, 1)
    judge = LogisticRegression(max_iter=1000).fit(to_vector(made), labels)
    assert judge.score(to_vector(tested), truth) > 0.85
