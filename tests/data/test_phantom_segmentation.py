"""The phantoms for segmentation: repeatable, the same at every resolution, plausible, beyond any threshold."""

import dataclasses
import functools
import hashlib
import itertools
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tfmed.data import phantoms
from tfmed.data.phantoms import common, grid, shapes, texture, tubes
from tfmed.errors import UserError

pytestmark = pytest.mark.one_stack

SMALL = {"left_atrium": (44, 72, 88), "liver_ct": (60, 90, 90), "brain_tumour": (75, 93, 76)}
FINE = {"left_atrium": (88, 144, 176), "liver_ct": (120, 180, 180), "brain_tumour": (150, 186, 152)}
VALUES = {"left_atrium": {0, 1}, "liver_ct": {0, 1, 2}, "brain_tumour": {0, 1, 2, 4}}
IMAGES = {name: phantoms.parts(name)[:-1] for name in SMALL}
SEEDS = range(10)


def make(name, seed, shape=None, **options):
    return phantoms.REGISTRY[name](seed, shape or SMALL[name], **options)


def images_of(name, made):
    return {part: made.volume if part == "image" else getattr(made, part) for part in IMAGES[name]}


@pytest.fixture(scope="module")
def many():
    return {name: [make(name, seed) for seed in SEEDS] for name in SMALL}


def dice(a, b):
    return 2 * (a & b).sum() / max(1, a.sum() + b.sum())


def millilitres(mask, volume):
    return mask.sum() * np.prod(volume.spacing) / 1000


def largest_share(mask):
    return np.bincount(ndimage.label(mask)[0].ravel())[1:].max() / mask.sum()


def best_threshold(image, mask):
    """The best Dice of "brighter than t", "darker than t" and "between t and s" over 200 quantiles."""
    edges = np.append(np.unique(np.quantile(image, np.linspace(0, 1, 200))), np.inf)
    inside, all_ = (np.append(0, np.histogram(part, edges)[0].cumsum()) for part in (image[mask], image))
    hit, found = inside[None] - inside[:, None], all_[None] - all_[:, None]
    return (2 * hit / (np.maximum(found, 0) + mask.sum())).max()


def test_best_threshold_finds_what_a_threshold_can():
    image = np.random.default_rng(0).uniform(0, 1, (30, 30, 30))
    for mask in (image > 0.8, image < 0.1, (image > 0.4) & (image < 0.5)):
        assert best_threshold(image, mask) > 0.97
    assert best_threshold(image, np.random.default_rng(1).uniform(0, 1, image.shape) > 0.9) < 0.25


@pytest.mark.parametrize("name", SMALL)
def test_types_geometry_and_label_values(name, many):
    seen = set()
    for made in many[name]:
        assert made.labels.array.dtype == np.uint8 and made.labels.shape == SMALL[name]
        seen |= set(np.unique(made.labels.array).tolist())
        for volume in images_of(name, made).values():
            assert volume.array.dtype == np.int16 and volume.shape == SMALL[name]
            np.testing.assert_array_equal(volume.affine, made.labels.affine)
            assert np.ptp(volume.array) > 50
    assert seen == VALUES[name]


@pytest.mark.parametrize("name", SMALL)
def test_same_seed_same_voxels_also_in_another_process(name):
    def digest(made):
        parts = [getattr(made, field.name).array.tobytes() for field in dataclasses.fields(made)]
        return hashlib.sha256(b"".join(parts)).hexdigest()

    shape = (24, 30, 28)
    code = (
        "import hashlib, dataclasses, numpy as np; np.random.seed(99)\n"
        f"from tfmed.data.phantoms import {name}\n"
        f"made = {name}(5, {shape})\n"
        "parts = [getattr(made, field.name).array.tobytes() for field in dataclasses.fields(made)]\n"
        "print(hashlib.sha256(b''.join(parts)).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8").stdout.strip()
    assert digest(make(name, 5, shape)) == digest(make(name, 5, shape)) == other != digest(make(name, 6, shape))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("seed", [1, 4])
