"""The phantom of B-mode ultrasound: anatomy apart from the probe, Rayleigh speckle, artefacts where the mask says."""

import itertools

import numpy as np
import pytest
from scipy import stats

from tfmed.data import phantoms, sources
from tfmed.data.phantoms import ultrasound
from tfmed.data.phantoms.ultrasound import ARTERY, NEEDLE, PROBES, VEIN, Probe, _envelope
from tfmed.errors import DataError, UserError

pytestmark = pytest.mark.one_stack

SHAPE = (128, 160)


def test_repeats_and_differs():
    one, again, other = (ultrasound(seed, SHAPE, reverberation=1) for seed in (3, 3, 4))
    for name in ("volume", "clean", "artefact", "labels"):
        np.testing.assert_array_equal(getattr(one, name).array, getattr(again, name).array)
        assert (getattr(one, name).array != getattr(other, name).array).any()
        assert getattr(one, name).array.shape == (1, *SHAPE)
    assert one.volume.array.dtype == np.int16 and one.volume.array.min() >= 0 and one.volume.array.max() <= 255


def test_the_probe_changes_the_look_and_not_the_anatomy():
    pictures = [ultrasound(5, (256, 256), probe) for probe in PROBES]
    for one, other in itertools.pairwise(pictures):
        np.testing.assert_array_equal(one.labels.array, other.labels.array)
    grain = [np.abs(np.diff(p.volume.array[0].astype(float), axis=1)).mean() for p in pictures]
    assert grain[1] < 0.8 * grain[0] < grain[2]  # handheld is blurred, high frequency is finer


def test_speckle_of_even_tissue_is_rayleigh_s():
    look = Probe(1.0, 1.0, 0, 60, 0)
    envelope = _envelope(np.random.default_rng(0), np.zeros((600, 600)), look, 1.0)[20:-20:6, 20:-20:6].ravel()
    assert stats.kstest(envelope, stats.rayleigh(scale=0.5**0.5).cdf).pvalue > 0.01
    assert envelope.mean() / envelope.std() == pytest.approx(1.913, rel=0.03)


def test_vessels_are_dark_and_the_needle_is_bright():
    for seed in range(4):
        made = ultrasound(seed, (256, 256), veins=2, arteries=1, needle=1)
        image, labels = made.volume.array[0], made.labels.array[0]
        assert {VEIN, ARTERY, NEEDLE} <= set(np.unique(labels))
        rest = np.median(image[labels == 0])
        assert np.median(image[labels == VEIN]) < 0.5 * rest and np.median(image[labels == ARTERY]) < 0.5 * rest
        assert np.median(image[labels == NEEDLE]) > 1.2 * rest
    assert not ultrasound(0, SHAPE, veins=0, arteries=0).labels.array.any()


def test_reverberation_is_where_its_mask_is():
    made = ultrasound(2, (256, 256), reverberation=2)
    changed = np.abs(made.volume.array - made.clean.array)
    assert 0.005 < made.artefact.array.mean() < 0.3
    assert changed[made.artefact.array == 0].max() <= 8 and changed[made.artefact.array == 1].mean() > 20
    assert not ultrasound(2, (256, 256)).artefact.array.any()


def test_faint_stretches_give_no_echo():
    """They are on the needle, which its masks have as a whole; nothing else changes, and without any, nothing does."""
    for seed in range(4):
        bare, whole, faint = (ultrasound(seed, (256, 256), **k) for k in ({}, {"needle": 1}, {"needle": 1, "faint": 2}))
        shaft = whole.needle.array[0] > 0
        np.testing.assert_array_equal(shaft, whole.labels.array[0] == NEEDLE)
        np.testing.assert_array_equal(faint.needle.array[0] > 0, shaft)
        np.testing.assert_array_equal(faint.clean.array, whole.volume.array)
        changed = faint.artefact.array[0] > 0
        columns = np.flatnonzero((changed & shaft).any(0))
        length = np.ptp(np.flatnonzero(shaft.any(0)))
        assert 0.12 * length < len(columns) < 0.4 * length
        away = ~np.isin(np.arange(256), columns[:, None] + np.arange(-8, 9))
        np.testing.assert_array_equal(faint.volume.array[..., away], whole.volume.array[..., away])
        inner = changed & shaft
        assert (
            np.abs(faint.volume.array[0] - bare.volume.array[0])[inner].mean()
            < 0.5 * (whole.volume.array[0].astype(int) - bare.volume.array[0])[inner].mean()
        )
        assert not whole.artefact.array.any() and not bare.needle.array.any()


def test_the_source_names_what_there_is_of_a_needle():
    plain, needle, faint = (sources.open("phantom_ultrasound", cases=1, shape=(32, 32), **k)[0].images
                            for k in ({}, {"needle": 1}, {"needle": 1, "faint": 1}))  # fmt: skip
    assert (list(plain), list(needle)) == (["image"], ["image", "needle"])
    assert list(faint) == ["image", "clean", "artefact", "needle"] and "faint" not in needle["image"]
    with pytest.raises(UserError, match="faint stretches are a needle's; set needle to 1"):
        ultrasound(0, SHAPE, faint=1)


def test_the_source_deals_the_probes_in_turn():
    cases = sources.open("phantom_ultrasound", cases=5, shape=(32, 32), unlabelled=1, reverberation=1)
    assert [case.meta["domain"] for case in cases] == ["linear", "handheld", "linear", "handheld", "linear"]
    assert [case.label is None for case in cases] == [False, False, False, False, True]
    assert list(cases[0].images) == ["image", "clean", "artefact"]
    assert phantoms.read(cases[0].images["artefact"]).array.shape == (1, 32, 32)
    with pytest.raises(DataError, match="probes are some of linear, handheld"):
        sources.open("phantom_ultrasound", probes=("convex",))
    for bad in ({"shape": (8, 8)}, {"probe": "convex"}, {"veins": 9}, {"needle": 2}):
        with pytest.raises(UserError, match="phantom ultrasound"):
            ultrasound(0, **bad)
