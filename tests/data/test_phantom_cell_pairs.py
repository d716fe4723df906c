"""The phantom of cells at two visits, and pictures of nuclei as they lie on disk."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tfmed.data import phantoms, sources
from tfmed.data.instances import centres_of, instances, maps_of
from tfmed.data.matching import match, moved
from tfmed.data.phantoms import cell_pairs
from tfmed.data.readers import read_address, read_label
from tfmed.errors import DataError, UserError
from tfmed.io import ImageIntegrityError
from tfmed.metrics.instances import instance_scores

pytestmark = pytest.mark.one_stack

SHAPE = (160, 180)


def both(seed, **options):
    return [cell_pairs(seed, SHAPE, visit, **options) for visit in (1, 2)]


def test_repeats_and_differs():
    one, again, other, later = (cell_pairs(seed, SHAPE, visit) for seed, visit in ((3, 1), (3, 1), (4, 1), (3, 2)))
    for name in ("volume", "found", "labels"):
        first, second, third, fourth = (getattr(v, name).array for v in (one, again, other, later))
        np.testing.assert_array_equal(first, second)
        assert (first != third).any() and (first != fourth).any()
        assert first.shape == (1, *SHAPE)
    assert one.volume.array.dtype == np.int16 and one.labels.array.dtype == one.found.array.dtype == np.uint16
    assert one.volume.array.min() >= 0 and one.volume.array.max() <= 255


def test_as_many_cells_of_the_size_of_the_study():
    """About 122 cells of some 30 px in 333 by 333 px; each is one piece."""
    for seed in range(3):
        labels = cell_pairs(seed).labels.array[0]
        assert 105 < len(np.unique(labels)) - 1 < 150  # those cut by the border among them
        inner = labels[20:-20, 20:-20]
        rim = set(np.unique(inner[[0, -1]])) | set(np.unique(inner[:, [0, -1]]))
        sizes = np.bincount(inner.ravel())[1:]
        sizes = sizes[[k for k in np.flatnonzero(sizes) if k + 1 not in rim]]
        assert 24 < 2 * np.sqrt(np.median(sizes) / np.pi) < 32
        pieces = [ndimage.label(labels == k)[1] for k in np.unique(labels)[1:]]
        assert np.mean(np.array(pieces) == 1) > 0.97


def test_numbers_and_the_affine_transform_tell_which_cell_is_which():
    for seed in range(3):
        one, other = both(seed)
        np.testing.assert_array_equal(one.affine, np.eye(2, 3))
        (first, here), (second, there) = (centres_of(v.labels.array[0]) for v in (one, other))
        rim = [(c > 18).all(1) & (c < np.array(SHAPE) - 19).all(1) for c in (here, there)]
        common, i, j = np.intersect1d(first[rim[0]], second[rim[1]], return_indices=True)
        away = np.linalg.norm(moved(here[rim[0]][i], other.affine) - there[rim[1]][j], axis=1)
        assert len(common) > 8 and away.mean() < 3 and away.max() < 7
        assert np.linalg.norm(here[rim[0]][i] - there[rim[1]][j], axis=1).mean() > 2 * away.mean()
        found = match(moved(here, other.affine), there)
        assert np.mean(first[found.pairs[:, 0]] == second[found.pairs[:, 1]]) > 0.95


def test_without_motion_change_and_noise_both_visits_are_alike():
    one, other = both(1, motion=0.0, changed=0.0, noisy=0.0, noise=0.0)
    np.testing.assert_array_equal(one.labels.array, other.labels.array)
    np.testing.assert_array_equal(one.labels.array, one.found.array)
    assert not len(one.noisy)
    some = both(1, motion=0.0, changed=0.3)
    assert (some[0].labels.array > 0).mean() < 0.85 * (one.labels.array > 0).mean()
    assert set(np.unique(some[0].labels.array)) != set(np.unique(some[1].labels.array))


def test_noise_is_on_some_cells_and_hides_them():
    shares, contrast = [], {True: [], False: []}
    for seed in range(4):
        for visit in both(seed):
            labels, grey = visit.labels.array[0], visit.volume.array[0].astype(float)
            shares.append(len(visit.noisy) / (len(np.unique(labels)) - 1))
            smooth = ndimage.gaussian_filter(grey, 1.5)
            for k in np.unique(labels)[1:]:
                mask = labels == k
                core = ndimage.binary_erosion(mask, iterations=5)
                rim = mask & ~ndimage.binary_erosion(mask, iterations=2)
                if core.any():
                    contrast[k in visit.noisy].append(smooth[core].mean() - smooth[rim].mean())
    assert 0.12 < np.mean(shares) < 0.28
    assert np.mean(contrast[True]) < 0.5 * np.mean(contrast[False])
    one, other = both(5)
    assert set(one.noisy) != set(other.noisy)


def test_little_speckle_lets_noisy_cells_fade_and_leaves_the_rest_alone():
    """The same cells and the same ones noisy; only their grey values differ, the less the fainter."""
    made = {speckle: cell_pairs(6, SHAPE, 1, speckle=speckle, noise=0.0) for speckle in (0.0, 4.0, 22.0)}
    ill = np.isin(made[22.0].labels.array[0], list(made[22.0].noisy))
    well = ndimage.binary_erosion(~ill, iterations=20)
    assert well.sum() > 1000
    greys = {speckle: visit.volume.array[0].astype(float) for speckle, visit in made.items()}
    spread = [greys[speckle][ndimage.binary_erosion(ill, iterations=4)].std() for speckle in made]
    assert spread[0] < spread[1] < 0.5 * spread[2]
    assert np.array_equal(greys[0.0][well], greys[22.0][well])
    assert np.array_equal(made[0.0].labels.array, made[22.0].labels.array)
    assert set(made[0.0].noisy) == set(made[22.0].noisy)


def test_what_a_failing_segmenter_finds():
    """Clean cells whole; of those under noise about half missing, the others a third of their size."""
    missing, sizes = [], []
    for seed in range(6):
        for visit in both(seed):
            labels, found = visit.labels.array[0], visit.found.array[0]
            ill = np.isin(labels, visit.noisy)
            np.testing.assert_array_equal(found[~ill], labels[~ill])
            assert set(np.unique(found)) <= set(np.unique(labels))
            before, after = (np.bincount(m.ravel(), minlength=labels.max() + 1)[visit.noisy] for m in (labels, found))
            missing += list(after == 0)
            sizes += list((after / before)[after > 0])
    assert 0.35 < np.mean(missing) < 0.65 and 0.2 < np.median(sizes) < 0.4


def test_source():
    cases = sources.open("phantom_cell_pairs", pairs=3, seed=2, shape=[48, 40], unlabelled=1)
    assert [case.id for case in cases] == [f"cells-020000{k}-{v}" for k in range(3) for v in (1, 2)]
    assert [case.group for case in cases] == [case.meta["pair"] for case in cases]
    assert [case.meta["visit"] for case in cases] == [1, 2] * 3 and len({case.group for case in cases}) == 3
    assert [case.label is None for case in cases] == [False] * 4 + [True] * 2
    for case in cases[:2]:
        made = cell_pairs(case.meta["seed"], (48, 40), case.meta["visit"])
        np.testing.assert_array_equal(read_address(case.images["cells"]).array, made.volume.array)
        np.testing.assert_array_equal(read_label(case).array, made.labels.array)
        found = phantoms.read(case.images["cells"].replace("part=image", "part=found"))
        np.testing.assert_array_equal(found.array, made.found.array)
    assert sources.open("phantom_cell_pairs", pairs=2, seed=2, shape=[48, 40]) == cases[:4]
    with pytest.raises(DataError, match="pairs must be an integer from 1"):
        sources.open("phantom_cell_pairs", pairs=0)


def test_clean_pairs_train_and_labelled_noisy_ones_test():
    cases = sources.open("phantom_cell_pairs", pairs=4, shape=[48, 40], noisy=0.5, unlabelled=1, clean=2)
    by_pair = {case.meta["seed"]: case for case in cases}
    assert [case.meta.get("part") for case in by_pair.values()] == ["train", "train", "test", None]
    assert ["noisy=0.0&" in case.images["cells"] for case in by_pair.values()] == [True, True, False, False]
    with pytest.raises(DataError, match="clean must be an integer from 0 to 3"):
        sources.open("phantom_cell_pairs", pairs=4, unlabelled=1, clean=4)


@pytest.mark.parametrize("options, said", [
    ({"seed": -1}, "seed must be"), ({"shape": (8, 64)}, "shape is y,x"), ({"shape": (64, 64, 64)}, "shape is y,x"),
    ({"visit": 3}, "visit must be 1 or 2"), ({"spacing": 5}, "spacing must be"), ({"noisy": 2}, "noisy must be"),
    ({"motion": -1}, "motion must be"), ({"changed": 1}, "changed must be"), ({"noise": -1}, "noise must be"),
    ({"speckle": -1}, "speckle must be"),
])  # fmt: skip
def test_bad_arguments(options, said):
    with pytest.raises(UserError, match=said) as caught:
        cell_pairs(**{"seed": 0, **options})
    assert "\n" not in str(caught.value)


# --- nuclei as pictures: colour, and instance maps of 16 bits ---------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """images/ of one grey and one colour picture, instances/ of 16 bits with numbers above 255, and a table beside."""
    rng = np.random.default_rng(0)
    for part in ("images", "instances"):
        (tmp_path / part).mkdir()
    for name, size in (("grey", (20, 24)), ("stained", (18, 20, 3))):
        Image.fromarray(rng.integers(0, 256, size).astype("uint8")).save(tmp_path / "images" / f"{name}.png")
        numbers = (rng.integers(0, 3, size[:2]) * 300).astype("uint16")
        Image.fromarray(numbers).save(tmp_path / "instances" / f"{name}.png")
    (tmp_path / "index.csv").write_text("name,kind\ngrey,fluorescence\nstained,histology\n", encoding="utf-8")
    return tmp_path


def test_pictures_of_nuclei_with_instance_maps_of_16_bits(folder):
    cases = sources.open("image_pairs", folder, labels="instances", colour=True)
    assert [case.id for case in cases] == ["grey", "stained"]
    for case in cases:
        pixels = np.array(Image.open(folder / "images" / f"{case.id}.png"))
        pixels = np.repeat(pixels[..., None], 3, 2) if pixels.ndim == 2 else pixels
        for k, colour in enumerate(("red", "green", "blue")):
            np.testing.assert_array_equal(read_address(case.images[colour]).array[0], pixels[..., k])
        labels = read_label(case).array
        assert labels.dtype == np.uint16 and set(np.unique(labels)) == {0, 300, 600}
        np.testing.assert_array_equal(labels[0], np.array(Image.open(folder / "instances" / f"{case.id}.png")))


def test_a_damaged_instance_map_is_named(folder):
    file = folder / "instances" / "grey.png"
    file.write_bytes(file.read_bytes()[:-40])
    cases = sources.open("image_pairs", folder, labels="instances")
    with pytest.raises(ImageIntegrityError, match=r"grey\.png"):
        read_label(cases[0])


@pytest.mark.realdata
def test_real_nuclei_survive_their_maps(real_data):
    """Nuclei of pictures, made into maps and found again; small and bent ones are lost there by definition."""
    dice, missed = [], []
    for case in sources.open("image_pairs", real_data / "nuclei_dsb2018", labels="instances")[::4]:
        labels = read_label(case).array[0]
        assert read_address(case.images["image"]).array[0].shape == labels.shape
        scores = instance_scores(instances(*maps_of(labels)), labels)
        dice.append(scores.dice.mean())
        missed.append(scores.missed.mean())
    assert len(dice) == 15 and np.mean(dice) > 0.9 and np.mean(missed) < 0.03