def test_anatomy_does_not_depend_on_the_shape(name, seed, many):
    fine, coarse = make(name, seed, FINE[name]).labels.array, many[name][seed].labels.array
    a, b, c = SMALL[name]
    least = {"left_atrium": 0.95, "liver_ct": 0.95, "brain_tumour": 0.88}[name]
    whole = [(fine > 0).reshape(a, 2, b, 2, c, 2).mean(axis=(1, 3, 5)) >= 0.5, coarse > 0]
    assert dice(*whole) > least
    for value in VALUES[name] - {0}:
        pooled = (fine == value).reshape(a, 2, b, 2, c, 2).mean(axis=(1, 3, 5)) >= 0.5
        if pooled.sum() > 100:
            assert dice(pooled, coarse == value) > 0.8, value


@pytest.mark.parametrize("name, options", [
    ("left_atrium", {"noise": 0.0, "bias": 0.0}), ("liver_ct", {"noise_hu": 0.0}), ("brain_tumour", {"noise": 0.0}),
])  # fmt: skip
def test_noise_and_shading_leave_the_labels_alone(name, options, many):
    quiet = make(name, 3, **options)
    np.testing.assert_array_equal(quiet.labels.array, many[name][3].labels.array)
    part = IMAGES[name][0]
    plain, noisy = (images_of(name, made)[part].array.astype(float) for made in (quiet, many[name][3]))
    inside = quiet.labels.array == (2 if name == "brain_tumour" else 1)
    assert plain[inside].std() < noisy[inside].std()


def test_left_atrium_is_one_piece_of_a_plausible_size(many):
    for made in many["left_atrium"]:
        mask = made.labels.array > 0
        assert ndimage.label(mask)[1] == 1
        assert 20 < millilitres(mask, made.labels) < 130
        rim = np.ones(mask.shape, bool)
        rim[2:-2, 2:-2, 2:-2] = False
        assert (mask & rim).sum() < 0.03 * mask.sum()  # the field of view holds nearly all of it


def test_left_atrium_lies_among_blood_as_bright(many):
    for made in many["left_atrium"]:
        image, mask = made.volume.array, made.labels.array > 0
        bright = image > 0.75 * image[mask].mean()
        assert image.min() >= 0
        assert (bright & ~mask).sum() > 0.7 * mask.sum()


def test_left_atrium_scans_differ_in_their_units(many):
    means = [made.volume.array[made.labels.array > 0].mean() for made in many["left_atrium"]]
    assert max(means) > 2 * min(means)


def test_liver_is_of_a_plausible_size_and_its_tumours_lie_in_it(many):
    for made in many["liver_ct"]:
        labels = made.labels.array
        assert 550 < millilitres(labels > 0, made.labels) < 2900
        assert largest_share(labels > 0) > 0.98
        assert (labels == 2).sum() < 0.4 * (labels > 0).sum()
        ring = ndimage.binary_dilation(labels == 2) & (labels != 2)
        if ring.any():
            assert (labels[ring] == 1).mean() > 0.5


def test_hu_of_liver_and_tumours(many):
    for made in many["liver_ct"]:
        hu, labels = made.volume.array, made.labels.array
        assert hu.min() >= -1024 and 15 < np.median(hu[labels == 1]) < 135
        assert hu[0, 0, 0] < -900 and np.percentile(hu, 99.8) > 200
        core = ndimage.binary_erosion(labels == 2)
        if core.sum() > 20:
            assert np.median(hu[labels == 1]) - np.median(hu[core]) > 5


def test_tumour_options_of_the_liver():
    assert not (make("liver_ct", 2, tumours=(0, 0)).labels.array == 2).any()
    some = make(
        "liver_ct", 2, tumours=(3, 3), tumour_radius_mm=(12.0, 12.0), tumour_contrast_hu=(50.0, 50.0), noise_hu=0.0
    )
    labels, hu = some.labels.array, some.volume.array
    assert ndimage.label(labels == 2)[1] == 3
    assert 10 < millilitres(labels == 2, some.labels) < 3 * 4 / 3 * np.pi * 1.5**3
    core = ndimage.binary_erosion(labels == 2)
    assert 30 < np.median(hu[labels == 1]) - np.median(hu[core]) < 85
    whole = make("liver_ct", 2, tumours=(0, 0)).labels.array > 0
    np.testing.assert_array_equal(whole, labels > 0)


