"""Frequency-supervised MR-to-CT: the harness, and every item of the card's "What must hold".

Base networks, metrics, windows and sources have tests of their own: tests/nn/test_voxelwise3d.py,
tests/metrics/test_image_quality.py, tests/ops/test_sliding_window.py, tests/data/test_modality_folders.py.
"""

import csv
import pathlib
from types import SimpleNamespace

import hypothesis
import keras
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf
from hypothesis import strategies as st

import tfmed
from tests.support.harness import MethodHarness
from tfmed import cli, evaluate, predict
from tfmed.augment.paired import VolumePolicy, sample_grid
from tfmed.engine.exporting import export
from tfmed.engine.lifecycle import fit
from tfmed.errors import DataError, RunError
from tfmed.io import Volume, read_volume, reorient, write_volume
from tfmed.methods.fsmr2ct import METHOD, Config, Synthesizer, build_network
from tfmed.methods.fsmr2ct.method import PairTargets, in_hu, lowpass
from tfmed.methods.fsmr2ct.networks import Decomposition, refinement
from tfmed.tasks.ct_scores import edges, scores
from tfmed.tasks.ct_synthesis import turned_reach

pytestmark = pytest.mark.current

CONFIG = pathlib.Path(__file__).parents[2] / "configs" / "fsmr2ct.yaml"
SMALL = dict(patch=(8, 8, 8), widths=(2, 4), refine="stack", refine_width=2, refine_size=1, lowpass_size=2.0)
TINY = (
    "data.options={cases: 5, cts: 0, shape: [8, 16, 16]}",
    "data.split={folds: null, test: 0.2, validation: 0.0}",
    "train.batch_size=2",
    *(f"model.{name}={list(value) if isinstance(value, tuple) else value}" for name, value in SMALL.items()),
)


class TestHarness(MethodHarness):
    """One level, and a critic from the first step on; `run` below has two of both."""

    config = "configs/fsmr2ct.yaml"
    tiny = (*TINY, "model.widths=[2]", "model.pretrain_fraction=0", "data.split.validation=0.2")
    bad = ("model.widths=[2, 4, 8, 16]", "8 voxels leave one at the deepest level")

    def parity(self, run):
        method = run.restored()
        volume = np.random.default_rng(0).uniform(0, 900, (9, 13, 6)).astype("float32")
        scaled = (volume - volume.mean()) / volume.std()
        return [method.synthesise(scaled[..., None])["ct"]], [{"image": volume}]

    def assert_parity(self, found, expected):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=0.05)


def config(**changes):
    return Config(**SMALL | changes)


def settings(*overrides):
    shared = ("train.steps=2", "train.log_every=1", "train.tensorboard=false")
    return tfmed.load_config(CONFIG, (*shared, *TINY, *overrides))


def model(count=2, **changes):
    keras.utils.set_random_seed(0)
    return Synthesizer(config(**changes), steps=10, per_step=count)


def batch(count=2, seed=0):
    rng = np.random.default_rng(seed)
    mr, ct = rng.normal(size=(count, 8, 8, 8, 1)), rng.uniform(0, 1, (count, 8, 8, 8, 1))
    parts = {"mr": mr, "ct": ct, "high": ct - ct.mean()}
    return {"index": tf.range(count, dtype=tf.int64)} | {k: tf.constant(v, tf.float32) for k, v in parts.items()}


# --- frequencies ------------------------------------------------------------------------------------------------------


@hypothesis.given(
    st.tuples(*[st.integers(3, 9)] * 3), st.integers(0, 99), st.sampled_from(["gaussian", "box"]), st.floats(1, 6)
)
@hypothesis.settings(max_examples=20)
def test_low_and_high_add_up_and_both_are_linear(shape, seed, kind, size):
    rng = np.random.default_rng(seed)
    one, other = rng.uniform(0, 1, (2, *shape)).astype("float32")
    high = one - lowpass(one, kind, size)
    np.testing.assert_allclose(lowpass(one, kind, size) + high, one, atol=1e-6)
    assert np.abs(high).max() <= 1
    np.testing.assert_allclose(
        lowpass(one + 2 * other, kind, size), lowpass(one, kind, size) + 2 * lowpass(other, kind, size), atol=1e-5
    )


