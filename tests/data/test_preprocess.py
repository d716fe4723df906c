"""Preprocessing steps against scipy and SimpleITK, with the geometry."""

import numpy as np
import pydantic
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tfmed.data.preprocess import Orient, Resample, Step, Window, onto_grid, resample, run
from tfmed.io import Volume, orientation, read_volume, write_volume

pytestmark = pytest.mark.current

SHAPES = st.tuples(*[st.integers(1, 9)] * 3)
STEP = pydantic.TypeAdapter(Step)


def oblique(spacing=(2.5, 0.7, 0.8), angle=0.3):
    """An affine with rotated axes."""
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ tilt @ np.diag(spacing[::-1])
    affine[:3, 3] = 91.5, -120.25, -310
    return affine


def ct(shape=(9, 12, 14), seed=0, dtype="int16"):
    return Volume(np.random.default_rng(seed).integers(-900, 900, shape).astype(dtype), oblique())


def labels(shape=(9, 12, 14), seed=0):
    return Volume(np.random.default_rng(seed).integers(0, 5, shape).astype("uint8"), oblique())


def world(volume):
    """Millimetres of every voxel centre, `(voxels, 3)`."""
    z, y, x = (index.ravel() for index in np.indices(volume.shape))
    return (volume.affine @ np.stack([x, y, z, np.ones_like(x)]))[:3].T


def sampled(volume, points, order):
    """scipy's values of a volume at points in mm; beyond the outermost centres as at the border."""
    x, y, z = (np.linalg.inv(volume.affine) @ np.vstack([points.T, np.ones(len(points))]))[:3]
    return ndimage.map_coordinates(volume.array.astype(float), [z, y, x], order=order, mode="nearest")


# --- resample -------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(SHAPES, SHAPES, st.integers(0, 100))
def test_images_equal_scipy_at_the_same_points_in_space(old, new, seed):
    volume = ct(old, seed)
    found = resample(volume, new)
    assert found.shape == new and found.array.dtype == np.float32
    expected = sampled(volume, world(found), order=1).reshape(new)
    np.testing.assert_allclose(found.array, expected, atol=2e-2)


def test_images_equal_simpleitk_on_the_new_grid(tmp_path):
    volume = ct()
    found = resample(volume, (14, 9, 20))
    for name, content in (("old.nii", volume), ("new.nii", found)):
        write_volume(content, tmp_path / name)
    old, new = (sitk.ReadImage(str(tmp_path / name), sitk.sitkFloat32) for name in ("old.nii", "new.nii"))
    expected = sitk.GetArrayFromImage(sitk.Resample(old, new, sitk.Transform(), sitk.sitkLinear, -1e6))
    inside = expected > -1e5
    assert inside.mean() > 0.5
    np.testing.assert_allclose(found.array[inside], expected[inside], atol=2e-2)


@settings(max_examples=40, deadline=None)
@given(SHAPES, SHAPES)
def test_the_field_of_view_stays(old, new):
    """The outer corners of the first and last voxel are where they were."""
    volume = ct(old)
    found = resample(volume, new)
    for corner in ((0, 0, 0), (1, 1, 1), (1, 0, 1)):
        edges = [v.affine @ [*(np.array(corner) * v.shape[::-1] - 0.5), 1] for v in (volume, found)]
        np.testing.assert_allclose(*edges, atol=1e-9)


@pytest.mark.parametrize("new", [(18, 24, 28), (40, 23, 31), (13, 19, 21)])
def test_a_landmark_stays_where_it_is(new):
    volume = Volume(np.zeros((20, 24, 28), "float32"), oblique())
    landmark = (volume.affine @ [13.3, 10.8, 9.4, 1])[:3]
    squared = ((world(volume) - landmark) ** 2).sum(axis=1)
    volume = volume.replace(array=np.exp(-squared / 50).reshape(volume.shape).astype("float32"))
    found = resample(volume, new)
    weights = found.array.ravel()
    np.testing.assert_allclose(weights @ world(found) / weights.sum(), landmark, atol=0.25)


@settings(max_examples=40, deadline=None)
@given(SHAPES, SHAPES, st.integers(0, 100))
def test_labels_keep_their_values_and_dtype(old, new, seed):
    volume = labels(old, seed)
    found = resample(volume, new, is_label=True)
    assert found.array.dtype == np.uint8
    assert set(np.unique(found.array)) <= set(np.unique(volume.array))


def test_labels_take_the_nearest_voxel():
    """Odd factors have no ties: each new voxel has one nearest old one."""
    volume = labels()
    fine = resample(volume, (27, 36, 42), is_label=True)
    np.testing.assert_array_equal(fine.array, volume.array.repeat(3, 0).repeat(3, 1).repeat(3, 2))
    np.testing.assert_array_equal(resample(fine, volume.shape, is_label=True).array, volume.array)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64", ">i2", ">f4", ">u2"])
def test_dtypes_and_byte_orders(dtype):
    volume = ct().replace(array=(ct().array % 100).astype(dtype))
    native = volume.replace(array=volume.array.astype(np.dtype(dtype).newbyteorder("=")))
    for is_label in (False, True):
        found = resample(volume, (4, 5, 6), is_label)
        np.testing.assert_array_equal(found.array, resample(native, (4, 5, 6), is_label).array)
        assert found.array.dtype == (native.array.dtype if is_label else np.float32)


