"""One-shot landmarks: the harness, and the items of the card's "What must hold" that are not of a room below.

Of those tests/ops/test_three_views.py looks at views and their product, test_moments.py at rotations, data/
test_turned_patches.py at patches and back-mapping, data/test_deformable.py at registration.
"""

import dataclasses
import json
import types

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

import tfmed
from tests.support.harness import REPOSITORY, MethodHarness
from tests.support.view_pages import views_of
from tfmed import registry
from tfmed.data import phantoms
from tfmed.errors import ConfigError, DataError
from tfmed.io import Volume, write_volume
from tfmed.io.points import read_markups, read_points_csv
from tfmed.methods.oneshot_landmark import Config, SliceUNet, build_network, slices_that_train
from tfmed.ops.moments import angle_of, euler, moments
from tfmed.ops.three_views import centre_of_mass
from tfmed.tasks.exported import open_model
from tfmed.tasks.one_reference import WAYS, Locator, Look, settle
from tfmed.tasks.volume_landmarks import Located, to_mm, to_voxels

pytestmark = pytest.mark.current

CONFIG = "configs/oneshot_landmark.yaml"
OPTIONS = "shape: [24, 24, 24], spacing_mm: 1.0, shift_mm: 1.0, turn_degrees: 5.0, distractors: 0"
TINY = (
    f"data.options={{cases: 4, again_mm: 0.5, {OPTIONS}}}",
    "train.batch_size=4",
    "train.validate_every=2",
    "train.early_stopping=null",
    "model.spacing_mm=1.0",
    "model.side=16",
    "model.widths=[2, 3]",
    "model.shift_mm=1.0",
    "model.demons_iterations=2",
    "model.learning_rate=0.01",
)


