"""The chest CT phantom: repeatable, independent of the resolution, plausible HU, nodules where it says."""

import hashlib
import subprocess
import sys
import time

import numpy as np
import pytest

from tfmed.data import phantoms
from tfmed.data.phantoms import grid, tubes
from tfmed.data.phantoms.chest_ct import LABELS, chest_ct
from tfmed.errors import UserError

pytestmark = pytest.mark.current

SMALL = (48, 56, 56)
MEDIUM = (96, 112, 112)


@pytest.fixture(scope="module")
def medium():
    return [chest_ct(seed, MEDIUM, nodules=2) for seed in range(3)]


def dice(a, b):
    return 2 * (a & b).sum() / max(1, a.sum() + b.sum())


def test_types_and_geometry(medium):
    for made in medium:
        assert made.volume.array.dtype == np.int16 and made.labels.array.dtype == np.uint8
        assert made.volume.shape == made.labels.shape == MEDIUM
        np.testing.assert_allclose(made.volume.spacing, (320 / 96, 360 / 112, 360 / 112))
        np.testing.assert_array_equal(made.volume.affine, made.labels.affine)
        assert made.volume.array.min() >= -1024 and made.volume.array.max() <= 3071
        assert set(np.unique(made.labels.array)) == set(LABELS.values())


def test_same_arguments_same_voxels():
    first, again = chest_ct(5, SMALL, nodules=1), chest_ct(5, SMALL, nodules=1)
    np.testing.assert_array_equal(first.volume.array, again.volume.array)
    np.testing.assert_array_equal(first.labels.array, again.labels.array)
    assert first.nodules == again.nodules


def test_same_voxels_in_another_process_and_whatever_the_global_random_state():
    code = (
        "import hashlib, numpy as np; np.random.seed(99)\n"
        "from tfmed.data.phantoms import chest_ct\n"
        f"print(hashlib.sha256(chest_ct(5, {SMALL}).volume.array.tobytes()).hexdigest())"
    )
    digests = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout for _ in range(2)}
    assert digests == {hashlib.sha256(chest_ct(5, SMALL).volume.array.tobytes()).hexdigest() + "\n"}


def test_another_seed_is_another_person(medium):
    lungs = [made.labels.array == 2 for made in medium]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert dice(lungs[a], lungs[b]) < 0.95
    assert len({made.volume.array[:, 56, 56].tobytes() for made in medium}) == 3


@pytest.mark.parametrize("seed", [1, 4])
def test_anatomy_does_not_depend_on_the_shape(seed):
    fine, coarse = chest_ct(seed, MEDIUM, noise_hu=0).labels.array, chest_ct(seed, SMALL, noise_hu=0).labels.array
    for name, least in {"lungs": 0.9, "heart": 0.85, "great_vessels": 0.75}.items():
        mask = fine == LABELS[name]
        pooled = mask.reshape(48, 2, 56, 2, 56, 2).mean(axis=(1, 3, 5)) >= 0.5
        assert dice(pooled, coarse == LABELS[name]) > least, name
    pooled = (fine > 0).reshape(48, 2, 56, 2, 56, 2).mean(axis=(1, 3, 5)) >= 0.5
    assert dice(pooled, coarse > 0) > 0.97


def test_the_field_of_view_moves_no_organ():
    wide = chest_ct(2, (64, 72, 72), field_of_view_mm=360.0, noise_hu=0).labels.array
    narrow = chest_ct(2, (64, 36, 36), field_of_view_mm=180.0, noise_hu=0).labels.array
    assert dice(wide[:, 18:54, 18:54] == 2, narrow == 2) > 0.98


def test_hu_of_each_label(medium):
    ranges = {"background": (-1020, -930), "lungs": (-930, -730), "airway": (-1024, -700), "bone": (250, 900)}
    ranges |= {"body": (-70, 70), "heart": (20, 360), "great_vessels": (20, 360)}
    for made in medium:
        for name, (low, high) in ranges.items():
            mean = made.volume.array[made.labels.array == LABELS[name]].mean()
            assert low < mean < high, (name, mean)