def test_a_constant_has_no_high_frequencies_but_for_the_box_at_its_border():
    constant = np.full((12, 10, 9), 0.7, np.float32)
    np.testing.assert_allclose(lowpass(constant, "gaussian", 3.0), constant, atol=1e-6)
    box = lowpass(constant, "box", 4)
    np.testing.assert_allclose(box[3:-3, 3:-3, 3:-3], 0.7, atol=1e-6)
    assert box[0, 0, 0] < 0.3


def test_hu_and_back():
    """-1024 is 0 and 2252.7 is 1; with tanh -1 and 1; beyond is clipped; frequencies have no offset."""
    hu = np.array([-3000, -1024, 0, 614.35, 2252.7, 4000], np.float32)
    for output in ("linear", "tanh"):
        c = config(output=output)
        targets = PairTargets(window_hu=c.window_hu, range=c.range, lowpass="gaussian", size=1.0)
        volume = Volume(np.tile(hu, (2, 2, 1)), np.eye(4))
        _, ct, _ = targets.together([volume, volume])
        low, high = c.range
        np.testing.assert_allclose(ct.array[0, 0, [1, 3, 4]], [low, (low + high) / 2, high], atol=1e-6)
        window = METHOD(settings(f"model.output={output}")).window
        made = in_hu(np.stack([ct.array] * 3, -1), window, clip=True)
        np.testing.assert_allclose(made["ct"][0, 0], np.clip(hu, -1024, 2252.7), atol=1e-2)
        np.testing.assert_allclose(made["high"], 3276.7 / (high - low) * ct.array, rtol=1e-5)
    assert in_hu(np.full((1, 1), 2.0), window, clip=False)["ct"][0] > 3000


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unfilled_weights")
def test_parameter_totals():
    """Section 3: 11,468,292 without norm in the refinement, 11,468,868 with it; the split of the features."""
    network = build_network(Config())
    counts = [refinement(Config(refine_norm=norm), 32).count_params() for norm in ("none", "instance")]
    assert network.count_params() == 11_468_292
    assert network.count_params() - counts[0] + counts[1] == 11_468_868
    assert network.get_layer("decomposition").count_params() == 1_730


WEIGHTS = {
    ("factor", 7): 64_512, ("factor", 13): 119_808, ("factor", 19): 175_104, ("stack", 3): 82_944,
    ("stack", 6): 165_888, ("stack", 9): 248_832, ("large", 3): 82_944, ("large", 5): 384_000, ("large", 7): 1_053_696,
}  # fmt: skip


@pytest.mark.parametrize("kind, size", WEIGHTS)
def test_weights_of_the_refinements(kind, size):
    """Table 2; biases are not counted there."""
    network = refinement(Config(refine=kind, refine_size=size), 32)
    assert sum(np.prod(v.shape) for v in network.trainable_variables if len(v.shape) == 5) == WEIGHTS[kind, size]


def linear_refinement(kernels=None):
    c = config(refine_activation="linear", refine="factor", refine_size=5)
    network = refinement(c, 2)
    rng = np.random.default_rng(0)
    for v in network.trainable_variables:
        if len(v.shape) == 5:
            drawn = rng.normal(size=v.shape)
            v.assign(drawn if kernels is None else kernels(v.shape))
    return network


def test_refinement_reaches_a_box():
    """The response to an impulse fills k^3 voxels, and nothing beyond them."""
    image = np.zeros((1, 11, 11, 11, 2), np.float32)
    image[0, 5, 5, 5] = 1
    touched = np.argwhere(np.abs(linear_refinement()(image).numpy()[0]).max(-1) > 0)
    assert (touched.min(0) == 3).all() and (touched.max(0) == 7).all() and len(touched) == 125