class TestHarness(MethodHarness):
    config = CONFIG
    tiny = TINY
    bad = ("model.side=15", "even")

    @pytest.mark.one_stack
    def test_view(self, run):
        """Landmarks of volumes with their errors, as the table of cases has them; what is missing is said."""
        shown, method = views_of(tfmed.view(run)), run.restored()
        for one, row in zip(shown, method.evaluate({"one": method})["cases"], strict=True):
            layers = one["panels"][0]["layers"]
            assert one["panels"][0]["kind"] == "volume" and one["at"] and layers[0]["window"] == [-1000, 3000]
            names = [k["name"] for k in layers[1]["classes"]]
            away = {name: row[f"{name} mm"] for name in method.names}
            assert names == [name if np.isnan(mm) else f"{name} {mm:.1f} mm" for name, mm in away.items()]

    def parity(self, run):
        """Values as in files: the graph scales them."""
        raw = np.random.default_rng(0).uniform(-1200, 3200, (16, 16, 16)).astype("float32")
        method = run.restored()
        scaled = np.clip((raw + 1000) / 4000, 0, 1)
        product, centre, mass, _ = method.looking("product")(tf.constant(scaled))
        np.testing.assert_allclose(product, method.along_axes(method.model.network)(scaled).numpy().prod(0), rtol=1e-4)
        assert float(mass) == pytest.approx(float(np.sum(product)), rel=1e-4) and centre.shape == (3,)
        return [product.numpy()], [{"patch": raw}]

    @pytest.mark.one_stack
    def test_tables(self, run):
        """Means and sample deviations of the cases' errors; both manual sets; each way of finding."""
        method = run.restored()
        method.config = method.config.model_copy(update={"ways": ("reg_only", "no_registration")})
        found = method.evaluate({"run": method})
        assert [row["way"] for row in found["evaluation"]] == ["full", "reg_only", "no_registration", "intra-rater"]
        cases = method.cases["test"]
        assert len(cases) == 2 and len(found["cases"]) == 6
        for line in found["evaluation"][:3]:
            rows = [row for row in found["cases"] if row["way"] == line["way"]]
            away = np.array([[row[f"{name} mm"] for name in method.names] for row in rows])
            assert line["failed"] == np.isnan(away).any(1).sum() and line["cases"] == (~np.isnan(away)).all(1).sum()
            for name, column in zip(method.names, away.T, strict=True):
                assert line[f"{name} mm mean"] == pytest.approx(np.nanmean(column), nan_ok=True)
                assert line[f"{name} mm std"] == pytest.approx(np.nanstd(column, ddof=1), nan_ok=True)
            assert line["all mm mean"] == pytest.approx(np.nanmean(away), nan_ok=True)
        between = [[np.linalg.norm(np.subtract(case.meta["landmarks"][name], case.meta["landmarks_again"][name]))
                    for name in method.names] for case in cases]  # fmt: skip
        assert found["evaluation"][3]["all mm mean"] == pytest.approx(np.mean(between))
        assert found.pictures["landmarks"].figure() is not None
        assert "centre, top, window" in found.pictures["landmarks"].caption

    @pytest.mark.one_stack
    def test_the_reference_is_looked_at_with_the_network_of_now(self, run):
        """Pictures of a training are drawn several times: what the first of them saw is old by then."""
        method = run.restored()
        kernel = method.model.network.get_layer("logits").bias
        before, value = method.locator().seen.mass, np.array(tf.convert_to_tensor(kernel))
        kernel.assign(value + 1.0)
        assert method.locator().seen.mass > before
        kernel.assign(value)
        assert method.locator().seen.mass == before

    @pytest.mark.one_stack
    def test_predicts_points_and_pictures(self, run, tmp_path, caplog, monkeypatch):
        """The files hold one set of points; where nothing was found they are empty, and a warning says so."""
        method = run.restored()
        volume = phantoms.temporal_bone(7, (20, 26, 24), 1.0).volume
        for name in "xy":
            write_volume(volume, tmp_path / f"{name}.nii.gz")
        found = method.locate(volume, method.locator())
        gone = Located(np.full((3, 3), np.nan), np.zeros((0, 3)), "the structure was not found (score 0)", {})
        here = Located(np.arange(9.0).reshape(3, 3), np.zeros((1, 3)), "", {})
        answers = iter([here, gone])
        monkeypatch.setattr(method, "locator", lambda: lambda image, affine: next(answers))
        paths = list(method.predict([str(tmp_path / f"{name}.nii.gz") for name in "xy"], tmp_path / "out"))
        assert [path.name for path in paths] == [
            "x_landmarks.mrk.json", "x_landmarks.png", "y_landmarks.mrk.json", "y_landmarks.png", "landmarks.csv",
        ]  # fmt: skip
        table = read_points_csv(tmp_path / "out" / "landmarks.csv")
        for name, expected in (("x", here), ("y", gone)):
            names, points = read_markups(tmp_path / "out" / f"{name}_landmarks.mrk.json")
            np.testing.assert_allclose(points, expected.points)
            np.testing.assert_allclose(table[name][1], expected.points)
            assert names == table[name][0] == ("centre", "top", "window")
        assert "y.nii.gz: the structure was not found" in caplog.text and "x.nii.gz" not in caplog.text
        assert {"iterations", "stayed", "mass", "score"} <= set(found.facts)

    @pytest.mark.one_stack
    def test_a_savedmodel_says_that_it_needs_the_run(self, run, tmp_path):
        from tfmed.engine.exporting import export
        from tfmed.errors import UserError

        folder = export(run, tmp_path / "export")
        note = json.loads((folder / "tfmed.json").read_text(encoding="utf-8"))
        assert [step["step"] for step in note["steps"]] == ["orient", "resample"]
        assert [step["step"] for step in note["steps_inside"]] == ["window"]
        with pytest.raises(UserError, match=r"reference.*run"):
            open_model(folder)


def method(*overrides):
    settings = tfmed.load_config(REPOSITORY / CONFIG, (*TINY, *overrides))
    return registry.method_class(settings.method)(settings)


# --- network and loss -------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_the_papers_network():
    network = build_network(Config())
    assert network.count_params() == 850_049
    shapes = {name: tuple(network.get_layer(name).output.shape) for name in ("joined", "pool", "logits")}
    assert shapes["joined"][-1] == 192
    sized = network.compute_output_shape((2, 100, 100, 1))
    assert tuple(sized) == (2, 100, 100, 1)
    assert len([layer for layer in network.layers if "encoder" in layer.name]) == 4