def test_masks_stay_masks():
    """Bool, which SimpleITK does not know, is what uint8 gives; as an image it is 0 and 1."""
    mask = labels().replace(array=labels().array > 0)
    numbers = mask.replace(array=mask.array.astype("uint8"))
    turned = mask.affine @ np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0.3], [0, 0, 0, 1.0]])
    for move in (lambda volume: resample(volume, (5, 6, 7), is_label=True),
                 lambda volume: onto_grid(volume, (5, 6, 7), turned, is_label=True)):  # fmt: skip
        assert move(mask).array.dtype == bool
        np.testing.assert_array_equal(move(mask).array, move(numbers).array.astype(bool))
    np.testing.assert_array_equal(resample(mask, (5, 6, 7)).array, resample(numbers, (5, 6, 7)).array)


def test_a_constant_stays_constant_up_to_the_border():
    volume = Volume(np.full((3, 4, 5), -1000, "int16"), oblique())
    np.testing.assert_array_equal(resample(volume, (31, 41, 29)).array, np.float32(-1000))
    np.testing.assert_array_equal(resample(volume, (31, 41, 29), is_label=True).array, -1000)


def test_channels_are_resampled_each():
    volume = Volume(np.stack([ct(seed=i).array for i in range(2)], axis=-1), oblique())
    found = resample(volume, (4, 20, 9))
    assert found.array.shape == (4, 20, 9, 2)
    for i in range(2):
        np.testing.assert_array_equal(found.array[..., i], resample(ct(seed=i), (4, 20, 9)).array)


@pytest.mark.parametrize("is_label", [False, True])
def test_the_same_shape_is_the_identity(is_label):
    volume = ct()
    found = Resample(shape=volume.shape).apply(volume, is_label)
    np.testing.assert_array_equal(found.array, volume.array)
    np.testing.assert_array_equal(found.affine, volume.affine)
    assert found.array.dtype == (np.int16 if is_label else np.float32)


def test_spacing_decides_the_shape():
    found = Resample(spacing_mm=(5.0, 1.4, 0.4)).apply(ct())
    assert found.shape == (4, 6, 28)  # 22.5 mm, 8.4 mm, 11.2 mm
    np.testing.assert_allclose(found.spacing, (22.5 / 4, 1.4, 0.4))
    assert Resample(spacing_mm=(2e2, 2e2, 2e2)).apply(ct()).shape == (1, 1, 1)


# --- orient, window -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SRA", "PIL"])
def test_orient_moves_voxels_and_interpolates_nothing(codes):
    volume = ct()
    found = Orient(to=codes).apply(volume)
    assert orientation(found) == codes
    assert sorted(found.array.ravel()) == sorted(volume.array.ravel())
    np.testing.assert_allclose(sampled(volume, world(found), order=0), found.array.ravel())


def test_window_clips_and_scales():
    volume = Volume(np.array([-3000, -1000, -300, 400, 3000], "int16").reshape(1, 1, 5), np.eye(4))
    np.testing.assert_allclose(Window().apply(volume).array.ravel(), [-1, -1, 0, 1, 1], atol=1e-6)
    unit = Window(window_hu=(0, 400), range=(0, 1)).apply(volume).array
    np.testing.assert_allclose(unit.ravel(), [0, 0, 0, 1, 1], atol=1e-6)
    assert unit.dtype == np.float32


HU = st.floats(-3000, 3000, width=32)


@given(st.tuples(HU, HU).filter(lambda w: w[1] - w[0] > 1), st.sampled_from([(-1.0, 1.0), (0.0, 1.0), (0.0, 255.0)]),
       st.lists(HU, min_size=1, max_size=20))  # fmt: skip
def test_window_stays_in_range_and_can_be_inverted(window, bounds, values):
    step = Window(window_hu=window, range=bounds)
    volume = Volume(np.array(values, "float32").reshape(1, 1, -1), np.eye(4))
    found = step.apply(volume).array
    slack = 1e-5 * (bounds[1] - bounds[0])
    assert found.min() >= bounds[0] - slack and found.max() <= bounds[1] + slack
    np.testing.assert_allclose(step.invert(found), np.clip(volume.array, *window), atol=2e-6 * 6000)


def test_window_leaves_labels_alone():
    assert Window().apply(labels(), is_label=True).array is not None
    np.testing.assert_array_equal(Window().apply(labels(), is_label=True).array, labels().array)


def test_steps_are_applied_in_order():
    steps = STEP.validate_python({"step": "resample", "shape": [3, 4, 5]}), STEP.validate_python({"step": "window"})
    found = run(steps, ct())
    np.testing.assert_array_equal(found.array, Window().apply(resample(ct(), (3, 4, 5))).array)
    assert run((), ct()).array.dtype == np.int16


def test_steps_of_a_file_and_back(tmp_path):
    """A prepared volume can be written and read with its new geometry."""
    found = run((Orient(), Resample(shape=(5, 6, 7))), ct())
    write_volume(found, tmp_path / "prepared.nii.gz")
    back = read_volume(tmp_path / "prepared.nii.gz")
    np.testing.assert_array_equal(back.array, found.array)
    np.testing.assert_allclose(back.affine, found.affine, atol=1e-4)


@pytest.mark.parametrize("step", [
    {"step": "resample"}, {"step": "resample", "shape": [1, 2, 3], "spacing_mm": [1, 1, 1]}, {"step": "turn"}, {},
    {"step": "resample", "shape": [0, 1, 1]}, {"step": "resample", "spacing_mm": [-1, 1, 1]}, None, 3, "window",
    {"step": "resample", "spacing_mm": [1, 1]}, {"step": "resample", "spacing_mm": [float("inf"), 1, 1]},
    {"step": "window", "window_hu": [400, -1000]}, {"step": "window", "hu": 3}, {"step": "window", "range": [1, 1]},
    {"step": "orient", "to": "XYZ"},
], ids=str)  # fmt: skip
def test_impossible_steps_are_refused(step):
    with pytest.raises(pydantic.ValidationError):
        STEP.validate_python(step)