def test_shared_chains_commute_with_a_cyclic_exchange_of_the_axes():
    """The first convolutions of all chains share their numbers, as do the second and the third."""
    numbers = [np.random.default_rng(k).normal(size=(5, 2, 2)).astype("float32") for k in range(3)]
    network = linear_refinement()
    for layer in network.layers:
        if "_conv" in layer.name:
            position = int(layer.name[-1])
            layer.kernel.assign(numbers[position].reshape(layer.kernel.shape))
    image = np.random.default_rng(9).normal(size=(1, 7, 7, 7, 2)).astype("float32")
    turned = np.moveaxis(image, 1, 3)
    expected = np.moveaxis(network(image).numpy(), 1, 3)
    np.testing.assert_allclose(network(turned).numpy(), expected, rtol=1e-4, atol=1e-3)


def test_decomposition_loses_nothing():
    layer, features = Decomposition(), np.random.default_rng(0).normal(size=(2, 4, 5, 6, 3)).astype("float32")
    low, high = (part.numpy() for part in layer(features))
    np.testing.assert_allclose(low + high, features, atol=1e-6)
    np.testing.assert_allclose(layer.maps(features).numpy().sum(-1), 1, atol=1e-6)
    assert 0.01 < np.abs(low).mean() / np.abs(features).mean() < 0.99


@pytest.mark.one_stack
@pytest.mark.parametrize("base, head", [
    ("unet", "plain"), ("fcnet", "boundary"), ("unet", "freq"), ("fcnet", "freq"), ("resnet", "freq"),
])  # fmt: skip
def test_any_size_and_the_sum_of_both_branches(base, head):
    network = build_network(config(base=base, head=head, adv="none"))
    for size in ((8, 8, 8), (8, 16, 24)):
        found = network(np.random.default_rng(0).normal(size=(1, *size, 1)).astype("float32")).numpy()
        assert found.shape == (1, *size, 3 if head == "freq" else 1)
        if head == "freq":
            np.testing.assert_allclose(found[..., 0], found[..., 1] + found[..., 2], atol=1e-5)


def test_boundary_refinement_starts_from_the_plain_map():
    """s + conv(ReLU(conv(s))): with a last convolution of zeros it is the plain head."""
    network = build_network(config(head="boundary", adv="none"))
    image = np.random.default_rng(0).normal(size=(1, 8, 8, 8, 1)).astype("float32")
    rough = keras.Model(network.input, network.get_layer("head").output)(image).numpy()
    assert np.abs(network(image).numpy() - rough).max() > 1e-4
    for v in network.get_layer("boundary1").trainable_variables:
        v.assign(tf.zeros(v.shape))
    np.testing.assert_allclose(network(image).numpy(), rough, atol=1e-6)


def test_tanh_wraps_the_sum():
    network = build_network(config(output="tanh"))
    found = network(np.random.default_rng(0).normal(size=(1, 8, 8, 8, 1)).astype("float32")).numpy()
    np.testing.assert_allclose(found[..., 0], np.tanh(found[..., 1] + found[..., 2]), atol=1e-5)


# --- losses and phases ------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_reconstruction_is_eq_1():
    m, b = model(), batch()
    made = m(b["mr"]).numpy()
    total, _ = m.generator_loss(b, m.made(b), "pretrain")
    high, whole = np.abs(made[..., 2:] - b["high"]).mean(), np.abs(made[..., :1] - b["ct"]).mean()
    assert float(total) == pytest.approx(high + whole, rel=1e-5)
    total, logs = m.generator_loss(b, m.made(b))
    assert float(total) == pytest.approx(high + whole + 0.001 * float(logs["generator_critic"]), rel=1e-6)
    m = model(head="plain", adv="none")
    assert float(m.generator_loss(b, m.made(b))[0]) == pytest.approx(np.abs(m(b["mr"]) - b["ct"]).mean(), rel=1e-5)


@pytest.mark.one_stack
def test_one_pair_has_the_plain_relativistic_loss():
    m, b = model(1), batch(1)
    made = m(b["mr"])
    real, fake = (float(m.critic(x)[0, 0]) for x in (b["high"], made[..., 2:]))
    assert float(m.critic_loss(b, m.made(b))[0]) == pytest.approx(np.log1p(np.exp(fake - real)), rel=1e-4)
    m.judged = lambda batch, made: (batch["high"], batch["high"])
    assert float(m.critic_loss(b, m.made(b))[0]) == pytest.approx(np.log(2), rel=1e-5)


