"""Patches and the two streams of a batch: pure functions of the number, every slice once per epoch, even classes."""

import collections

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tfmed.data.cache import Prepared
from tfmed.data.case import Case
from tfmed.data.patches import Patches
from tfmed.data.streams import Streams

pytestmark = pytest.mark.current

SIZES = ((5, 9, 12), (1, 16, 7), (8, 8, 8))


def volumes(sizes=SIZES, foreground=True, label=True):
    """[(case, Prepared)]: images whose two channels tell the voxel's number in its case, and the case."""
    made = []
    for k, size in enumerate(sizes):
        numbers = np.arange(np.prod(size), dtype="float32").reshape(size)
        classes = np.zeros(size, "uint8")
        if foreground:
            classes[size[0] // 2, 1:4, 2:5] = 1
            classes[size[0] // 2, size[1] - 1, size[2] - 1] = 2  # a single voxel, at a corner
        image = np.stack([numbers, np.full(size, k, "float32")], -1)
        made.append((Case(f"case{k}", f"case{k}", {}), Prepared(image, classes if label else None, np.eye(4), None)))
    return made


def drawn(made, *arguments, **options):
    opened = {case.id: prepared for case, prepared in made}
    return Patches(lambda case: opened[case.id], [case for case, _ in made], *arguments, **options)


def place(image, size):
    """Voxels (z, y, x) that a patch shows, of its case."""
    return np.stack(np.unravel_index(image[..., 0].astype(int), size), -1)


PATCHES = st.tuples(st.integers(1, 9), st.integers(1, 14), st.integers(1, 14))


@given(PATCHES, st.integers(0, 2**40), st.integers(0, 9), st.sampled_from([0.0, 0.5, 1.0]))
def test_a_patch_is_a_pure_function_of_its_number(shape, number, seed, foreground):
    made = volumes()
    first, second = drawn(made, shape, seed, foreground), drawn(made, shape, seed, foreground)
    for other in (number + 1, 3, number // 2):
        second(other)
    for ours, theirs in zip(first(number)[:2], second(number)[:2], strict=True):
        np.testing.assert_array_equal(ours, theirs)


@given(PATCHES, st.integers(0, 999), st.sampled_from([0.0, 1.0]))
def test_patches_are_parts_of_their_case_with_its_border_continued(shape, number, foreground):
    made = volumes()
    image, label, case = drawn(made, shape, 0, foreground)(number)
    whole = dict((c.id, p) for c, p in made)[case.id]
    assert image.shape == (*shape, 2) and label.shape == shape
    where, size = place(image, whole.image.shape[:3]), whole.image.shape[:3]
    np.testing.assert_array_equal(label, whole.label[tuple(np.moveaxis(where, -1, 0))])
    np.testing.assert_array_equal(image[..., 1], int(case.id[4:]))
    for axis in range(3):
        line = np.moveaxis(where[..., axis], axis, 0).reshape(shape[axis], -1)
        assert (line == line[:, :1]).all()
        before = (shape[axis] - size[axis]) // 2 if shape[axis] > size[axis] else None
        expected = line[0, 0] + np.arange(shape[axis])
        if before is not None:  # smaller than the patch: it lies in the middle
            expected = np.clip(np.arange(shape[axis]) - before, 0, size[axis] - 1)
        np.testing.assert_array_equal(line[:, 0], expected)


@pytest.mark.parametrize("foreground", [0.0, 0.5, 1.0])
def test_every_slice_once_per_epoch(foreground):
    made = volumes()
    patches, slices = drawn(made, (1, 4, 4), 7, foreground), sum(size[0] for size in SIZES)
    orders = []
    for epoch in range(3):
        seen = []
        for number in range(epoch * slices, (epoch + 1) * slices):
            image, _, case = patches(number)
            seen.append((case.id, place(image, SIZES[int(case.id[4:])])[0, 0, 0, 0]))
        assert sorted(seen) == [(f"case{k}", z) for k, size in enumerate(SIZES) for z in range(size[0])]
        orders.append(tuple(seen))
    assert len(set(orders)) == 3


def test_deep_patches_visit_every_case_once_per_epoch():
    patches = drawn(volumes(), (3, 4, 4), 7)
    for epoch in range(4):
        assert {patches(epoch * 3 + i)[2].id for i in range(3)} == {"case0", "case1", "case2"}


@given(PATCHES.filter(lambda shape: shape[0] > 1), st.integers(0, 10**6))
def test_foreground_share_of_one_always_shows_foreground(shape, number):
    assert drawn(volumes(), shape, 1, 1.0)(number)[1].any()


def test_classes_are_shown_evenly_however_few_voxels_they_have():
    patches = drawn(volumes([(8, 32, 32)]), (2, 2, 2), 1, 1.0)  # no patch holds both classes
    shown = collections.Counter(int(patches(number)[1].max()) for number in range(600))
    assert shown[0] == 0 and abs(shown[1] - 300) < 75  # six standard deviations


def test_the_share_of_foreground():
    patches = drawn(volumes([(16, 64, 64)]), (2, 2, 2), 1, 0.3)
    hits = sum(bool(patches(number)[1].any()) for number in range(1000))
    assert 215 < hits < 390  # 300 and a few by chance


def test_slices_with_foreground_are_centred_on_it_and_others_are_not_lost():
    patches = drawn(volumes([(4, 40, 40)]), (1, 3, 3), 1, 1.0)
    for number in range(40):
        image, label, _ = patches(number)
        z = place(image, (4, 40, 40))[0, 0, 0, 0]
        assert label.any() == (z == 2)


def test_a_slice_that_is_all_foreground_has_all_its_classes():
    (case, prepared) = volumes([(1, 20, 20)])[0]
    prepared.label[:, :10], prepared.label[:, 10:] = 1, 2
    patches = drawn([(case, prepared)], (1, 1, 1), 3, 1.0)
    assert {int(patches(number)[1].item()) for number in range(20)} == {1, 2}


@pytest.mark.parametrize("made", [volumes(label=False), volumes(foreground=False)], ids=["no label", "empty label"])
def test_without_foreground_patches_are_random(made):
    patches = drawn(made, (2, 4, 4), 1, 1.0)
    starts = {tuple(patches(number)[0][0, 0, 0]) for number in range(60)}
    assert len(starts) > 20


@given(st.lists(st.integers(0, 7), min_size=1, max_size=8, unique=True), st.sampled_from([0.0, 1.0]))
def test_only_annotated_slices_are_drawn(chosen, foreground):
    patches = drawn(volumes([(8, 8, 8)]), (1, 4, 4), 3, foreground, slices={"case0": sorted(chosen)})
    seen = [place(patches(number)[0], (8, 8, 8))[0, 0, 0, 0] for number in range(2 * len(chosen))]
    assert sorted(seen) == sorted([*chosen, *chosen])


@pytest.mark.parametrize("foreground", [0.0, 1.0])
def test_deep_patches_lie_around_annotated_slices(foreground):
    """Also when they are centred on foreground: unannotated slices have labels that must not count."""
    (case, prepared), size = volumes([(20, 8, 8)])[0], (20, 8, 8)
    prepared.label[2:18] = 1
    prepared.label[5] = 2
    patches = drawn([(case, prepared)], (3, 4, 4), 3, foreground, slices={case.id: [5, 12]})
    middles = {int(place(patches(number)[0], size)[1, 0, 0, 0]) for number in range(60)}
    assert middles == {5, 12}


def test_streams_of_patches_differ():
    made = volumes()
    one, other = drawn(made, (2, 3, 3), 64), drawn(made, (2, 3, 3), 65)
    assert any(one(n)[0].tobytes() != other(n)[0].tobytes() for n in range(5))


# --- two streams ------------------------------------------------------------------------------------------------------

STREAMS = st.tuples(st.integers(1, 12), st.integers(0, 12)).map(lambda pair: Streams(*pair))


@given(STREAMS, st.integers(0, 1000))
def test_each_stream_is_numbered_without_gaps(streams, step):
    places = [streams.place(i) for i in range(step * streams.per_step, (step + 1) * streams.per_step)]
    for is_labelled, count in ((True, streams.labelled), (False, streams.unlabelled)):
        assert [n for own, n in places if own == is_labelled] == list(range(step * count, (step + 1) * count))


@given(STREAMS, st.data())
def test_contiguous_shares_hold_the_same_ratio(streams, data):
    shares = data.draw(st.sampled_from([n for n in range(1, streams.periods + 1) if streams.periods % n == 0]))
    size = streams.per_step // shares
    for first in range(0, streams.per_step, size):
        labelled = sum(streams.place(i)[0] for i in range(first, first + size))
        assert labelled * shares == streams.labelled


@given(STREAMS, st.sampled_from([(), (3,), (2, 3)]), st.booleans())
def test_divide_and_join_are_inverse(streams, rest, in_graph):
    values = np.arange(streams.per_step * int(np.prod(rest))).reshape(streams.per_step, *rest)
    tensor = tf.constant(values)
    labelled, unlabelled = streams.divide(tensor)
    mine = [streams.place(i)[0] for i in range(streams.per_step)]
    np.testing.assert_array_equal(labelled, values[mine])
    np.testing.assert_array_equal(unlabelled, values[~np.array(mine)])
    np.testing.assert_array_equal(streams.join(labelled, unlabelled), values)
    if in_graph:  # with a batch of unknown size
        both = tf.function(
            lambda t: streams.join(*streams.divide(t)), input_signature=[tf.TensorSpec((None, *rest), tensor.dtype)]
        )
        np.testing.assert_array_equal(both(tensor), values)


@pytest.mark.parametrize("labelled, unlabelled, pattern", [
    (2, 6, "LUUULUUU"), (4, 0, "LLLL"), (1, 1, "LU"), (4, 2, "LLULLU"), (3, 2, "LLLUU"), (1, 0, "L"),
])  # fmt: skip
def test_the_pattern(labelled, unlabelled, pattern):
    streams = Streams(labelled, unlabelled)
    assert "".join("UL"[streams.place(i)[0]] for i in range(streams.per_step)) == pattern
    assert "".join("UL"[streams.place(i)[0]] for i in range(streams.per_step, 2 * streams.per_step)) == pattern