def test_sizes_are_those_of_a_chest(medium):
    for made in medium:
        millilitres = np.prod(made.labels.spacing) / 1000
        volume = {name: (made.labels.array == number).sum() * millilitres for name, number in LABELS.items()}
        assert 1800 < volume["lungs"] < 8000
        assert 250 < volume["heart"] < 1100
        assert 40 < volume["airway"] < 250
        right = (made.labels.array[:, :, 56:] == 2).sum()
        left = (made.labels.array[:, :, :56] == 2).sum()
        assert 0.6 < left / right < 1.3


def test_noise_follows_its_setting():
    quiet, loud = (chest_ct(3, SMALL, noise_hu=level, streaks=0).volume.array.astype(float) for level in (0, 40))
    spread = (loud - quiet)[10:40, 15:40, 15:40].std()
    assert 15 < spread < 90
    assert chest_ct(3, SMALL, noise_hu=0, streaks=0).labels.array.tobytes() == chest_ct(3, SMALL).labels.array.tobytes()


def test_nodules_are_where_and_as_large_as_told():
    made = chest_ct(7, (160, 180, 180), nodules=5, nodule_radius_mm=(4.0, 9.0))
    assert len(made.nodules) == 5
    without = chest_ct(7, (160, 180, 180), nodules=0)
    voxel = np.prod(made.labels.spacing)
    mask = made.labels.array == LABELS["nodule"]
    coordinates = np.argwhere(mask)
    total = sum(4 / 3 * np.pi * nodule["radius_mm"] ** 3 for nodule in made.nodules)
    assert abs(mask.sum() * voxel / total - 1) < 0.1
    for nodule in made.nodules:
        centre, radius = np.array(nodule["centre_zyx"]), nodule["radius_mm"]
        assert 4 <= radius <= 9
        world = made.labels.affine @ [*centre[::-1], 1]
        np.testing.assert_allclose(world[:3], nodule["centre_mm"], atol=1e-6)
        distance = np.linalg.norm((coordinates - centre) * made.labels.spacing, axis=1)
        own = distance < radius + 2.5
        volume = own.sum() * voxel
        assert abs(volume / (4 / 3 * np.pi * radius**3) - 1) < 0.25
        assert np.linalg.norm((coordinates[own].mean(axis=0) - centre) * made.labels.spacing) < 0.7
        place = tuple(np.rint(centre).astype(int))
        assert without.labels.array[place] in (LABELS["lungs"], LABELS["vessels"], LABELS["airway"])
    elsewhere = ~np.isin(made.labels.array, [LABELS["nodule"]])
    np.testing.assert_array_equal(made.labels.array[elsewhere], without.labels.array[elsewhere])


def test_nodules_do_not_depend_on_the_shape():
    for a, b in zip(chest_ct(7, SMALL, nodules=3).nodules, chest_ct(7, MEDIUM, nodules=3).nodules, strict=True):
        assert (a["centre_mm"], a["radius_mm"]) == (b["centre_mm"], b["radius_mm"])


def test_more_nodules_keep_the_first_ones():
    few, many = (chest_ct(7, SMALL, nodules=count).nodules for count in (2, 4))
    assert many[:2] == few


@pytest.mark.parametrize("shape", [(8, 8, 8), (32, 32, 34), (9, 50, 17), (256, 16, 16)])
def test_odd_shapes(shape):
    made = chest_ct(0, shape, nodules=1)
    assert made.volume.shape == shape and (made.labels.array == 2).any()


@pytest.mark.parametrize("length, fov", [(20.0, 50.0), (1000.0, 1000.0)])
def test_extreme_fields_of_view(length, fov):
    assert chest_ct(1, (16, 24, 24), length_mm=length, field_of_view_mm=fov, nodules=1).volume.array.std() > 0


