"""Cropping, normalising and the grids of cases with several images: closed forms, SimpleITK, scikit-image."""

import hypothesis
import numpy as np
import pydantic
import pytest
import SimpleITK as sitk
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from skimage import exposure

from tests.data.test_preprocess import STEP, oblique, sampled, world
from tfmed.data.preprocess import (
    N4,
    Crop,
    CropForeground,
    Equalize,
    Hounsfield,
    Letterbox,
    MinMax,
    Orient,
    PercentileWindow,
    Resample,
    RobustScale,
    Window,
    ZScore,
    class_labels,
    onto_grid,
    run,
    run_together,
)
from tfmed.data.preprocess.geometry import boxed, boxed_array
from tfmed.errors import DataError
from tfmed.io import Volume

pytestmark = pytest.mark.current

SHAPES = st.tuples(*[st.integers(1, 9)] * 3)


def image(shape=(9, 12, 14), seed=0, dtype="float32", zeros=0.4):
    """A positive image with a share of zeros."""
    draw = np.random.default_rng(seed)
    values = draw.integers(1, 900, shape) * (draw.random(shape) >= zeros)
    return Volume(values.astype(dtype), oblique())


# --- crop -------------------------------------------------------------------------------------------------------------


def test_the_rule_of_brats():
    """240 -> 224 keeps 8 .. 232, and leaves an axis alone where the step has null."""
    array = np.arange(3 * 240 * 240, dtype="int32").reshape(3, 240, 240)
    found = Crop(shape=(None, 224, 224)).apply(Volume(array, np.eye(4)))
    np.testing.assert_array_equal(found.array, array[:, 8:232, 8:232])
    np.testing.assert_array_equal(found.affine[:3, 3], [8, 8, 0])


