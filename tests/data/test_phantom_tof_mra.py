"""The phantom angiography: repeatable, aneurysms on vessels, spheres and labels agree, whatever the resolution."""

import numpy as np
import pytest
from scipy import ndimage

from tfmed.data import phantoms, sources
from tfmed.data.aneurysms import aneurysms_of
from tfmed.data.case import Case
from tfmed.data.phantoms.tof_mra import placed_aneurysms
from tfmed.data.spheres import draw
from tfmed.errors import DataError, UserError
from tfmed.metrics.lesions import equivalent_diameters

pytestmark = pytest.mark.current

SHAPE = (36, 60, 60)  # voxels of 1.6 mm, unless the field is smaller


def test_repeats_and_differs():
    one, again, other = (phantoms.tof_mra(seed, SHAPE) for seed in (3, 3, 4))
    for name in ("volume", "labels"):
        first, second, third = (getattr(scan, name).array for scan in (one, again, other))
        np.testing.assert_array_equal(first, second)
        assert (first != third).any()
    assert one.spheres == again.spheres != other.spheres
    assert one.volume.array.dtype == np.int16 and one.labels.array.dtype == np.uint8 and one.volume.shape == SHAPE
    assert np.array_equal(one.volume.affine, one.labels.affine) and one.volume.array.min() >= 0


def test_aneurysms_are_bright_lie_on_vessels_and_inside_of_the_image():
    field = {"field_of_view_mm": 80.0, "length_mm": 48.0}
    for seed in range(6):
        scan = phantoms.tof_mra(seed, (60, 100, 100), aneurysms=(2, 2), diameter_mm=(4.0, 9.0), noise=0.0, **field)
        image, label = scan.volume.array.astype(float), scan.labels.array > 0
        rest = np.median(image[~label])
        assert np.median(image[label]) > 1.5 * rest
        components, count = ndimage.label(label)
        assert count == 2  # apart
        around = ndimage.binary_dilation(label, iterations=2) & ~label
        for number in range(1, 3):
            shell = around & ndimage.binary_dilation(components == number, iterations=2)
            assert 0.005 < (image[shell] > 2 * rest).mean() < 0.6  # the vessel it sits on, and what is none
        for sphere in scan.spheres:
            centre = np.abs(np.array(sphere.centre_mm)) + sphere.radius_mm
            assert (centre <= [40, 40, 24]).all()
    assert not phantoms.tof_mra(0, SHAPE, aneurysms=0).labels.array.any()


def test_labels_are_the_spheres():
    scan = phantoms.tof_mra(1, (96, 160, 160), diameter_mm=(3.0, 20.0))
    np.testing.assert_array_equal(scan.labels.array > 0, draw(scan.spheres, scan.labels.shape, scan.labels.affine) > 0)
    sizes = equivalent_diameters(scan.labels.array, scan.labels.spacing)
    np.testing.assert_allclose(sorted(sizes), sorted(2 * one.radius_mm for one in scan.spheres), rtol=0.05)


def test_aneurysms_do_not_depend_on_the_resolution():
    coarse, fine = (phantoms.tof_mra(2, shape, noise=0.0) for shape in (SHAPE, (72, 120, 120)))
    assert coarse.spheres == fine.spheres == placed_aneurysms(2)
    blocks = fine.volume.array.astype(float).reshape(36, 2, 60, 2, 60, 2).mean((1, 3, 5))
    assert np.corrcoef(blocks.ravel(), coarse.volume.array.ravel())[0, 1] > 0.9


def test_sizes_are_those_of_people():
    """1 to 20 mm; the median near that of the paper's distribution, exp(1.188) = 3.3 mm."""
    sizes = np.array([2 * one.radius_mm for seed in range(40) for one in placed_aneurysms(seed, aneurysms=(3, 3))])
    assert len(sizes) == 120 and sizes.min() >= 1 and sizes.max() <= 20
    assert np.median(sizes) == pytest.approx(3.3, abs=0.6) and 0.25 < (sizes < 3).mean() < 0.6
    fixed = placed_aneurysms(5, aneurysms=(2, 2), diameter_mm=20.0)
    assert [2 * one.radius_mm for one in fixed] == pytest.approx([20, 20])


def test_source():
    cases = sources.open("phantom_tof_mra", cases=4, shape=list(SHAPE), unlabelled=1, aneurysms=[2, 2])
    assert [sorted(case.images) for case in cases] == [["tof"]] * 4
    assert [case.label is None for case in cases] == [False] * 3 + [True]
    assert len({case.group for case in cases}) == 4
    image, label = (phantoms.read(address) for address in (cases[0].images["tof"], cases[0].label))
    assert image.shape == label.shape == SHAPE
    found = aneurysms_of(cases[0], image.affine)
    assert len(found) == 2
    np.testing.assert_array_equal(draw(found, SHAPE, image.affine) > 0, label.array > 0)
    own = phantoms.parse(sources.open("phantom_tof_mra", cases=1)[0].images["tof"])[1]
    assert {**own, "seed": 0} == phantoms.options("tof_mra")


def test_a_case_without_aneurysms_is_not_one_that_tells_none():
    assert aneurysms_of(Case("a", "a", {}, None, {"aneurysms": []}), np.eye(4)) == []
    with pytest.raises(DataError, match="b: its source tells no aneurysms"):
        aneurysms_of(Case("b", "b", {"tof": "x.nii"}), np.eye(4))


@pytest.mark.parametrize("options, said", [
    ({"aneurysms": (3, 1)}, "aneurysms is low,high"), ({"aneurysms": 11}, "aneurysms is low,high"),
    ({"diameter_mm": (0.1, 3.0)}, "diameter_mm is low,high"), ({"noise": -1.0}, "noise must be"),
    ({"shape": (8, 8)}, "shape is"), ({"length_mm": 5.0}, "length_mm must be"), ({"seed": -1}, "seed must be"),
])  # fmt: skip
def test_bad_arguments(options, said):
    with pytest.raises(UserError, match=f"phantom tof_mra: {said}"):
        phantoms.tof_mra(**({"seed": 0, "shape": SHAPE} | options))


def test_bad_options_of_the_source():
    with pytest.raises(DataError, match="cases must be an integer from 1"):
        sources.open("phantom_tof_mra", cases=0)