def test_the_critic_teaches_the_high_branch_alone():
    """Its gradient reaches the refinement, the split and the trunk, and not the low head."""
    m, b = model(), batch()
    with tf.GradientTape() as tape:
        term = m.generator_loss(b, m.made(b))[1]["generator_critic"]
    names = {"low": "low", "high": "high", "split": "decomposition", "refinement": "refinement"}
    variables = {key: list(m.generator.get_layer(name).trainable_variables) for key, name in names.items()}
    trunk = [v for layer in m.generator.layers if layer.name.startswith(("down", "encoder", "unet"))
             for v in layer.trainable_variables]  # fmt: skip
    found = tape.gradient(term, [[getattr(v, "value", v) if keras.__version__[0] == "3" else v for v in part]
                                 for part in (*variables.values(), trunk)])  # fmt: skip
    reached = [any(g is not None and float(tf.reduce_max(tf.abs(g))) > 0 for g in part) for part in found]
    assert reached[1:] == [True, True, True, bool(trunk)] and trunk
    assert not reached[0]


@pytest.mark.one_stack
@pytest.mark.parametrize("changes, seen", [
    ({"adv": "full"}, "ct"), ({"head": "plain", "adv": "full"}, "ct"), ({"d_condition": "channel"}, "high"),
])  # fmt: skip
def test_what_the_critic_sees(changes, seen):
    m, b, shown = model(**changes), batch(), []
    critic = m.critic
    m.critic = lambda x, training: (shown.append(x.numpy()), critic(x, training=training))[1]
    m.critic_loss(b, m.made(b))
    made = m(b["mr"]).numpy()
    for image, expected in zip(shown, (b[seen], made[..., 2:] if seen == "high" else made[..., :1]), strict=True):
        np.testing.assert_allclose(image[..., :1], expected, atol=1e-5)
        if changes.get("d_condition"):
            np.testing.assert_array_equal(image[..., 1:], b["mr"])
    assert critic.input_shape[-1] == (2 if changes.get("d_condition") else 1)


@pytest.mark.one_stack
def test_two_phases():
    """A fifth of the steps leave the critic as it is and log nothing of it; without a critic there is one phase."""
    m = model()
    assert [m.phases_of(step)[0] for step in (0, 1, 2, 9)] == ["pretrain", "pretrain", "adversarial", "adversarial"]
    before = [v.numpy() for v in m.critic.trainable_variables]
    assert set(m.train_step(batch(), "pretrain")) == {"reconstruction", "ct_l1", "high_l1"}
    for old, v in zip(before, m.critic.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, v.numpy())
    assert {"critic_loss", "generator_critic"} < set(m.train_step(batch(), "adversarial"))
    assert any((old != v.numpy()).any() for old, v in zip(before, m.critic.trainable_variables, strict=True))
    alone = model(adv="none")
    assert {alone.phases_of(step) for step in range(12)} == {("pretrain",)}


# --- samples ----------------------------------------------------------------------------------------------------------


def test_samples_move_mr_ct_and_frequencies_alike():
    """MR := CT, so that whatever moves one must move the other; the crop has no empty corner."""
    method = METHOD(settings("model.rotate_degrees=40", "model.patch=[8, 12, 12]"))
    opened = method.open

    def same(case):
        prepared = opened(case)
        image = np.stack([prepared.image[..., 1]] * 2 + [prepared.image[..., 2]], -1)
        return type(prepared)(image, None, prepared.affine, None)

    method.open = same
    samples = method.samples()
    for index in range(4):
        sample = samples.read(index)
        np.testing.assert_allclose(sample["mr"], sample["ct"], atol=1e-6)
        assert {image.shape for image in sample.values()} == {(8, 12, 12, 1)}
        np.testing.assert_array_equal(samples.read(index)["high"], sample["high"])
    assert method.margin == (0, 3, 3)