def test_probabilities_of_slices_and_the_loss():
    """Pooling halves the sides; probabilities; cross-entropy, weighted where it is asked for."""
    config = Config(widths=(2, 3), side=8, positive_weight=3.0)
    model = SliceUNet(config, seed=1, per_step=2)
    rng = np.random.default_rng(0)
    image, label = rng.random((2, 8, 8)).astype("float32"), rng.integers(0, 2, (2, 8, 8)).astype("uint8")
    p = model(image[..., None]).numpy()[..., 0].astype(float)
    assert p.shape == (2, 8, 8) and (p > 0).all() and (p < 1).all()
    loss, _ = model.network_loss({"image": tf.constant(image), "label": tf.constant(label)})
    expected = -np.where(label, 3 * np.log(p), np.log(1 - p)).mean()
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    pooled = model.network.get_layer("pool")
    assert pooled(tf.zeros((1, 100, 100, 2))).shape == (1, 50, 50, 2)


# --- slices that train ------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_slices_of_the_reference():
    """Without turns and shifts they are the plain ones; each is there once per volume; with them the mask follows."""
    still = method("model.shift_mm=0", "model.turn_degrees=0")
    made = still.open(still.reference)
    starts = [round(c - 7.5) for c in still.patch_of(made).centre]
    patch = still.patch_of(made)
    samples = still.samples()
    plain = {(axis, number): patch.slice(np.asarray(made.image[..., 0], np.float32), axis, number)
             for axis in range(3) for number in range(16)}  # fmt: skip
    found = [samples.read(index)["image"] for index in range(48)]
    for one in plain.values():
        assert sum(np.allclose(one, other, atol=1e-6) for other in found) == 1
    near = np.asarray(made.image[starts[0] : starts[0] + 16, starts[1] : starts[1] + 16, starts[2] : starts[2] + 16, 0])
    assert np.corrcoef(near[8].ravel(), plain[0, 8].ravel())[0, 1] > 0.8  # to half a voxel
    moving = method()
    first, again, later = (moving.samples().read(index) for index in (5, 5, 53))
    np.testing.assert_array_equal(first["image"], again["image"])
    assert (first["image"] != later["image"]).any()
    labels = sum(int(moving.samples().read(index)["label"].sum()) for index in range(48))
    mask = 3 * int(np.asarray(made.label).sum())
    assert 0.5 * mask < labels < 1.5 * mask


def test_which_slices_train():
    assert len(slices_that_train(Config())) == 300
    assert {axis for axis, _ in slices_that_train(Config(train_axes="y"))} == {1}
    near = slices_that_train(Config(train_axes="z", near_mm=5.0))
    assert near[0] == (0, 30) and near[-1] == (0, 69) and len(near) == 40


# --- where the structure is -------------------------------------------------------------------------------------------


def test_the_loop_goes_on_until_the_centre_stays():
    """A network that is right at once is asked twice; as it is printed, the loop would end before anything is done."""
    true = np.array([10.0, 20, 30])

    def oracle(centre):
        return Look(np.zeros((1, 1, 1)), true, 1.0)

    path, seen, stayed = settle(oracle, [0, 0, 0], np.ones(3), 1.0, 10)
    assert len(path) == 2 and stayed and (seen.centre == true).all()
    path, _, stayed = settle(oracle, true + 0.5, np.ones(3), 1.0, 10)
    assert len(path) == 1 and stayed
    path, _, stayed = settle(lambda c: Look(None, c + 2.0, 1.0), [0, 0, 0], np.ones(3), 1.0, 4)
    assert len(path) == 4 and not stayed
    path, _, stayed = settle(lambda c: Look(None, c + 2.0, 1.0), [0, 0, 0], np.full(3, 0.25), 1.0, 4)
    assert len(path) == 1 and stayed  # 2 voxels of 0.25 mm along each axis are less than a millimetre


LOBES = np.array([[0.0, 0, 0], [0, 0, 8.0], [0, 5.0, 2], [-3.5, 0, -1]])  # mm (z, y, x), skewed along every axis


def lobes(shape, spacing, middle, turn=None):
    """(image in [0, 1], voxels of the lobes): bright lobes about a voxel, turned."""
    places = LOBES if turn is None else LOBES @ turn.T
    grid = (np.stack(np.indices(shape), -1) - middle) * spacing
    image = sum(w * np.exp(-((grid - p) ** 2).sum(-1) / 6) for w, p in zip((1, 0.6, 0.4, 0.5), places, strict=True))
    return np.clip(image, 0, 1).astype("float32"), middle + places / spacing


