"""Plans: what is chosen for data of known kinds, that the choices fit together, and what cannot be planned."""

import numpy as np
import pytest
import yaml

from tests.support.volumes import AFFINE
from tfmed.config import load_config
from tfmed.data import sources
from tfmed.data.fingerprint import Fingerprint, described
from tfmed.data.fingerprint import fingerprint as look_at
from tfmed.errors import DataError
from tfmed.io import Volume, reorient, write_volume
from tfmed.methods import segmentation
from tfmed.methods.segmentation import Config
from tfmed.tasks import planning
from tfmed.tasks.backbones import UNet

pytestmark = pytest.mark.current


def fingerprint(shape=(30, 60, 60), spacing=(2.0, 0.8, 0.8), lowest=0.0, labels=None, foreground=0.02, **changes):
    values = {"image": (10.0, 300.0, 120.0, 50.0, lowest, 400.0)}
    known = dict(modalities=("image",), shapes=[shape] * 5, spacings=[spacing] * 5, values=values,
                 labels=labels or {1: (1000, 5)}, cases=5, labelled=5, patients=5, foreground=foreground,
                 labelled_patients=5, ids=tuple("abcde"), orientation="RAS")  # fmt: skip
    return Fingerprint(**known | changes)


def chosen(found, minutes=10, seconds=1e-6):
    return {choice.key: choice.value for choice in planning.plan(found, planning.Budget(minutes), seconds)}


def settings_of(values):
    """The `model` section that a plan makes: it must be valid as it stands."""
    return Config(**{key.partition(".")[2]: value for key, value in values.items() if key.startswith("model.")})


@pytest.mark.parametrize("shape, spacing, axes", [
    ((60, 200, 200), (2.0, 0.8, 0.8), 3), ((20, 512, 512), (5.0, 0.7, 0.7), 2), ((1, 256, 256), (1.0, 1.0, 1.0), 2),
    ((88, 144, 176), (1.0, 1.0, 1.0), 3), ((4, 64, 64), (1.0, 1.0, 1.0), 2), ((300, 300, 300), (0.5, 0.5, 0.5), 3),
])  # fmt: skip
def test_two_or_three_dimensions(shape, spacing, axes):
    config = settings_of(chosen(fingerprint(shape, spacing)))
    assert len(config.patch) == axes
    assert np.prod(config.patch) <= 1.5 * planning._PATCH[axes][2]