def test_targets_are_the_low_and_high_frequencies_of_the_ct():
    """The filter is a Gaussian of the settings' width whose border continues; both parts add up to the CT."""
    method = METHOD(settings("model.lowpass_size=1.5", "model.rotate_chance=0"))
    method.prepared("train")
    image = np.asarray(method.open(method.cases["train"][0]).image, np.float32)
    expected = scipy.ndimage.gaussian_filter(image[..., 1], 1.5, mode="nearest", truncate=4.0)
    assert np.abs(image[..., 1] - expected).max() > 0.05
    np.testing.assert_allclose(image[..., 2], expected, atol=1e-5)
    # Of a step along x, a Gaussian makes the normal distribution's integral.
    step = np.repeat((np.arange(41) > 20).astype("float32")[None, None], 3, 1)
    risen = scipy.stats.norm.cdf((np.arange(41) - 20.5) / 3.0)
    np.testing.assert_allclose(lowpass(step, "gaussian", 3.0)[0, 1], risen, atol=0.01)


def test_crops_are_rotated_about_the_body_axis():
    """A volume that only changes from slice to slice stays as it is; one that changes along x does not."""
    method = METHOD(settings("model.rotate_degrees=40", "model.patch=[8, 12, 12]"))
    seen = [side + 2 * edge for side, edge in zip((8, 12, 12), method.margin, strict=True)]
    z, _, x = np.meshgrid(*map(np.arange, seen), indexing="ij")
    for index in range(6):
        moved = method.rotated(np.stack([z, x], -1).astype("float32"), np.eye(4), index)
        np.testing.assert_allclose(moved[..., 0], np.broadcast_to(np.arange(8)[:, None, None], (8, 12, 12)), atol=1e-4)
        assert np.abs(np.diff(moved[..., 1], axis=1)).max() > 1e-3


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0), (3.0, 1.0)])
def test_the_margin_is_as_far_as_a_turned_crop_goes(spacing):
    """In voxels of pixels that are no squares: the extremes of grids that were turned."""
    policy = VolumePolicy(flip=None, shift=None, rotate=((-30, 30), (0, 0), (0, 0)), spacing=(1.0, *spacing))
    grids = np.stack([sample_grid(seed, (2, 12, 20), policy) for seed in range(300)])
    places = grids[..., 1:].reshape(-1, 2)
    beyond = np.maximum(-places.min(0), places.max(0) - (11, 19))
    reach = turned_reach((12, 20), 30, spacing)
    assert np.all(beyond <= reach) and np.all(beyond > 0.9 * reach - 1)


def test_crops_are_rotated_as_often_as_said():
    """Values of a crop that was not rotated stand in a training volume; of one that was most do not."""
    shares = {}
    for chance in (0.0, 0.5, 1.0):
        method = METHOD(settings(f"model.rotate_chance={chance}"))
        samples = method.samples()
        values = np.concatenate([method.open(case).image[..., 1].ravel() for case in method.cases["train"]])
        body = [sample["ct"][sample["ct"] > 0.05] for sample in map(samples.read, range(12))]
        shares[chance] = np.mean([np.isin(part, values).mean() > 0.99 for part in body if part.size])
    assert shares[0.0] == 1 and shares[1.0] == 0 and 0.1 < shares[0.5] < 0.9


def test_frequencies_of_crops():
    method = METHOD(settings("model.domain=crop", "model.lowpass=box", "model.lowpass_size=4"))
    sample = method.samples().read(1)
    expected = sample["ct"][..., 0] - lowpass(sample["ct"][..., 0], "box", 4)
    np.testing.assert_allclose(sample["high"][..., 0], expected, atol=1e-6)
    volume = METHOD(settings("model.lowpass=box", "model.lowpass_size=4")).samples().read(1)
    np.testing.assert_allclose(volume["ct"], sample["ct"], atol=1e-6)
    assert np.abs(volume["high"] - sample["high"]).max() > 0.05


# --- use --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run, of whose two steps the first has no critic."""
    return fit(settings("data.split.test=0.4", "model.pretrain_fraction=0.5"), tmp_path_factory.mktemp("fs") / "run")


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """Its SavedModel."""
    return export(run, tmp_path_factory.mktemp("fs") / "export")