def brightness(cube):
    """A network to which bright voxels are the structure."""
    found = np.where(cube > 0.1, cube, 0) ** 3
    centre, mass = centre_of_mass(tf.constant(found))
    return found, centre.numpy(), float(mass), np.full(3, np.nan)


def locator_of(**config):
    """A Locator that has lobes as its reference."""
    config = Config(side=36, spacing_mm=1.0, demons_iterations=15, widths=(2, 2), **config)
    fixed, points = lobes((48, 48, 48), np.ones(3), np.array([23.0, 24, 22]))
    reference = types.SimpleNamespace(image=fixed[..., None], label=(fixed > 0.4).astype("uint8"), affine=np.eye(4))
    return Locator(config, brightness, reference, to_mm(points, np.eye(4)))


def target(spacing=(1.0, 1.0, 1.0), turn=None):
    """(image with turned lobes elsewhere, their voxels)."""
    shape = tuple(round(52 / s) for s in spacing)
    return lobes(shape, np.array(spacing), np.array([28.0, 22, 25]) / spacing, turn)


def located(spacing=(1.0, 1.0, 1.0), turn=None, image=None, **config):
    """(Located of a target with turned lobes elsewhere, its true lobes in mm)."""
    other = np.diag([*spacing[::-1], 1.0])
    made, true = target(spacing, turn)
    return locator_of(**config)(made if image is None else image, other), to_mm(true, other)


@pytest.mark.one_stack
def test_landmarks_follow_a_turned_structure():
    turn = euler([20, -15, 100])
    found, true = located(turn=turn)
    assert np.linalg.norm(found.points - true, axis=1).max() < 0.7
    assert found.facts["turned degrees"] == pytest.approx(angle_of(turn), abs=2)
    assert found.facts["stayed"] and 2 <= found.facts["iterations"] <= 5
    rigid, _ = located(turn=turn, registration=False)
    assert np.linalg.norm(rigid.points - true, axis=1).max() < 1 and "NCC after" not in rigid.facts
    compared, _ = located(turn=turn, sign="ncc", registration=False)
    np.testing.assert_allclose(compared.points, rigid.points, atol=1e-6)
    unturned, _ = located(turn=turn, sign="none")
    assert np.linalg.norm(unturned.points - true, axis=1).max() > 3 and unturned.facts["turned degrees"] == 0
    scanned, _ = located(turn=turn, start="scan", registration=False)
    np.testing.assert_allclose(scanned.points, rigid.points, atol=1)


def off(turn, told=(1, 1, 1), tilt=(0, 0, 0), **config):
    """By how many degrees the rotation is off that is found for turned lobes.

    Args:
        turn: of the lobes.
        told: factors of the third moments.
        tilt: by which the axes that are found are turned away from the true ones, degrees.
        config: settings.
    """
    locator, (image, _) = locator_of(**config), target(turn=turn)
    _, seen, _ = locator.settled(image, np.ones(3), locator.middle)
    found = moments(seen.map)
    found = dataclasses.replace(found, skewness=found.skewness * told, axes=euler(tilt) @ found.axes)
    return angle_of(locator.rotation(image, np.ones(3), seen.centre, found) @ turn.T)


@pytest.mark.one_stack
def test_signs_by_a_rigid_fit():
    """Third moments that lie turn the target round; axes that are far off too, for patches as they lie."""
    turn, tilt = euler([20, -15, 30]), (0, -65, 0)
    assert off(turn, (-1, 1, -1)) > 170 and off(turn, (1, -1, -1)) > 170
    assert off(turn, (-1, 1, -1), sign="registration") < 2
    assert off(turn, tilt=tilt, sign="ncc") > 150
    assert off(turn, tilt=tilt, sign="registration") == pytest.approx(65, abs=2)


@pytest.mark.one_stack
def test_turns_that_are_too_large_are_left_out():
    """Half turns are against a bound of 90 degrees; where no rotation is within the bound there is none."""
    turn = euler([20, -15, 30])
    assert off(turn, (-1, 1, -1), max_turn_deg=90) < 2 and off(turn, max_turn_deg=90) < 2
    assert off(turn, sign="ncc", max_turn_deg=90) < 2
    assert off(turn, max_turn_deg=angle_of(turn) - 5) == pytest.approx(angle_of(turn))  # not turned at all