def test_brain_is_zero_outside_and_nowhere_else(many):
    for made in many["brain_tumour"]:
        masks = [volume.array != 0 for volume in images_of("brain_tumour", made).values()]
        assert all((mask == masks[0]).all() for mask in masks)
        assert min(volume.array.min() for volume in images_of("brain_tumour", made).values()) == 0
        assert 1000 < millilitres(masks[0], made.labels) < 2000
        assert largest_share(masks[0]) > 0.999
        assert not masks[0][[0, -1]].any() and not masks[0][:, [0, -1]].any() and not masks[0][:, :, [0, -1]].any()
        assert (made.labels.array[~masks[0]] == 0).all()


def test_tumour_of_the_brain_is_nested_and_of_a_plausible_size(many):
    for made in many["brain_tumour"]:
        labels = made.labels.array
        core = np.isin(labels, (1, 4))
        assert 0.3 < millilitres(core, made.labels) < 130
        assert 3 < millilitres(labels > 0, made.labels) < 450
        assert largest_share(core) > 0.9
        if (labels == 4).any():  # the dead inside touches nothing but the rim
            around = ndimage.binary_dilation(labels == 1) & (labels != 1)
            assert (labels[around] == 4).mean() > 0.93


def test_contrasts_of_the_tumour_are_those_of_life():
    for seed in range(4):
        made = make("brain_tumour", seed, enhancing=1.0, noise=0.0, bias=0.0, oedema_mm=(15.0, 20.0))
        labels = made.labels.array
        healthy = (labels == 0) & (made.t1.array > 0)

        def level(part, value, made=made, labels=labels, healthy=healthy):
            image = getattr(made, part).array
            return np.median(image[labels == value]) / np.median(image[healthy])

        assert level("t1ce", 4) > 1.15 and level("t1ce", 4) > 1.3 * level("t1ce", 1)
        assert level("flair", 2) > 1.15 and level("t2", 2) > 1.05
        white = np.percentile(made.t1.array[healthy], 80)
        assert np.median(made.t1.array[labels == 1]) < np.median(made.t1.array[labels == 2]) < 0.95 * white


def test_enhancement_is_a_matter_of_its_probability():
    for share, wanted in ((0.0, set()), (1.0, {4})):
        assert all({4} & set(np.unique(make("brain_tumour", s, (38, 46, 38), enhancing=share).labels.array)) == wanted
                   for s in range(6))  # fmt: skip


def test_no_threshold_segments_them(many):
    for name, part in (
        ("left_atrium", "image"),
        ("liver_ct", "image"),
        *(("brain_tumour", p) for p in IMAGES["brain_tumour"]),
    ):
        for value in VALUES[name] - {0}:
            pairs = [(images_of(name, made)[part].array, made.labels.array == value) for made in many[name]]
            found = [best_threshold(image, mask) for image, mask in pairs if mask.sum() > 50]
            assert np.mean(found) < 0.75, (name, part, value)
    whole = [best_threshold(made.flair.array, made.labels.array > 0) for made in many["brain_tumour"]]
    assert np.mean(whole) < 0.75


@pytest.mark.parametrize("name", SMALL)
def test_seeds_differ_in_form_and_not_only_in_place(name, many):
    def centred(mask):
        found = np.argwhere(mask)
        moved = found - np.rint(found.mean(axis=0)).astype(int) + 100
        box = np.zeros((200, 200, 200), bool)
        box[tuple(moved.T)] = True
        return box

    masks = [centred(made.labels.array > 0) for made in many[name][:6]]
    assert np.mean([dice(a, b) for a, b in itertools.combinations(masks, 2)]) < 0.9


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("shape", [(8, 8, 8), (9, 50, 17), (64, 16, 16)])
def test_odd_shapes(name, shape):
    made = make(name, 0, shape)
    assert made.labels.shape == shape and made.labels.array.any()


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_every_part_has_an_address(name):
    shape = (24, 28, 26)
    made = make(name, 3, shape)
    for part, volume in {**images_of(name, made), "label": made.labels}.items():
        address = phantoms.address(name, seed=3, shape=shape, part=part)
        np.testing.assert_array_equal(phantoms.read(address).array, volume.array)
    assert phantoms.options(name)["part"] == IMAGES[name][0]