@pytest.mark.parametrize("seed", range(40))
def test_every_plan_is_valid(seed):
    """Whatever the sizes, the patch fits the network, and no side of it is much longer than the images."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(size) for size in np.exp(rng.uniform(np.log(2), np.log(600), 3)))
    spacing = tuple(float(size) for size in np.exp(rng.uniform(np.log(0.3), np.log(8), 3)))
    values = chosen(fingerprint(shape, spacing, lowest=rng.choice([0.0, -1024.0])))
    config = settings_of(values)
    sides = shape[-len(config.patch) :]
    assert all(side <= max(1.6 * have, 8) for side, have in zip(config.patch, sides, strict=True)), (
        sides,
        config.patch,
    )
    assert values["train.steps"] >= 50 and values["train.batch_size"] >= 2


def test_ct_is_clipped_and_mr_is_not():
    ct = chosen(fingerprint(lowest=-1024.0))["data.preprocess"]
    assert ct[2:] == [{"step": "window", "window_hu": [10.0, 300.0], "range": [-2.2, 3.6]}]
    assert chosen(fingerprint())["data.preprocess"][2:] == [{"step": "zscore"}]


def test_resampled_only_where_voxels_differ():
    mixed = fingerprint(spacings=[(2.0, 0.8, 0.8)] * 3 + [(3.0, 1.0, 1.0)] * 2)
    assert chosen(mixed)["data.preprocess"][1] == {"step": "resample", "spacing_mm": [2.0, 0.8, 0.8]}
    coarse = fingerprint(
        spacings=[(10.0, 0.8, 0.8), (9.0, 0.8, 0.8), (8.0, 0.8, 0.8), (5.0, 0.8, 0.8), (10.0, 0.8, 0.8)]
    )
    assert chosen(coarse)["data.preprocess"][1]["spacing_mm"][0] == pytest.approx(6.2)


def test_numbers_that_count_objects_are_one_class():
    objects = {number: (50, max(1, 12 - number // 4)) for number in range(1, 41)}
    assert chosen(fingerprint(labels=objects))["model.labels"] == {"foreground": "any"}
    organs = {number: (50, 5) for number in range(1, 14)}
    assert chosen(fingerprint(labels=organs))["model.labels"]["label 13"] == 13
    assert list(settings_of(chosen(fingerprint(labels=organs))).label_values) == list(range(14))


def test_time_decides_over_patches_and_steps():
    """Little time: small patches, at least 600 steps; more time: larger patches, and then more steps."""
    found = fingerprint((88, 144, 190), (0.6, 0.6, 0.6))
    sizes, steps = [], []
    for minutes in (1, 5, 20, 100, 1000):
        values = chosen(found, minutes, 4e-6)
        sizes.append(int(np.prod(values["model.patch"])))
        steps.append(values["train.steps"])
    assert sizes == sorted(sizes) and sizes[0] < 1.3 * 32**3 and sizes[-1] > 0.7 * 96**3
    assert min(steps[1:]) >= 450 and steps[-1] > 5000


@pytest.mark.parametrize("minutes", [1, 10, 60])
@pytest.mark.parametrize("before", [0, 40])
@pytest.mark.parametrize("cases, shape", [(0, (88, 144, 190)), (3, (88, 144, 190)), (40, (30, 300, 300))])
def test_a_run_ends_within_its_minutes(minutes, before, cases, shape):
    """What is before the first step, the steps, and nine predictions of each validation case with flips at the end."""
    found, per_voxel = fingerprint(shape, (0.6, 0.6, 0.6), labelled=100), 2e-6
    budget = planning.Budget(minutes, before, cases)
    settings = load_config("segmentation", ["data.root=nowhere"])
    settings = segmentation.made(settings, planning.plan(found, budget, per_voxel))
    timed = {choice.key: choice.value for choice in planning.timetable(found, settings, budget, per_voxel)}
    step = settings.train.batch_size * np.prod(settings.model.patch) * per_voxel
    spacing = settings.data.preprocess[1].spacing_mm
    predicted = np.prod(np.array(shape) * 0.6 / spacing) * 1 / 0.75**3 * per_voxel / 3
    validations = -(-timed["train.steps"] // timed["train.validate_every"])
    seconds = before + timed["train.steps"] * step + (validations + 9) * cases * predicted
    if cases < 40 and before < 20 * minutes:  # otherwise validations alone may take longer
        assert 0.6 * 60 * minutes < seconds < 1.1 * 60 * minutes
    assert timed["train.steps"] * step > 0.3 * (60 * minutes - before) * 0.6


def test_a_network_that_is_given_is_not_taken_for_a_thin_one():
    """Of one that is chosen half the channels may be left out for larger patches, of one that is given none."""
    found, given = fingerprint((88, 144, 190), (0.6, 0.6, 0.6)), UNet(widths=(16, 32, 64))
    own = {choice.key: choice.value for choice in planning.plan(found, planning.Budget(6), 5e-6)}
    theirs = {choice.key: choice.value for choice in planning.plan(found, planning.Budget(6), 5e-6, network=given)}
    assert own["model.network"]["widths"][0] == 8
    assert np.prod(theirs["model.patch"]) < 0.7 * np.prod(own["model.patch"])


def test_voxels_are_larger_where_a_patch_would_show_little():
    found = fingerprint((88, 144, 190), (0.6, 0.6, 0.6))
    (_, step, *_), patch = (chosen(found, 5, 4e-6)[key] for key in ("data.preprocess", "model.patch"))
    assert step["step"] == "resample" and 0.6 < step["spacing_mm"][0] <= 1.2  # at most twice
    assert np.prod(patch) < 0.5 * 96**3
    small = fingerprint((40, 40, 40), (1.0, 1.0, 1.0))
    assert chosen(small, 20, 4e-6)["data.preprocess"][1]["spacing_mm"] == [1.0, 1.0, 1.0]


def test_scans_of_another_size_or_direction_are_made_like_the_others():
    """Also where all that were looked at are alike: what comes later may not be. Pictures have neither."""
    turn, resample, *_ = chosen(fingerprint())["data.preprocess"]
    assert turn == {"step": "orient", "to": "RAS"} and resample["spacing_mm"] == [2.0, 0.8, 0.8]
    picture = fingerprint((1, 256, 256), (1.0, 1.0, 1.0), orientation=None)
    assert chosen(picture)["data.preprocess"] == [{"step": "zscore"}]


def test_axes_are_compared_as_they_lie_in_the_body(tmp_path):
    """One scan in three, written with its axes in another order and direction, is no scan of another shape."""
    draw = np.random.default_rng(0)
    for name, codes in (("a", "LPS"), ("b", "LPS"), ("c", "SRA")):
        image = Volume(draw.normal(size=(9, 20, 30)).astype("float32"), np.diag([-0.7, -0.9, 3.0, 1.0]))
        label = Volume((np.asarray(image.array) > 1).astype("uint8"), image.affine)
        for folder, volume in (("images", image), ("labels", label)):
            write_volume(reorient(volume, codes), tmp_path / folder / f"{name}.nii.gz")
    found = look_at(sources.open("nifti_folder", tmp_path, **sources.detect(tmp_path)[1]))
    assert found.orientation == "LPS" and set(found.shapes) == {(9, 20, 30)}
    np.testing.assert_allclose(found.spacings, [(3.0, 0.9, 0.7)] * 3, rtol=1e-6)


def test_a_patch_suits_the_smallest_image_too():
    """At most twice as large, as it must be to be trained on; one slice among volumes changes nothing."""
    mixed = fingerprint(shapes=[(25, 200, 200)] * 4 + [(21, 120, 45)], spacings=[(6.0, 1.0, 1.0)] * 5)
    patch = chosen(mixed)["model.patch"]
    assert patch[1] <= 90 and patch[0] > 100
    alone = fingerprint(shapes=[(24, 60, 60)] * 4 + [(1, 60, 60)], spacings=[(2.0, 1.0, 1.0)] * 5)
    assert chosen(alone)["model.patch"] == chosen(fingerprint((24, 60, 60), (2.0, 1.0, 1.0)))["model.patch"]


class TestFolders:
    @pytest.fixture
    def folder(self, tmp_path):
        rng = np.random.default_rng(0)
        for number in range(6):
            label = np.zeros((12, 20, 24), "u1")
            label[4:8, 6:14, 5:15] = 1 + number % 2
            image = rng.normal(0, 20, label.shape) + 100 * label
            write_volume(Volume(image.astype("i2"), AFFINE), tmp_path / "images" / f"p{number}.nii.gz")
            write_volume(Volume(label, AFFINE), tmp_path / "masks" / f"p{number}.nii.gz")
        return tmp_path

    def test_what_is_found(self, folder):
        source, options = sources.detect(folder)
        found = look_at(sources.open(source, folder, **options))
        assert (source, found.cases, found.labelled, found.patients) == ("nifti_folder", 6, 6, 6)
        assert found.labels == {1: (3 * 320, 3), 2: (3 * 320, 3)}
        assert found.foreground == pytest.approx(320 / 5760)
        low, high, mean, *_ = found.values["image"]
        assert mean == pytest.approx(150, abs=5) and low < 80 and high > 220
        assert "labels: 1 (3 cases), 2 (3 cases)" in list(described(found))

    def test_nothing_labelled(self, folder):
        for path in (folder / "masks").iterdir():
            path.unlink()
        cases = sources.open("nifti_folder", folder, labels="masks")
        with pytest.raises(DataError, match="no case has a label map"):
            look_at(cases)

    def test_layouts(self, folder):
        assert sources.detect(folder) == ("nifti_folder", {"labels": "masks", "modality": "image"})
        pairs = folder / "pairs" / "test"
        pairs.mkdir(parents=True)
        for number in range(3):
            (folder / "images" / f"p{number}.nii.gz").rename(pairs / f"p{number}.nii.gz")
            (folder / "masks" / f"p{number}.nii.gz").rename(pairs / f"p{number}-label.nii.gz")
        assert sources.detect(folder / "pairs") == (
            "paired_folder",
            {"image_suffix": "", "label_suffix": "-label", "modality": "image", "test_folder": "test"},
        )
        with pytest.raises(DataError, match="no layout that is known"):
            sources.detect(folder / "images")


@pytest.mark.parametrize("value", [[1, 2], {"a": [1, "x"]}, 3, 0.5, "word", [], [{"step": "zscore"}]])
def test_values_in_one_line_read_back(value):
    assert yaml.safe_load(planning.inline(value)) == value and "\n" not in planning.inline(value)