@pytest.mark.parametrize("size", [(8, 8, 8), (11, 9, 21), (3, 30, 5)])
def test_windows_of_an_identity_give_the_volume_back(size):
    """Also where sides are no multiples of the stride, and where a volume is smaller than a window."""
    method = METHOD(settings())
    method.models["synthesis"] = SimpleNamespace(generator=lambda windows, training: tf.repeat(windows, 3, -1))
    image = np.random.default_rng(0).uniform(0, 1, (*size, 1)).astype("float32")
    made = method.synthesise(image)
    np.testing.assert_allclose(made["ct"], image[..., 0] * 3276.7 - 1024, atol=0.01)
    np.testing.assert_allclose(made["high"], image[..., 0] * 3276.7, atol=0.01)


@pytest.mark.one_stack
def test_predictions_lie_on_the_grid_of_the_mr(run, exported, tmp_path):
    """Also with other axes, and with all three maps."""
    array = np.random.default_rng(0).uniform(0, 900, (9, 13, 16)).astype("float32")
    volume = Volume(array, np.diag([2.0, 2.0, 5.0, 1.0]))
    write_volume(volume, tmp_path / "a.nii.gz")
    write_volume(reorient(volume, "LPS"), tmp_path / "b.nii.gz")
    inputs = [str(tmp_path / "a.nii.gz"), str(tmp_path / "b.nii.gz")]
    words = [str(run.path), *inputs, "--out", str(tmp_path / "out")]
    assert cli.run(predict.main, [*words, "--maps", "ct,low,high"]) == 0
    one, turned = (read_volume(tmp_path / "out" / f"{name}_ct.nii.gz") for name in "ab")
    assert one.shape == volume.shape and one.array.dtype == np.int16 and one.array.min() >= -1024
    np.testing.assert_allclose(one.affine, volume.affine, atol=1e-5)
    assert np.abs(reorient(turned, "RAS").array.astype(int) - one.array).max() <= 1
    words = [str(exported), inputs[1], "--out", str(tmp_path / "same")]
    assert cli.run(predict.main, [*words, "--outputs", "ct,high"]) == 0
    for name in ("ct", "high"):
        of_run, of_export = (read_volume(tmp_path / folder / f"b_{name}.nii.gz").array for folder in ("out", "same"))
        assert np.abs(of_run.astype(int) - of_export).max() <= 1
    low, high = (read_volume(tmp_path / "out" / f"a_{name}.nii.gz").array.astype(int) for name in ("low", "high"))
    inside = (one.array > -1020) & (one.array < 2250)
    assert np.abs(low + high - one.array)[inside].max() <= 2 and inside.any()


@pytest.mark.parametrize("array, maps, said", [
    (np.ones((9, 9, 9)), "ct", "every voxel is 1; the image is empty"),
    (np.full((9, 9, 9), np.nan), "ct", "NaN"),
    (np.random.default_rng(0).normal(size=(9, 9, 9)), "labels", "no output 'labels'; known: ct, low, high"),
])  # fmt: skip
def test_bad_inputs_of_predict(run, tmp_path, capsys, array, maps, said):
    write_volume(Volume(array.astype("float32"), np.eye(4)), tmp_path / "a.nii.gz")
    words = [str(run.path), str(tmp_path / "a.nii.gz"), "--out", str(tmp_path / "out"), "--maps", maps]
    assert cli.run(predict.main, words) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in line and "Traceback" not in line


@pytest.mark.one_stack
def test_exported_frequencies_add_up(exported):
    model = tf.saved_model.load(str(exported))
    image = tf.constant(np.random.default_rng(1).uniform(0, 900, (6, 10, 13)), tf.float32)
    whole = model.signatures["serving_default"](image=image)["ct"].numpy()
    parts = {name: value.numpy() for name, value in model.signatures["frequencies"](image=image).items()}
    inside = (whole > -1023) & (whole < 2252)
    np.testing.assert_allclose((parts["low"] + parts["high"])[inside], whole[inside], atol=0.05)