def count_makings(monkeypatch, name):
    made, function = [], phantoms.REGISTRY[name]

    @functools.wraps(function)
    def counting(**options):
        made.append(options["seed"])
        return function(**options)

    monkeypatch.setitem(phantoms.REGISTRY, name, counting)
    return made


def test_all_parts_of_an_address_cost_one_phantom(monkeypatch):
    made = count_makings(monkeypatch, "brain_tumour")
    read = {
        part: phantoms.read(f"phantom:brain_tumour?seed=901&shape=16,16,16&part={part}")
        for part in phantoms.parts("brain_tumour")
    }
    assert made == [901] and len(read) == 5
    phantoms.read("phantom:brain_tumour?seed=902&shape=16,16,16&part=t1")
    phantoms.read("phantom:brain_tumour?shape=16,16,16&part=label&seed=902")  # the order of options does not matter
    assert made == [901, 902]
    phantoms.read("phantom:brain_tumour?seed=902&shape=16,16,18&part=t2")
    assert made == [901, 902, 902]


def test_readers_never_share_an_array():
    address = "phantom:left_atrium?seed=903&shape=16,16,16"
    first = phantoms.read(address)
    wanted = first.array.copy()
    first.array[:] = 0
    np.testing.assert_array_equal(phantoms.read(address).array, wanted)


def test_threads_read_the_right_parts():
    wanted = {seed: phantoms.left_atrium(seed, (16, 16, 16)) for seed in range(3)}
    wrong = []

    def work(seed):
        for _ in range(6):
            for part, field in (("image", "volume"), ("label", "labels")):
                array = phantoms.read(f"phantom:left_atrium?seed={seed}&shape=16,16,16&part={part}").array
                if not np.array_equal(array, getattr(wanted[seed], field).array):
                    wrong.append((seed, part))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in wanted]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert wrong == []


@pytest.mark.parametrize(
    "text, said",
    [
        ("phantom:left_atrum?seed=1", "did you mean 'left_atrium'?"),
        ("phantom:brain_tumour?part=t1c", "t1, t1ce, t2, flair or label; got 't1c'; did you mean 't1ce'?"),
        ("phantom:brain_tumour?part=image", "t1, t1ce, t2, flair or label"),
        ("phantom:left_atrium?part=labels", "image or label; got 'labels'; did you mean 'label'?"),
        ("phantom:left_atrium?part=t1", "part must be image or label"),
        ("phantom:left_atrium?tumours=1", "no option 'tumours'"),
        ("phantom:left_atrium?seed=-1", "seed must be an integer >= 0"),
        ("phantom:left_atrium?shape=4,4,4", "shape is z,y,x"),
        ("phantom:left_atrium?noise=nan", "noise must be 0 to 10"),
        ("phantom:left_atrium?bias=-1", "bias must be 0 to 5"),
        ("phantom:liver_ct?tumours=3,1", "tumours is low,high in 0..40"),
        ("phantom:liver_ct?tumours=1,2,3", "tumours is low,high"),
        ("phantom:liver_ct?tumours=a", "tumours must be ints with commas"),
        ("phantom:liver_ct?tumour_radius_mm=0,5", "tumour_radius_mm is low,high"),
        ("phantom:liver_ct?tumour_contrast_hu=nan,5", "tumour_contrast_hu"),
        ("phantom:liver_ct?field_of_view_mm=1", "field_of_view_mm"),
        ("phantom:liver_ct?length_mm=1", "length_mm"),
        ("phantom:liver_ct?noise_hu=900", "noise_hu"),
        ("phantom:brain_tumour?core_radius_mm=90", "core_radius_mm is low,high in 3.0..35.0"),
        ("phantom:brain_tumour?oedema_mm=5,1", "oedema_mm"),
        ("phantom:brain_tumour?enhancing=2", "enhancing must be 0 to 1"),
        ("phantom:brain_tumour?lesions=-1", "lesions"),
        ("phantom:brain_tumour?noise=11", "noise"),
    ],
)
def test_bad_addresses_get_one_line(text, said):
    with pytest.raises(UserError) as caught:
        phantoms.read(text)
    assert said in str(caught.value) and "\n" not in str(caught.value)


