"""Episodes and instances: what an index stands for."""

import collections
import itertools

import numpy as np
import pytest

from tfmed.data.episodes import Episodes, Instances, few


def test_an_episode_is_of_one_task_and_of_distinct_items():
    episodes = Episodes((20, 40), support=8, query=8, seed=3)
    places = [episodes.place(16 * 5 + k) for k in range(16)]
    tasks, items, asked = zip(*places, strict=True)
    assert len(set(tasks)) == 1 and len(set(items)) == 16
    assert asked == (False,) * 8 + (True,) * 8
    assert not set(items[:8]) & set(items[8:])
    assert places == [Episodes((20, 40), 8, 8, seed=3).place(16 * 5 + k) for k in range(16)]
    assert places != [Episodes((20, 40), 8, 8, seed=4).place(16 * 5 + k) for k in range(16)]


def test_successive_episodes_of_a_task_differ():
    episodes = Episodes((40,), 8, 8)
    sets = [frozenset(episodes.episode(k)[1]) for k in range(50)]
    assert len(set(sets)) == 50
    frozen = Episodes((40, 50), 8, 8, frozen=True)
    seen = collections.defaultdict(set)
    for k in range(50):
        task, items = frozen.episode(k)
        seen[task].add(frozenset(items))
    assert [len(one) for one in seen.values()] == [1, 1]
    assert len({frozen.episode(k) for k in range(50)}) > 10  # in another order each time


@pytest.mark.parametrize("probabilities", [None, (0.5, 0.3, 0.2), (6, 0, 2)])
def test_tasks_come_as_often_as_they_should(probabilities):
    """Within three standard deviations over 5 000 draws."""
    episodes = Episodes((4, 4, 4), 1, 1, probabilities, seed=1)
    counts = np.bincount([episodes.episode(k)[0] for k in range(5000)], minlength=3)
    p = np.ones(3) / 3 if probabilities is None else np.array(probabilities) / sum(probabilities)
    assert (np.abs(counts - 5000 * p) <= 3 * np.sqrt(5000 * p * (1 - p))).all()


def test_an_epoch_has_as_many_items_of_each_task_as_the_smallest():
    pool = Instances((5, 9, 30), seed=2)
    epochs = [[pool.place(15 * epoch + k) for k in range(15)] for epoch in range(3)]
    for epoch in epochs:
        assert len(set(epoch)) == 15
        assert collections.Counter(task for task, _ in epoch) == {0: 5, 1: 5, 2: 5}
    chosen = [{item for task, item in epoch if task == 2} for epoch in epochs]
    assert chosen[0] != chosen[1] and chosen[1] != chosen[2]
    assert [task for task, _ in epochs[0]] != sorted(task for task, _ in epochs[0])
    frozen = Instances((5, 9), frozen=True)
    assert len({frozen.place(k) for k in range(40)}) == 2


def test_categorical_draws_a_task_and_then_an_item():
    pool = Instances((2, 50), "categorical", (1, 3), seed=5)
    drawn = [pool.place(k) for k in range(4000)]
    counts = np.bincount([task for task, _ in drawn])
    assert abs(counts[0] - 1000) <= 3 * np.sqrt(4000 * 0.25 * 0.75)
    assert {item for task, item in drawn if task == 1} == set(range(50))


@pytest.mark.parametrize(("make", "words"), [
    (lambda: Episodes((20, 15), 8, 8), "task 1 has 15 items, and an episode needs 16"),
    (lambda: Episodes((), 8, 8), "there is a task"),
    (lambda: Episodes((9,), 1, 0), "at least one item to be asked about"),
    (lambda: Episodes((9, 9), 1, 1, (1.0,)), "one for each of 2 tasks"),
    (lambda: Episodes((9,), 1, 1, (0.0,)), "not all 0"),
    (lambda: Instances((3, 0)), "items in each"),
    (lambda: Instances((3,), "all"), "truncate or categorical"),
    (lambda: few(3, 4, 0), "4 are wanted, and there are 3"),
])  # fmt: skip
def test_what_cannot_be_drawn(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_few_are_among_more():
    sets = [set(few(30, n, seed=1)) for n in (5, 10, 20, None)]
    assert [len(one) for one in sets] == [5, 10, 20, 30]
    assert all(a < b for a, b in itertools.pairwise(sets))