@pytest.mark.one_stack
def test_evaluation_by_the_command(run):
    assert cli.run(evaluate.main, [str(run.path)]) == 0
    with open(run.path / "evaluation.csv", encoding="utf-8") as stream:
        row = next(csv.DictReader(stream))
    measures = [f"{name}{where} mean" for name in ("mae_hu", "psnr_db", "ssim") for where in ("", "_edges")]
    assert {*measures, "mae_hu std", "dice_bone mean"} < set(row) and int(row["cases"]) == 2
    with open(run.path / "cases.csv", encoding="utf-8") as stream:
        values = [float(case["mae_hu"]) for case in csv.DictReader(stream)]
    assert float(row["mae_hu mean"]) == pytest.approx(np.mean(values))
    assert {"synthesis.png", "histogram.png"} <= {path.name for path in (run.path / "previews").iterdir()}


def test_scores_of_the_real_ct_and_of_a_shifted_one(run):
    """A perfect CT scores 0 HU and 1; one that is 50 HU too high by that everywhere, edges included."""
    method = run.restored()
    prepared = method.open(method.cases["test"][0])
    real = prepared.image[..., 1] * np.float32(3276.7) - 1024
    perfect = scores(method, prepared, {"ct": real})
    assert perfect["mae_hu"] == pytest.approx(0, abs=1e-3) and perfect["ssim_edges"] == pytest.approx(1, abs=1e-6)
    assert {perfect[f"dice_{name}"] for name in ("air", "soft", "bone")} == {1.0}
    shifted = scores(method, prepared, {"ct": real + 50})
    assert shifted["mae_hu"] == pytest.approx(50, abs=1e-3) == shifted["mae_hu_edges"]
    assert shifted["psnr_db"] == pytest.approx(20 * np.log10(3276.7 / 50), abs=1e-3)
    mask = edges(prepared, 0.2)
    high = np.abs(prepared.image[..., 1] - prepared.image[..., 2])
    assert mask.mean() == pytest.approx(0.2, abs=0.01) and high[mask].min() >= high[~mask].max()


def test_runs_that_cannot_be_compared(run):
    method, other = run.restored(), METHOD(settings("model.window_hu=[-1000, 2000]", "data.split.test=0.4"))
    with pytest.raises(RunError, match="window_hu"):
        method.evaluate({"a": method, "b": other})
    swapped = METHOD(settings("data.split={test: 0.4, seed: 3}"))
    if {c.group for c in swapped.cases["train"]} & {c.group for c in method.cases["test"]}:
        with pytest.raises(RunError, match="was trained on patient"):
            method.evaluate({"a": method, "b": swapped})


# --- pairs of one's own -----------------------------------------------------------------------------------------------


def write_pairs(folder, **arrays):
    """Four pairs in mr/ and ct/; `arrays` replaces images of the first one."""
    rng = np.random.default_rng(0)
    for k in range(4):
        images = {"mr": rng.uniform(0, 900, (9, 12, 12)), "ct": rng.uniform(-1000, 900, (9, 12, 12))}
        for name, image in (images | (arrays if k == 0 else {})).items():
            volume = image if isinstance(image, Volume) else Volume(image.astype("float32"), np.diag([2.0, 2, 3, 1]))
            write_volume(volume, folder / name / f"p{k}.nii.gz")
    words = ("data.source=modality_folders", f"data.root={folder}", "data.split.test=0.25")
    return METHOD(tfmed.load_config(CONFIG, (*TINY[1:], *words)))


def test_pairs_of_ones_own(tmp_path):
    method = write_pairs(tmp_path)
    assert {name: image.shape for name, image in method.samples().read(0).items()} == dict.fromkeys(
        ("mr", "ct", "high"), (8, 8, 8, 1))  # fmt: skip
    image = method.open(method.cases["train"][0]).image
    assert image[..., 0].mean() == pytest.approx(0, abs=1e-5) and image[..., 0].std() == pytest.approx(1, abs=1e-5)


NOISE = np.random.default_rng(1).uniform(-1000, 900, (9, 12, 12)).astype("float32")