# --- the parts they are made of ---------------------------------------------------------------------------------------


def test_slabs_are_the_upsampled_field():
    coarse, fine = (
        grid.Grid.covering((6, 7, 8), (60.0, 70.0, 80.0)),
        grid.Grid.covering((21, 18, 25), (55.0, 66.0, 77.0)),
    )
    fields = np.random.default_rng(0).standard_normal((3, 6, 7, 8)).astype(np.float32)
    up = grid.Upsampler(coarse, fine, tuple(slice(0, n) for n in fine.shape))
    wanted = np.moveaxis(up.read(up.planes(fields)), 0, 1)
    found = np.full(wanted.shape, np.nan, np.float32)
    for part, values in grid.slabs(fields, coarse, fine, thick=5):
        found[:, part] = values
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_tube_distance_is_that_of_the_nearest_tube():
    rng = np.random.default_rng(1)
    image = grid.Grid.covering((14, 15, 16), (42.0, 45.0, 48.0))
    pieces = tubes.Tubes(rng.uniform(-15, 15, (9, 3)), rng.uniform(-15, 15, (9, 3)), rng.uniform(1, 4, 9))
    points = np.stack(np.meshgrid(*(image.axis(k) for k in range(3)), indexing="ij"), axis=-1)[..., None, :]
    along = pieces.end - pieces.start
    t = np.clip(((points - pieces.start) * along).sum(axis=-1) / (along**2).sum(axis=1), 0, 1)
    wanted = (pieces.radius - np.linalg.norm(points - pieces.start - t[..., None] * along, axis=-1)).max(axis=-1)
    found = shapes.tube_distance(pieces, image, 6.0)
    np.testing.assert_allclose(found, np.where(wanted >= -6.0, wanted, -6.0), atol=2e-3)


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.floats(2, 40)] * 3), st.integers(0, 1000))
def test_ellipsoid_is_zero_on_its_surface_and_about_a_distance_beside_it(radii, seed):
    way = np.random.default_rng(seed).normal(0, 1, (3, 50))
    way /= np.linalg.norm(way, axis=0)
    at = way * np.array(radii)[:, None]
    normal = way / np.array(radii)[:, None]
    normal /= np.linalg.norm(normal, axis=0)
    step = 0.01 * min(radii)
    for shift in (0.0, step, -step):
        z, y, x = (at - shift * normal).astype(np.float32)
        found = shapes.ellipsoid(z, y, x, (0, 0, 0), radii)
        np.testing.assert_allclose(found, shift, atol=0.35 * step + 2e-3 * max(radii))


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3))
def test_rotations_are_rotations(a, b, c):
    matrix = shapes.rotation((a, b, c))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)


@given(st.floats(0.1, 9), st.lists(st.floats(-50, 50), min_size=2, max_size=4))
def test_smooth_minimum_is_a_minimum_and_at_most_a_quarter_lower(k, values):
    fields = [np.float64(v) for v in values]
    low = shapes.smooth_min(k, *fields)
    assert min(values) - 0.25 * k * (len(values) - 1) - 1e-5 <= low <= min(values) + 1e-5
    assert shapes.smooth_max(k, *(-f for f in fields)) == pytest.approx(-low)


def test_rician_noise_has_the_moments_of_a_magnitude():
    for signal, sigma in ((0.0, 1.0), (20.0, 1.0)):
        image = np.full((30, 120, 120), signal, np.float32)
        texture.rician(np.random.default_rng(0), image, sigma, along=0.5, side=0.3)
        mean = sigma * np.sqrt(np.pi / 2) if signal == 0 else np.sqrt(signal**2 + sigma**2)
        assert image.mean() == pytest.approx(mean, rel=0.01)
        assert image.std() == pytest.approx(sigma * (np.sqrt(2 - np.pi / 2) if signal == 0 else 1), rel=0.04)


def test_streams_are_independent_and_repeatable():
    assert common.stream(3, 1).random() == common.stream(3, 1).random() != common.stream(3, 2).random()
