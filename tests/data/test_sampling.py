"""Randomness as a pure function of (seed, index)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfmed.data.sampling import generator, shuffled

pytestmark = pytest.mark.current

SEEDS = st.integers(0, 2**31 - 1)
INDICES = st.integers(0, 2**40)


def draw(seed, *keys):
    return generator(seed, *keys).integers(0, 2**63, 4).tolist()


@given(SEEDS, st.lists(INDICES, max_size=3))
def test_same_keys_same_numbers(seed, keys):
    first = draw(seed, *keys)
    generator(seed + 1, *keys).random(5)  # what else is drawn does not matter
    np.random.default_rng(0).random(5)
    assert draw(np.int64(seed), *map(np.int64, keys)) == first


@given(SEEDS, INDICES, INDICES)
def test_other_keys_other_numbers(seed, a, b):
    different = [draw(seed, a), draw(seed + 1, a), draw(seed, a, 1), draw(seed, a, b, 7), draw(seed, a + 1)]
    assert len({tuple(numbers) for numbers in different}) == len(different)


def test_the_numbers_do_not_change_between_versions():
    """Written down once: a change here would break the resuming of every run."""
    assert generator(3, 14).integers(0, 1000, 4).tolist() == [178, 723, 860, 919]
    assert [shuffled(3, i, 5) for i in range(10)] == [4, 3, 0, 1, 2, 2, 0, 3, 1, 4]


@given(SEEDS, st.integers(1, 40), st.integers(0, 1000))
def test_each_epoch_visits_every_item_once(seed, count, epoch):
    visited = [shuffled(seed, epoch * count + i, count) for i in range(count)]
    assert sorted(visited) == list(range(count))


@given(SEEDS, st.integers(1, 40), st.lists(st.integers(0, 10**6), min_size=1, max_size=30))
def test_random_access_equals_reading_in_order(seed, count, indices):
    anyhow = [shuffled(seed, i, count) for i in indices]
    assert anyhow == [shuffled(seed, i, count) for i in reversed(indices)][::-1]
    assert all(0 <= item < count for item in anyhow)


def test_epochs_have_orders_of_their_own():
    orders = {tuple(shuffled(0, epoch * 20 + i, 20) for i in range(20)) for epoch in range(30)}
    assert len(orders) == 30


def test_every_item_is_equally_often_first():
    first = [shuffled(seed, 0, 4) for seed in range(400)]
    assert np.bincount(first, minlength=4).min() > 70  # 100 expected, standard deviation 9
