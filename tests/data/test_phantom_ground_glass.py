"""The phantom of ground-glass lesions: repeatable, two kernels of one scan, labels where the cloud is."""

import numpy as np
import pytest

from tfmed.data import phantoms, sources
from tfmed.data.phantoms.chest_ct import LABELS as CHEST
from tfmed.errors import DataError, UserError

pytestmark = pytest.mark.current

SHAPE = (8, 64, 64)


def made(seed, shape=SHAPE, **options):
    return phantoms.ground_glass(seed, shape, field_of_view_mm=300.0, **options)


def test_repeats_and_differs():
    one, again, other = (made(seed) for seed in (3, 3, 4))
    for name in ("soft", "sharp", "labels"):
        first, second, third = (getattr(scan, name).array for scan in (one, again, other))
        np.testing.assert_array_equal(first, second)
        assert (first != third).any()
    assert one.soft.array.dtype == np.int16 and one.labels.array.dtype == np.uint8 and one.soft.shape == SHAPE
    assert np.array_equal(one.soft.affine, one.labels.affine) and one.soft.array.min() < -1000


def test_lesions_are_cloudy_lung():
    """Between lung and soft tissue, inside of the lungs, and nowhere without lesions."""
    for seed in range(4):
        scan = made(seed, lesions=6, noise_hu=0.0)
        chest = phantoms.chest_ct(seed, SHAPE, noise_hu=0.0, streaks=0.0, field_of_view_mm=300.0, length_mm=300.0)
        lesion, lung = scan.labels.array > 0, chest.labels.array == CHEST["lungs"]
        assert 0.002 < lesion.mean() < 0.2
        cloud, clear = (np.median(scan.soft.array[part]) for part in (lesion, lung & ~lesion))
        assert max(-720, clear + 100) < cloud < -350
        assert (chest.labels.array[lesion] != CHEST["body"]).all()
    assert not made(0, lesions=0).labels.array.any()


def test_kernels_are_of_one_scan():
    """They show the same chest; the sharp one is noisier at high frequencies, and both have one mean."""
    scan = made(1)
    soft, sharp = (volume.array[4].astype(float) for volume in (scan.soft, scan.sharp))
    bands = [np.abs(np.fft.fft2(image)) ** 2 for image in (soft, sharp)]
    radius = np.hypot(*np.meshgrid(*[np.fft.fftfreq(64)] * 2))
    low, high = (bands[1][part].sum() / bands[0][part].sum() for part in (radius < 0.05, radius > 0.35))
    assert low == pytest.approx(1, abs=0.1) and high > 5
    calm = made(1, noise_hu=0.0)  # noise of air is cut at -1024 HU
    assert abs(calm.soft.array.mean() - calm.sharp.array.mean()) < 5
    plain = made(1, softness=0.0, sharpness=0.0)
    np.testing.assert_array_equal(plain.soft.array, plain.sharp.array)


def test_lesions_do_not_depend_on_the_resolution():
    coarse, fine = (made(2, (16, n, n), lesions=20).labels.array.mean() for n in (48, 96))
    assert coarse == pytest.approx(fine, rel=0.2)


def test_source():
    cases = sources.open("phantom_ground_glass", cases=4, shape=[8, 16, 16], unlabelled=1)
    assert [sorted(case.images) for case in cases] == [["ct", "ct_sharp"]] * 4
    assert [case.label is None for case in cases] == [False] * 3 + [True]
    assert len({case.group for case in cases}) == 4
    soft, sharp, label = (phantoms.read(a) for a in (*cases[0].images.values(), cases[0].label))
    assert soft.shape == sharp.shape == label.shape == (8, 16, 16) and (soft.array != sharp.array).any()


@pytest.mark.parametrize("options, said", [
    ({"lesions": 51}, "lesions must be 0 to 50"), ({"radius_mm": (9.0, 3.0)}, "radius_mm is low,high"),
    ({"noise_hu": -1.0}, "noise_hu must be"), ({"softness": 21.0}, "softness must be"), ({"shape": (8, 8)}, "shape is"),
    ({"sharpness": -0.1}, "sharpness must be"),
])  # fmt: skip
def test_bad_arguments(options, said):
    with pytest.raises(UserError, match=f"phantom ground_glass: {said}"):
        phantoms.ground_glass(0, **({"shape": SHAPE} | options))


def test_bad_options_of_the_source():
    with pytest.raises(DataError, match="cases must be an integer from 1"):
        sources.open("phantom_ground_glass", cases=0)
