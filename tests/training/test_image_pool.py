"""ImagePool: which images a critic is shown."""

import numpy as np
import pytest
import tensorflow as tf

from tfmed.training.image_pool import ImagePool
from tfmed.training.model import TrainingModel

pytestmark = pytest.mark.current


def shown(size, per_step, steps, seed=0):
    """What is shown of images that each hold their own number: (steps, per_step) integers."""
    model = TrainingModel(seed=seed, per_step=per_step)
    history = ImagePool(size, (2, 1), model, tag=3)
    show, found = tf.function(lambda images, index: history.shown(images, {"index": index}, model)), []
    for step in range(steps):
        index = tf.range(step * per_step, (step + 1) * per_step, dtype=tf.int64)
        images = tf.cast(tf.reshape(index, (-1, 1, 1)), tf.float32) * tf.ones((1, 2, 1))
        found.append(show(images, index).numpy())
    found = np.array(found)
    assert (found[:, :, :1] == found).all()
    return found[:, :, 0, 0].astype(int)


@pytest.mark.parametrize("size, per_step", [(5, 1), (7, 2), (50, 1)])
def test_an_older_image_is_shown_once_and_the_newest_takes_its_place(size, per_step):
    numbers, steps = shown(size, per_step, 600), size // per_step
    assert (numbers[:steps] == np.arange(steps * per_step).reshape(-1, per_step)).all()
    kept = [set(numbers[:steps, place]) for place in range(per_step)]
    for step in range(steps, len(numbers)):
        for place, number in enumerate(numbers[step]):
            newest = step * per_step + place
            if number != newest:
                kept[place].remove(number)  # fails for an image that was shown in place of another before
                kept[place].add(newest)
    older = (numbers[steps:] != np.arange(steps * per_step, numbers.size).reshape(-1, per_step)).mean()
    assert abs(older - 0.5) < 5 * 0.5 / np.sqrt(numbers[steps:].size)


def test_every_image_that_is_kept_is_as_likely_to_be_shown():
    numbers = shown(8, 1, 2000)[:, 0]
    steps = np.arange(len(numbers))
    ages = (steps - numbers)[numbers != steps]
    # An image is shown with a chance of 1/2 * 1/8 per step: ages are geometric, with a mean of 16 and a spread of 15.5.
    assert abs(ages.mean() - 16) < 5 * 15.5 / np.sqrt(len(ages))


def test_the_seed_decides():
    one, same, other = (shown(4, 1, 60, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.one_stack
def test_kinds_have_pools_of_their_own():
    """Whatever the places' kinds are: each is filled first, holds no more than its size, and shows its own images."""
    model = TrainingModel(seed=0, per_step=2)
    history = ImagePool(6, (1, 1), model, tag=3, kinds=2)
    show = tf.function(lambda images, index, kind: history.shown(images, {"index": index}, model, kind))
    rng, given, older = np.random.default_rng(0), np.zeros((2, 2), int), []
    kept = {(kind, place): set() for kind in range(2) for place in range(2)}
    for step in range(200):
        index, kinds = np.arange(2 * step, 2 * step + 2), (rng.random(2) < 0.3).astype(int)
        numbers = index + 1
        found = (
            show(numbers.reshape(2, 1, 1).astype(np.float32), tf.constant(index), tf.constant(kinds)).numpy().ravel()
        )
        for place, (kind, number, seen) in enumerate(zip(kinds, numbers, found.astype(int), strict=True)):
            pool = kept[kind, place]
            if given[kind, place] < 3:
                assert seen == number
                pool.add(number)
            else:
                older.append(seen != number)
                if seen != number:
                    pool.remove(seen)
                    pool.add(number)
            given[kind, place] += 1
    assert abs(np.mean(older) - 0.5) < 5 * 0.5 / np.sqrt(len(older))
    stored = history.images.numpy().reshape(3, 2, 2).astype(int)  # (step, kind, place), as slots are numbered
    assert all(set(stored[:, kind, place]) == pool for (kind, place), pool in kept.items())
    np.testing.assert_array_equal(history.given.numpy().reshape(2, 2), given)
