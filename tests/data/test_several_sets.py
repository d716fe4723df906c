"""Several data sets in one batch: coding of channels and classes, mixtures of samples, shared files."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tfmed.data.case import Case
from tfmed.data.several_sets import SetCoding, same_scans, set_weights
from tfmed.data.streams import Mixture, Streams

pytestmark = pytest.mark.current

SETS = st.lists(st.tuples(st.integers(1, 4), st.integers(2, 5)), min_size=1, max_size=4)


@given(SETS, st.booleans(), st.integers(0, 2**31))
def test_channel_coding_is_undone_and_leaves_all_else_0(sets, slots, seed):
    coding = SetCoding(*map(tuple, zip(*sets, strict=True)), slots=slots)
    channels = [count for count, _ in sets]
    assert coding.total_channels == (sum(channels) if slots else max(channels))
    filled = np.zeros(coding.total_channels, int)
    for number, count in enumerate(channels):
        image = np.random.default_rng(seed).uniform(1, 2, (2, 3, 2, count)).astype("float32")
        coded = coding.image(image, number)
        assert coded.shape == (2, 3, 2, coding.total_channels) and coded.dtype == np.float32
        np.testing.assert_array_equal(coding.own_image(coded, number), image)
        assert coded.sum(dtype=np.float64) == pytest.approx(image.sum(dtype=np.float64))
        assert np.count_nonzero(coded) == image.size
        filled += (coded != 0).any((0, 1, 2))
    if slots:
        np.testing.assert_array_equal(filled, 1)  # no two sets have a channel in common


@given(SETS, st.booleans(), st.integers(0, 2**31))
def test_label_coding_is_a_bijection_and_sets_share_the_background_alone(sets, shared, seed):
    coding = SetCoding(*map(tuple, zip(*sets, strict=True)), shared_background=shared)
    seen = []
    for number, (_, classes) in enumerate(sets):
        label = np.random.default_rng(seed).integers(0, classes, (3, 4, 5)).astype(np.uint8)
        coded = coding.label(label, number)
        np.testing.assert_array_equal(coding.own_label(coded, number), label)
        one_hot = tf.one_hot(coded, coding.total_classes).numpy()
        np.testing.assert_array_equal(one_hot.sum(-1), 1)
        numbers = coding.numbers(number)
        assert len(set(numbers)) == classes and (coded == 0).any() <= (0 in numbers)
        np.testing.assert_array_equal(np.array(numbers)[label], coded)
        assert [k for k, counts in enumerate(coding.counted(number)) if counts] == sorted(numbers)
        seen += numbers
    assert set(seen) == set(range(coding.total_classes))
    assert len(seen) - len(set(seen)) == (len(sets) - 1 if shared else 0)


def test_the_papers_pairs():
    """Hearts: 2 channels and 6 classes; brains: 6 channels and 5 classes; a background for each is one more."""
    heart, brain = SetCoding((1, 1), (3, 4)), SetCoding((2, 4), (2, 4))
    assert (heart.total_channels, heart.total_classes) == (2, 6)
    assert (heart.numbers(0), heart.numbers(1)) == ((0, 1, 2), (0, 3, 4, 5))
    assert (brain.total_channels, brain.total_classes) == (6, 5) and brain.slot(1) == (2, 6)
    assert SetCoding((1, 1), (3, 4), shared_background=False).total_classes == 7


def test_what_does_not_fit_is_refused():
    coding = SetCoding((1, 2), (2, 3))
    with pytest.raises(ValueError, match="has 2 channels, and the image 1"):
        coding.image(np.zeros((3, 1)), 1)
    for label in ([0, 3], [-1]):
        with pytest.raises(ValueError, match="classes 0 to 2"):
            coding.label(np.array(label), 1)
    for channels, classes in (((1,), (2, 2)), ((), ()), ((0,), (2,)), ((1,), (1,))):
        with pytest.raises(ValueError):
            SetCoding(channels, classes)


def test_many_classes_need_more_than_a_byte():
    coding = SetCoding((1, 1), (200, 200))
    assert coding.label(np.array([199]), 1).tolist() == [398] and coding.own_label(np.array([398]), 1).tolist() == [199]


@pytest.mark.parametrize("target, others", [(0.95, 1), (0.95, 3), (0.5, 2), (0.0, 1), (1.0, 4), (0.3, 0)])
def test_weights_of_sets_are_together_1(target, others):
    weights = set_weights(target, others)
    assert sum(weights) == pytest.approx(1) and len(weights) == others + 1 and min(weights) >= 0
    assert weights[0] == (target if others else 1) and len(set(weights[1:])) <= 1
    with pytest.raises(ValueError, match="from 0 to 1"):
        set_weights(1.5, 1)


COUNTS = st.lists(st.integers(0, 6), min_size=1, max_size=4).filter(any)


@given(COUNTS, st.integers(0, 4))
def test_mixtures_divide_and_join_in_order(counts, step):
    """Also of unequal parts: what belongs to a stream comes out in its order, and goes back to where it was."""
    mixture = Mixture(tuple(counts))
    indices = range(step * mixture.per_step, (step + 1) * mixture.per_step)
    places = [mixture.place(index) for index in indices]
    rows = tf.constant([[stream, number] for stream, number in places])
    divided = mixture.divide(rows)
    for stream, count in enumerate(counts):
        expected = [[stream, number] for number in range(step * count, (step + 1) * count)]
        assert divided[stream].numpy().tolist() == expected
    np.testing.assert_array_equal(mixture.join(divided), rows)


def test_every_share_of_a_batch_holds_all_streams_alike():
    mixture = Mixture((2, 4, 6))
    assert (mixture.periods, mixture.cycle) == (2, (1, 2, 3))
    streams = [mixture.place(index)[0] for index in range(12)]
    assert streams == [0, 1, 1, 2, 2, 2] * 2


def test_streams_are_a_mixture_of_two():
    streams = Streams(2, 6)
    assert [streams.place(index) for index in range(4)] == [(True, 0), (False, 0), (False, 1), (False, 2)]
    labelled, unlabelled = Streams(3).divide(tf.range(3))
    assert labelled.numpy().tolist() == [0, 1, 2] and len(unlabelled) == 0


def test_scans_of_both_sets_are_found():
    held = {"x": "1", "y": "2", "copy of y": "2", "z": "3"}

    def content(address):
        if address not in held:
            raise FileNotFoundError(address)
        return held[address]

    one = [Case("a", "a", {"mr": "x"}), Case("b", "b", {"mr": "y", "ct": "gone"})]
    assert same_scans(one, [Case("c", "c", {"t1": "copy of y", "t2": "z"})], content) == ["copy of y"]
    assert same_scans(one, [Case("a", "a", {"mr": "z", "ct": "gone"})], content) == []