def test_small_ones_are_fast():
    def seconds(seed):
        start = time.process_time()
        chest_ct(seed, SMALL)
        return time.process_time() - start

    seconds(0)
    assert min(seconds(seed) for seed in range(8)) < 0.15  # about 0.04 s on an idle core; room for slower ones


def test_address_round_trip():
    address = phantoms.address("chest_ct", seed=3, shape=SMALL, nodules=2, part="label")
    assert address == "phantom:chest_ct?seed=3&shape=48,56,56&nodules=2&part=label"
    assert phantoms.is_address(address) and not phantoms.is_address("/data/phantom.nii.gz")
    name, options = phantoms.parse(address)
    assert (name, options["shape"], options["nodules"], options["noise_hu"]) == ("chest_ct", SMALL, 2, 25.0)
    made = chest_ct(3, SMALL, nodules=2)
    np.testing.assert_array_equal(phantoms.read(address).array, made.labels.array)
    image = phantoms.read(address.replace("=label", "=image"))
    np.testing.assert_array_equal(image.array, made.volume.array)


@pytest.mark.parametrize(
    "text, said",
    [
        ("phantom:chest_tc?seed=1", "'chest_ct'"),
        ("phantom:chest_ct?sede=1", "'seed'"),
        ("phantom:chest_ct?seed=one", "seed must be int"),
        ("phantom:chest_ct?seed", "malformed"),
        ("phantom:chest_ct?part=mask", "image or label"),
        ("phantom:chest_ct?shape=1,2", "shape is z,y,x"),
        ("phantom:chest_ct?shape=a,b,c", "shape must be"),
        ("phantom:chest_ct?shape=9999,9999,9999", "8 to 1024"),
        ("phantom:chest_ct?seed=-1", "seed"),
        ("phantom:chest_ct?noise_hu=nan", "noise_hu"),
        ("phantom:chest_ct?nodule_radius_mm=9,3", "nodule_radius_mm"),
        ("phantom:chest_ct?nodules=100000", "nodules"),
        ("phantom:", "no phantom"),
        ("scans/a.nii.gz", "not a phantom address"),
    ],
)
def test_bad_addresses_get_one_line(text, said):
    with pytest.raises(UserError) as caught:
        phantoms.read(text)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_tubes_agree_with_distances_measured_everywhere():
    rng = np.random.default_rng(0)
    image = grid.Grid.covering((20, 22, 24), (40.0, 44.0, 60.0))
    pieces = tubes.Tubes(rng.uniform(-18, 18, (30, 3)), rng.uniform(-18, 18, (30, 3)), rng.uniform(1, 4, 30))
    index, distance, radius = tubes.rasterise(pieces, image, 1.0)
    points = np.stack(np.meshgrid(*(image.axis(k) for k in range(3)), indexing="ij"), axis=-1).reshape(-1, 1, 3)
    along = pieces.end - pieces.start
    t = np.clip(((points - pieces.start) * along).sum(axis=2) / (along**2).sum(axis=1), 0, 1)
    everywhere = np.linalg.norm(points - pieces.start - t[..., None] * along, axis=2)
    wanted = (everywhere - pieces.radius).min(axis=1)
    got = np.full(len(wanted), np.inf)
    np.minimum.at(got, index, distance - radius)
    near = wanted < 0.99
    np.testing.assert_allclose(got[near], wanted[near], atol=1e-3)
    assert np.isinf(got[wanted > 1.01]).all()


def test_largest_is_the_maximum_and_leaves_the_buffer_clean():
    rng = np.random.default_rng(1)
    index, value, buffer = rng.integers(0, 50, 500), rng.integers(0, 256, 500).astype(np.uint8), np.zeros(50, np.uint8)
    wanted = np.zeros(50, np.uint8)
    np.maximum.at(wanted, index, value)
    np.testing.assert_array_equal(tubes.largest(buffer, index, value), wanted[index])
    assert not buffer.any()