@pytest.mark.one_stack
def test_landmarks_in_anisotropic_voxels():
    """Prepared volumes are isotropic but for rounding; the geometry does not rely on it."""
    found, true = located(spacing=(1.25, 1.0, 0.8), turn=euler([0, 10, 20]))
    assert np.linalg.norm(found.points - true, axis=1).max() < 1.2


@pytest.mark.one_stack
def test_a_structure_that_is_not_there_has_no_landmarks():
    noise = np.random.default_rng(0).uniform(0, 0.11, (52, 52, 52)).astype("float32")
    found, _ = located(image=noise)
    assert np.isnan(found.points).all() and "was not found" in found.problem and found.facts["score"] < 0.05
    blank, _ = located(image=np.zeros((52, 52, 52), "float32"))
    assert np.isnan(blank.points).all() and blank.problem


@pytest.mark.one_stack
def test_registration_of_whole_images_alone():
    """The baseline looks at no centre; of a volume that hardly differs it is right."""
    config = Config(side=36, spacing_mm=1.0, demons_iterations=10, widths=(2, 2), localise=False)
    fixed, points = lobes((40, 40, 40), np.ones(3), np.array([20.0, 20, 20]))
    reference = types.SimpleNamespace(image=fixed[..., None], label=fixed > 0.4, affine=np.eye(4))
    found = Locator(config, None, reference, to_mm(points, np.eye(4)))(np.roll(fixed, 1, 0), np.eye(4))
    np.testing.assert_allclose(found.points, to_mm(points + [1, 0, 0], np.eye(4)), atol=0.4)
    assert len(found.centres) == 0 and found.facts["NCC after"] > found.facts["NCC before"]
    assert all(Config(**change) != Config() for change in WAYS.values())


def test_voxels_and_millimetres():
    affine = np.array([[0, 0.5, 0, 3], [2.0, 0, 0, -1], [0, 0, -1, 7], [0, 0, 0, 1]])
    points = np.random.default_rng(0).uniform(-9, 9, (5, 3))
    np.testing.assert_allclose(to_voxels(to_mm(points, affine), affine), points, atol=1e-9)
    np.testing.assert_allclose(to_mm([[1, 2, 3]], affine), [[0.5 * 2 + 3, 2 * 3 - 1, -1 + 7]])


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_one_reference_with_everything():
    with pytest.raises(DataError, match=r"3 cases would train.*one reference"):
        method("data.split={given: false, validation: 0.25, test: 0}").prepared("train")
    with pytest.raises(DataError, match=r"landmark window lies outside of the patch; raise model.side"):
        method("model.side=8").prepared("train")
    bare = method("data.source=phantom_temporal_bone", f"data.options={{cases: 3, without: 1, {OPTIONS}}}")
    case = bare.cases["train"][0]
    bare.cases["train"][0] = type(case)(case.id, case.group, case.images, case.label, {"part": "train"})
    with pytest.raises(DataError, match="is the reference and has no landmarks"):
        bare.prepared("train")
    with pytest.raises(ConfigError, match="ways"):
        method("model.ways=[none]")


@pytest.mark.one_stack
def test_anisotropic_volumes_in_any_orientation_are_prepared_alike():
    """A volume that is flipped and has thick slices shows its structure at the same place in mm."""
    ear = phantoms.temporal_bone(3, (24, 24, 24), 1.0, noise=0.0)
    flipped = Volume(ear.volume.array[::-1, :, ::-1], ear.volume.affine @ np.array(
        [[-1, 0, 0, 23], [0, 1, 0, 0], [0, 0, -1, 23], [0, 0, 0, 1.0]]))  # fmt: skip
    one = method()
    seen = []

    def keep(image, affine):
        seen.append((image, affine))
        return Located(np.zeros((3, 3)), np.zeros((0, 3)), "", {})

    for volume in (ear.volume, flipped, Volume(ndimage.zoom(ear.volume.array, (0.5, 1, 1), order=1),
                                               ear.volume.affine @ np.diag([1, 1, 2, 1]))):  # fmt: skip
        one.locate(volume, keep)
    np.testing.assert_allclose(seen[0][0], seen[1][0], atol=1e-6)
    np.testing.assert_allclose(seen[0][1], seen[1][1], atol=1e-6)
    assert seen[2][0].shape == (24, 24, 24) and np.allclose(np.diag(seen[2][1]), 1)