@given(SHAPES, SHAPES, st.sampled_from([0.0, -5.0]))
def test_crop_and_onto_grid_give_the_original_back_inside(old, new, fill):
    volume = image(old)
    cropped = Crop(shape=new, fill=fill).apply(volume)
    assert cropped.shape == new
    back = onto_grid(cropped, old, volume.affine)
    inside = tuple(
        slice((n - m) // 2, (n - m) // 2 + m) if n > m else slice(None) for n, m in zip(old, new, strict=True)
    )
    expected = np.zeros(old, "float32")
    expected[inside] = volume.array[inside]
    np.testing.assert_array_equal(back.array, expected)
    np.testing.assert_array_equal(back.affine, volume.affine)


@given(SHAPES, SHAPES)
def test_crop_keeps_every_voxel_at_its_place_in_the_world(old, new):
    volume = Volume(np.arange(1, np.prod(old) + 1, dtype="int32").reshape(old), oblique())
    found = Crop(shape=new).apply(volume)
    points, values = world(found), found.array.ravel()
    np.testing.assert_array_equal(sampled(volume, points[values > 0], order=0), values[values > 0])
    assert (values == 0).sum() == np.prod(new) - np.prod(np.minimum(old, new))


def test_labels_are_padded_with_background_and_images_with_fill():
    volume = Volume(np.ones((2, 2, 2), "uint8"), np.eye(4))
    step = Crop(shape=(4, 4, 5), fill=-7)
    assert step.apply(volume, is_label=True).array.sum() == 8
    padded = step.apply(volume.replace(array=volume.array.astype("float32"))).array
    assert (padded == -7).sum() == 80 - 8
    np.testing.assert_array_equal(padded[1:3, 1:3, 1:3], 1)  # the odd voxel is added at the end


@given(st.tuples(*[st.integers(1, 6)] * 3), st.tuples(*[st.integers(-9, 9)] * 3), st.tuples(*[st.integers(1, 9)] * 3))
def test_boxes_against_brute_force(size, starts, shape):
    """Any box, also one beside the volume."""
    array = np.arange(1, np.prod(size) + 1).reshape(size)
    found = boxed_array(array, starts, shape)
    for place in np.ndindex(*shape):
        source = tuple(s + p for s, p in zip(starts, place, strict=True))
        inside = all(0 <= i < n for i, n in zip(source, size, strict=True))
        assert found[place] == (array[source] if inside else 0)
    np.testing.assert_allclose(
        boxed(Volume(array, oblique()), starts, shape).affine, oblique() @ _moved(starts), atol=1e-9
    )


def _moved(starts):
    moved = np.eye(4)
    moved[:3, 3] = starts[::-1]
    return moved


# --- crop_foreground --------------------------------------------------------------------------------------------------


def test_one_box_for_all_images_and_the_label():
    """The box holds the union of the foregrounds, and labels outside of it go as well."""
    one, other = np.zeros((2, 10, 12, 14), "float32")
    one[2, 3, 5], other[6, 4, 9] = 10, 10
    label = np.arange(10 * 12 * 14).reshape(10, 12, 14) % 3
    volumes = [Volume(array, oblique()) for array in (one, other)]
    images, cut = run_together([CropForeground()], volumes, Volume(label.astype("uint8"), oblique()))
    np.testing.assert_array_equal(cut.array, label[2:7, 3:5, 5:10])
    for found, array in zip(images, (one, other), strict=True):
        np.testing.assert_array_equal(found.array, array[2:7, 3:5, 5:10])
        np.testing.assert_array_equal(found.affine, cut.affine)
    np.testing.assert_allclose(cut.affine, oblique() @ _moved((2, 3, 5)))


@pytest.mark.parametrize("axes, expected", [("z", (4, 12, 14)), ("yx", (10, 5, 6)), ("zyx", (4, 5, 6))])
def test_axes_and_margin(axes, expected):
    array = np.zeros((10, 12, 14), "float32")
    array[1:3, 4:7, 10:14] = 5  # a margin of 1; there is none beyond the border
    step = CropForeground(axes=axes, margin=1)
    assert step.apply(Volume(array, np.eye(4))).shape == (expected[0], expected[1], expected[2] - ("x" in axes))


def test_nothing_above_the_threshold():
    with pytest.raises(DataError, match="crop_foreground: no voxel is above 900; lower it"):
        run_together([CropForeground(above=900)], [image()])


def test_a_label_alone_has_no_box():
    """A method that prepares labels apart from images would otherwise cut them differently."""
    with pytest.raises(DataError, match="crop_foreground"):
        run([CropForeground()], image(dtype="uint8"), is_label=True)


# --- pairing ----------------------------------------------------------------------------------------------------------

SIZES = st.tuples(*[st.one_of(st.none(), st.integers(2, 12))] * 3)
MOVING = st.one_of(
    st.sampled_from(["RAS", "LPS", "SRA", "PIL", "AIR"]).map(lambda codes: Orient(to=codes)),
    SIZES.map(lambda shape: Crop(shape=shape)),
    st.tuples(st.integers(0, 2), st.sampled_from(["z", "zy", "yx", "zyx"])).map(
        lambda chosen: CropForeground(margin=chosen[0], axes=chosen[1])
    ),
)
RESAMPLING = st.tuples(st.integers(2, 12), *[st.integers(1, 12)] * 2).map(lambda shape: Resample(shape=shape))


@given(st.lists(RESAMPLING, max_size=1), st.lists(MOVING, max_size=4), st.integers(0, 99))
@hypothesis.settings(max_examples=60)
def test_an_image_that_shows_coordinates_stays_at_its_label(resampling, moving, seed):
    """Images hold world coordinates; wherever the steps bring a label voxel, the images tell where it came from."""
    shape = tuple(np.random.default_rng(seed).integers(3, 10, 3))
    affine = oblique()
    points = world(Volume(np.zeros(shape, "float32"), affine))
    images = [Volume((points[:, i] + 1000).reshape(shape).astype("float32"), affine) for i in range(3)]
    label = Volume(np.random.default_rng(seed).integers(1, 5, shape).astype("uint8"), affine)
    found, moved = run_together([*resampling, *moving], images, label)
    assert len({(v.shape, v.affine.tobytes()) for v in (*found, moved)}) == 1
    kept = moved.array != 0  # not padded
    np.testing.assert_array_equal(kept, found[0].array != 0)
    told = np.stack([v.array[kept] for v in found], -1).astype(np.float64) - 1000
    inner = _inside(world(moved)[kept.ravel()], affine, shape)  # beyond the outer voxel centres values continue
    np.testing.assert_allclose(told[inner], world(moved)[kept.ravel()][inner], atol=2e-2)


def _inside(points, affine, shape):
    index = (np.linalg.inv(affine) @ np.c_[points, np.ones(len(points))].T)[2::-1].T
    return ((index >= 0) & (index <= np.array(shape) - 1)).all(-1)


@given(st.lists(MOVING, max_size=5), st.integers(0, 99))
def test_an_image_that_equals_its_label_stays_equal(steps, seed):
    label = Volume(np.random.default_rng(seed).integers(1, 4, (5, 7, 6)).astype("uint8"), oblique())
    other = label.replace(array=label.array * 2)
    (found, doubled), moved = run_together(steps, [label, other], label)
    np.testing.assert_array_equal(found.array, moved.array)
    np.testing.assert_array_equal(doubled.array, 2 * moved.array)


@pytest.mark.parametrize("step", [ZScore(), RobustScale(), N4(), Equalize(), Window()], ids=lambda s: s.step)
def test_labels_pass_untouched_through_steps_of_intensity(step):
    label = image(dtype="uint8")
    assert step.apply(label, is_label=True) is label


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nonzero", [False, True])
def test_zscore(nonzero):
    volume = image()
    found = ZScore(nonzero=nonzero).apply(volume).array
    counted = volume.array != 0 if nonzero else np.ones(volume.shape, bool)
    assert found.dtype == np.float32
    assert abs(found[counted].mean(dtype=np.float64)) < 1e-6 and abs(found[counted].std(dtype=np.float64) - 1) < 1e-6
    np.testing.assert_array_equal(found[~counted], 0)
    order = np.argsort(volume.array[counted], kind="stable")
    assert (np.diff(found[counted][order]) >= 0).all()


def test_robust_scale_has_median_0_and_quartiles_1_apart():
    volume = image()
    found = RobustScale().apply(volume).array
    assert found.dtype == np.float32 and abs(np.median(found)) < 1e-5
    assert np.subtract(*np.percentile(found, (75, 25))) == pytest.approx(1, abs=1e-5)
    flat = volume.replace(array=np.where(np.arange(volume.array.size).reshape(volume.shape) < 9, 5, 3).astype("f4"))
    with pytest.raises(DataError, match="use step zscore"):
        RobustScale().apply(flat)
    with pytest.raises(tf.errors.InvalidArgumentError, match="use step zscore"):
        RobustScale().graph(tf.constant(flat.array))


def test_percentile_window_maps_two_percentiles():
    volume = image()
    found = PercentileWindow(percentiles=(1, 99), range=(-1, 3)).apply(volume).array
    low, high = np.percentile(volume.array, (1, 99))
    expected = -1 + 4 * np.clip((volume.array - low) / (high - low), 0, 1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    graph = PercentileWindow(percentiles=(1, 99), range=(-1, 3)).graph(tf.constant(volume.array))
    np.testing.assert_allclose(graph, found, atol=1e-5)
    flat = volume.replace(array=np.full(volume.shape, 3, "f4"))
    with pytest.raises(DataError, match="widen percentiles"):
        PercentileWindow().apply(flat)
    with pytest.raises(tf.errors.InvalidArgumentError, match="widen percentiles"):
        PercentileWindow().graph(tf.constant(flat.array))


@pytest.mark.parametrize("nonzero", [False, True])
@pytest.mark.parametrize("value", [0, 7, 1000.3])
def test_zscore_of_a_constant_is_zero(nonzero, value):
    volume = Volume(np.full((5, 6, 7), value, "float32"), np.eye(4))
    step = ZScore(nonzero=nonzero)
    np.testing.assert_array_equal(step.apply(volume).array, 0)
    np.testing.assert_array_equal(step.graph(tf.constant(volume.array)).numpy(), 0)


@pytest.mark.parametrize("step", [
    ZScore(), ZScore(nonzero=True), Window(window_hu=(100, 500)), Window(window_hu=(0, 900), range=(0, 255)),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("offset", [0, 3000])
def test_graphs_equal_arrays(step, offset):
    volume = image((20, 30, 40))
    volume = volume.replace(array=volume.array + np.float32(offset) * (volume.array != 0))
    graph = tf.function(step.graph, input_signature=[tf.TensorSpec((None, None, None), tf.float32)])
    wanted = step.apply(volume).array
    scale = max(1, np.abs(wanted).max())
    np.testing.assert_allclose(graph(volume.array).numpy() / scale, wanted / scale, atol=1e-5)


@pytest.mark.parametrize("dtype", ["int16", "uint16", "float32"])
@pytest.mark.parametrize("bins", [None, 64])
def test_equalize_equals_scikit_image(dtype, bins):
    volume = image((20, 30, 40), dtype=dtype)
    mask = volume.array != 0
    count = bins or max(256, int(volume.array.max()) + 1)
    wanted = exposure.equalize_hist(volume.array.astype("float32"), nbins=count, mask=mask)
    found = Equalize(bins=bins).apply(volume).array
    np.testing.assert_allclose(found[mask], wanted[mask], atol=1e-6)
    np.testing.assert_array_equal(found[~mask], 0)
    assert found[mask].min() > 0 and found.max() == 1 and found.dtype == np.float32


@pytest.mark.parametrize("value", [0, 5, 1e30, -1e30])
def test_equalize_of_odd_values(value):
    """Absurdly large values ask for no absurd number of bins."""
    array = np.zeros((3, 4, 5), "float32")
    array[1] = value
    found = Equalize().apply(Volume(array, np.eye(4))).array
    assert np.isfinite(found).all() and (found[array == 0] == 0).all() and ((found > 0) == (array != 0)).all()


def bias_field(shape):
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    return np.exp(0.5 * x - 0.3 * y * y + 0.2 * z)


def test_n4_removes_a_smooth_field():
    shape = (32, 40, 40)
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    radius = np.sqrt(x * x + y * y + z * z)
    truth = np.where(radius < 0.9, np.where(radius < 0.5, 200.0, 100.0), 0)
    truth *= np.random.default_rng(0).normal(1, 0.03, shape)
    field, inside = bias_field(shape), radius < 0.9
    found = N4(shrink=2).apply(Volume((truth * field).astype("float32"), oblique())).array
    removed = np.log((truth * field)[inside] / found[inside])
    assert np.corrcoef(removed, np.log(field[inside]))[0, 1] > 0.9
    left = np.std(np.log(found[inside] / truth[inside]))
    assert left < 0.5 * np.std(np.log(field[inside]))
    np.testing.assert_array_equal(found[~inside], 0)
    assert found.dtype == np.float32


def test_n4_equals_simpleitk():
    volume = image((16, 16, 16), zeros=0.1)
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations((5, 5))
    inside = sitk.GetImageFromArray((volume.array != 0).astype("uint8"))
    wanted = sitk.GetArrayFromImage(corrector.Execute(sitk.GetImageFromArray(volume.array), inside))
    found = N4(shrink=1, iterations=(5, 5)).apply(volume).array
    inner = volume.array != 0
    np.testing.assert_allclose(found[inner], wanted[inner], rtol=1e-3)


@pytest.mark.parametrize("shape", [(1, 20, 20), (2, 20, 20), (1, 1, 1), (3, 3, 3)])
@pytest.mark.parametrize("lowest", [0, -300])
def test_n4_of_odd_volumes(shape, lowest):
    """Single slices, and values below 0, of which there is no logarithm."""
    array = np.random.default_rng(0).integers(lowest, 700, shape).astype("float32")
    found = N4(iterations=(3,)).apply(Volume(array, np.eye(4))).array
    assert np.isfinite(found).all() and found.shape == shape
    np.testing.assert_array_equal(np.sign(found), np.sign(array))


# --- label maps, grids ------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-5, 300), min_size=2, max_size=6, unique=True), st.integers(0, 99))
def test_class_labels(values, seed):
    classes = np.random.default_rng(seed).integers(0, len(values), (3, 4, 5))
    found = class_labels(Volume(np.array(values)[classes].astype("int16"), oblique()), values)
    np.testing.assert_array_equal(found.array, classes)
    assert found.array.dtype == np.uint8


def test_class_labels_refuse_other_values():
    with pytest.raises(DataError, match=r"holds \[3\], where \[0, 1, 2, 4\] are expected"):
        class_labels(Volume(np.array([[[0, 1, 3]]], "uint8"), np.eye(4)), (0, 1, 2, 4))


@pytest.mark.parametrize("is_label", [False, True])
@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_onto_a_turned_grid(is_label, channels):
    """Against SimpleITK with both geometries in the images themselves."""
    draw = np.random.default_rng(0)
    array = draw.integers(0, 9, (8, 9, 10, *channels)).astype("uint8" if is_label else "float32")
    volume = Volume(array, oblique(angle=0.3))
    affine = oblique(spacing=(2.0, 1.0, 0.9), angle=0.1)
    affine[:3, 3] += 0.7
    found = onto_grid(volume, (7, 11, 12), affine, is_label)
    assert found.array.shape == (7, 11, 12, *channels) and found.array.dtype == array.dtype
    expected = _by_simpleitk(volume, (7, 11, 12), affine, is_label)
    np.testing.assert_allclose(found.array, expected.reshape(found.array.shape), atol=1e-3)


def _by_simpleitk(volume, shape, affine, is_label):
    def placed(picture, affine):
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        picture.SetSpacing(spacing.tolist())
        picture.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
        picture.SetOrigin(affine[:3, 3].tolist())
        return picture

    source = placed(sitk.GetImageFromArray(volume.array, isVector=volume.array.ndim == 4), volume.affine)
    grid = placed(sitk.GetImageFromArray(np.zeros(shape, "uint8")), affine)
    how = sitk.sitkNearestNeighbor if is_label else sitk.sitkLinear
    return sitk.GetArrayFromImage(sitk.Resample(source, grid, sitk.Transform(), how, 0.0, source.GetPixelID()))


@pytest.mark.parametrize("step", [
    {"step": "crop"}, {"step": "crop", "shape": [0, 1, 1]}, {"step": "crop", "shape": [1, 1]},
    {"step": "crop_foreground", "axes": "xyz"}, {"step": "crop_foreground", "axes": ""},
    {"step": "crop_foreground", "margin": -1}, {"step": "n4", "shrink": 0}, {"step": "n4", "iterations": [0]},
    {"step": "equalize", "bins": 0}, {"step": "zscore", "nonzer": True},
], ids=str)  # fmt: skip
def test_impossible_steps_are_refused(step):
    with pytest.raises(pydantic.ValidationError):
        STEP.validate_python(step)


# --- HU ---------------------------------------------------------------------------------------------------------------


def test_hounsfield_cuts_a_ct_and_leaves_labels():
    array = np.array([-3024, -1000, -400, 40, 9000], np.int16).reshape(1, 1, 5)
    step, volume = Hounsfield(), Volume(array, np.eye(4))
    found = step.apply(volume)
    assert found.array.dtype == np.float32 and found.array.ravel().tolist() == [-1000, -1000, -400, 40, 3000]
    np.testing.assert_array_equal(step.graph(tf.constant(array, tf.float32)), found.array)
    assert step.apply(volume, is_label=True) is volume


@pytest.mark.parametrize("values", [[0, 1024, 4095], [0, 0.5, 1], [-3.0, 0, 3], [-500, 100, 100]])
def test_what_is_not_in_hu_is_refused(values):
    array = np.array(values, np.float32).reshape(1, 1, 3)
    with pytest.raises(DataError, match=f"lowest value is {min(values):g}.*RescaleIntercept"):
        Hounsfield().apply(Volume(array, np.eye(4)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="not scaled or shifted"):
        Hounsfield().graph(tf.constant(array))


def test_an_axis_without_a_voxel_size_stays():
    """In the plane 1 mm, along z as it is."""
    volume = Volume(np.random.default_rng(0).normal(size=(5, 8, 6)), np.diag([0.5, 2.0, 7.0, 1.0]))
    found = Resample(spacing_mm=(None, 1.0, 1.0)).apply(volume)
    assert found.shape == (5, 16, 3) and found.spacing == pytest.approx((7.0, 1.0, 1.0))
    same = Resample(spacing_mm=(None, None, None)).apply(volume)
    np.testing.assert_array_equal(same.array, volume.array.astype(np.float32))


# --- min_max ----------------------------------------------------------------------------------------------------------


def test_min_max_maps_the_range_to_0_and_1():
    volume = image(dtype="int16")
    found = MinMax().apply(volume)
    wanted = (volume.array - volume.array.min()) / np.ptp(volume.array.astype("float64"))
    np.testing.assert_allclose(found.array, wanted, atol=1e-6)
    assert found.array.dtype == np.float32 and (found.array.min(), found.array.max()) == (0, 1)
    np.testing.assert_array_equal(MinMax().graph(tf.constant(volume.array, tf.float32)), found.array)
    assert MinMax().apply(volume, is_label=True) is volume
    with pytest.raises(DataError, match="min_max: all voxels have one value"):
        MinMax().apply(volume.replace(array=np.full((2, 2, 2), 4)))


@pytest.mark.parametrize("shape", [(40, 20), (20, 40), (33, 7), (24, 16), (5, 64)])
def test_letterbox_keeps_proportions_places_and_values(shape):
    """Voxels lie where they lay, to half a voxel of rounding; graph and array give the same."""
    from tfmed.ops import grids

    y, x = np.mgrid[: shape[0], : shape[1]].astype("float32")
    volume = Volume((3 * x + 5 * y + 1)[None], np.diag([-0.5, -0.5, 2.0, 1.0]))
    step = Letterbox(size=(24, 16), fill=-9.0)
    found = step.apply(volume)
    inner = step.inner(shape)
    assert found.shape == (1, 24, 16) and (inner[0] == 24 or inner[1] == 16)
    share = min(24 / shape[0], 16 / shape[1])
    assert abs(inner[0] - share * shape[0]) <= 0.5 and abs(inner[1] - max(share * shape[1], 1)) <= 0.5
    inside = found.array[0] != -9
    assert inside.sum() == inner[0] * inner[1]
    rows, columns = np.nonzero(inside)
    places = np.linalg.solve(volume.affine, found.affine) @ [columns, rows, 0 * rows, 0 * rows + 1]
    good = (places[0] >= 0) & (places[0] <= shape[1] - 1) & (places[1] >= 0) & (places[1] <= shape[0] - 1)
    np.testing.assert_allclose(found.array[0][inside][good], (3 * places[0] + 5 * places[1] + 1)[good], atol=1e-3)
    assert Letterbox(size=(24, 16)).apply(volume, is_label=True).array.max() <= volume.array.max()
    grid = step.graph_grid(grids.of_image(tf.constant(volume.array[..., None]), tf.constant(volume.affine)))
    np.testing.assert_allclose(grid.image[..., 0], found.array, atol=1e-3)
    np.testing.assert_allclose(grid.affine, found.affine, atol=1e-9)


def test_slices_are_not_blended_into_one():
    """A volume of several slices is no picture; the middle slice is cut out where that is said."""
    step, volume = Resample(shape=(1, 4, 4)), image((3, 8, 8))
    with pytest.raises(DataError, match="one slice of 3 would be a blend"):
        step.apply(volume)
    middle = run([Crop(shape=(1, None, None)), step], volume)
    np.testing.assert_allclose(middle.array, step.apply(volume.replace(array=volume.array[1:2])).array)