@pytest.mark.parametrize("arrays, said", [
    ({"ct": NOISE[:, :10]}, "its shape (9, 10, 12) is not the"),
    ({"ct": Volume(NOISE, np.diag([2.0, 2.5, 3, 1]))}, "its corners lie up to"),
    ({"mr": np.ones((9, 12, 12))}, "every voxel is 1; the image is empty"),
    ({"ct": np.full((9, 12, 12), -1000)}, "every voxel is -1000; the image is empty"),
    ({"ct": NOISE[:3], "mr": NOISE[:3]}, "smaller than the 4 x 4 x 4 voxels"),
    ({"ct": NOISE[:, :4, :4], "mr": NOISE[:, :4, :4]}, ""),
])  # fmt: skip
def test_bad_pairs_are_named(tmp_path, arrays, said):
    method = write_pairs(tmp_path, **arrays)
    if not said:  # half of a patch is enough
        assert method.prepared("train")
        return
    with pytest.raises(DataError) as caught:
        [method.prepared(part) for part in ("train", "test")]
    assert said in str(caught.value) and "p0.nii.gz" in str(caught.value) and "\n" not in str(caught.value)


def test_a_window_that_leaves_nothing(tmp_path):
    """A CT in other units than HU is constant once it is clipped."""
    method = write_pairs(tmp_path, ct=np.random.default_rng(0).uniform(30_000, 60_000, (9, 12, 12)))
    with pytest.raises(DataError, match="p0: every voxel of the prepared CT is 1"):
        [method.prepared(part) for part in ("train", "test")]


def test_unpaired_cases_are_refused():
    method = METHOD(settings("data.options={cases: 3, cts: 2}"))
    with pytest.raises(DataError, match="has no 'mr' image"):
        [method.prepared(part) for part in ("train", "test")]


@pytest.mark.parametrize("changes, said", [
    ({"head": "plain"}, "only made by head freq"), ({"refine": "factor", "refine_size": 4}, "odd"),
    ({"patch": (8, 8, 9)}, "9 is no multiple of 2"),
    ({"widths": (2, 4, 8, 16)}, "at least 16"), ({"window_hu": (5, 5)}, "window_hu"),
])  # fmt: skip
def test_settings_that_make_no_sense(changes, said):
    with pytest.raises(ValueError, match=said):
        config(**changes)


def test_the_paper_settings_are_published_ones():
    loaded = tfmed.load_config(CONFIG)
    c, train = loaded.model, loaded.train
    assert (c.base, c.head, c.adv, c.refine, c.refine_size) == ("unet", "freq", "high", "factor", 13)
    assert (c.learning_rate, c.beta_1, c.patch, c.adv_weight, c.lowpass_size) == (1e-3, 0.9, (64,) * 3, 0.001, 15.0)
    assert train.steps * train.batch_size == 5000 * 36 and train.schedule.kind == "constant"
    assert {part: len(cases) for part, cases in METHOD(loaded).cases.items()} == {
        "train": 36, "validation": 0, "test": 9}  # fmt: skip


PUBLISHED = {  # settings file -> (base, head, critic, refinement, its size)
    **{base + ("" if head == "plain" else f"_{head}"): (base, head, "none", "factor", 13)
       for base in ("unet", "fcnet", "resnet") for head in ("plain", "boundary", "freq")},
    "gan": ("unet", "plain", "full", "factor", 13),
    **{f"{kind}{size}": ("unet", "freq", "none", kind, size) for kind, size in set(WEIGHTS) - {("factor", 13)}},
    "released_code": ("unet", "freq", "high", "factor", 13),
}  # fmt: skip


@pytest.mark.parametrize("profile", ["paper", "demo"])
def test_settings_files_are_the_papers_rows(profile):
    """Tables 1 to 3, in the demo profile as well."""
    for name, row in PUBLISHED.items():
        c = tfmed.load_config(CONFIG.parent / "fsmr2ct" / f"{name}.yaml", profile=profile).model
        assert (c.base, c.head, c.adv, c.refine, c.refine_size) == row, name
    files = {path.stem for path in (CONFIG.parent / "fsmr2ct").glob("*.yaml")}
    assert files == {*PUBLISHED, "pairs"}
