"""CT-SGAN: the harness, and every item of its card's "What must hold"."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests.support.harness import MethodHarness
from tfmed import cli, load_config, sample
from tfmed.data.nodules import nodules_of
from tfmed.io import read_volume
from tfmed.losses.adversarial import r1
from tfmed.methods.ctsgan import CTSGAN, METHOD, Config, build_network
from tfmed.methods.ctsgan.model import SliceSequence, assemble, draw_slab, position_channel, positions, thin_slices

pytestmark = pytest.mark.current

TINY_MODEL = dict(
    volume_shape=(18, 28, 28),
    patient_noise_size=8,
    slice_noise_size=4,
    lstm_units=6,
    generator_channels=(16, 8),
    slice_critic_channels=(8,),
    slab_critic_channels=(8,),
    slab_length=8,
    slab_depth_kernel=3,
    slices_per_slab=4,
)
TINY = (
    "data.options={cases: 8, shape: [18, 28, 28]}",
    "train.batch_size=2",
    *(f"model.{name}={list(value) if isinstance(value, tuple) else value}" for name, value in TINY_MODEL.items()),
)
# For tests of what is around a method: traced in less time.
SIMPLE = (*TINY, "model.cell=iid")


def model(seed=0, per_step=2, **changes):
    keras.utils.set_random_seed(seed)
    return CTSGAN(Config(**TINY_MODEL | changes), seed=seed, per_step=per_step)


def batch(per_step=2, seed=0, config=None):
    config = config or Config(**TINY_MODEL)
    length, height, width = config.volume_shape
    volume = np.random.default_rng(seed).uniform(-1, 1, (per_step, length, height, width)).astype("float32")
    places = [draw_slab(seed, i, length, config.slab_length, config.slices_per_slab) for i in range(per_step)]
    return {
        "index": tf.range(per_step, dtype=tf.int64),
        "slab": tf.stack([v[s - 1 : s + config.slab_length + 1] for v, (s, _) in zip(volume, places, strict=True)]),
        "start": tf.constant([s for s, _ in places]),
        "chosen": tf.constant(np.stack([chosen for _, chosen in places])),
    }


class TestHarness(MethodHarness):
    config = "configs/ctsgan.yaml"
    tiny = TINY
    bad = ("model.gp=none", "Wasserstein")

    def parity(self, run):
        method = run.restored()
        expected = [np.stack([v.array for v in method.sample(n, seed)]) for seed, n in ((3, 1), (7, 2))]
        calls = [{"seed": np.int64(seed), "n": np.int32(n)} for seed, n in ((3, 1), (7, 2))]
        return expected, calls

    def assert_parity(self, found, expected):
        assert found.dtype == np.int16
        assert np.abs(found.astype(int) - expected).max() <= 1  # HU; rounding may fall either way

    def test_samples_are_in_hu_and_as_large_as_patients(self, run):
        (volume,) = run.sample(1, seed=4)
        assert volume.array.dtype == np.int16 and volume.array.min() >= -1000 and volume.array.max() <= 400
        extent = np.array(volume.spacing) * volume.shape
        np.testing.assert_allclose(extent, (320, 360, 360), rtol=1e-3)  # the phantoms' view, mm

    def test_evaluation_stands_beside_real_data(self, run):
        method = run.restored()
        (real, ours), again = (method.evaluate({"run": method}, count=3)["evaluation"] for _ in range(2))
        assert [real["source"], ours["source"]] == ["real data (two halves)", f"run ({method.config.architecture})"]
        assert real["FD[random-0] mean"] < ours["FD[random-0] mean"]  # a few steps of training fool nobody
        assert [real, ours] == again

    def test_the_command_samples_as_it_is_told(self, run, tmp_path, capsys):
        """Any length, each slice as thick as in training; decoded in chunks of any size; with noise that is shared."""
        words = [str(run.path), "-n", "2", "--length", "30", "--fix", "slices", "--out"]
        assert cli.run(sample.main, [*words, str(tmp_path / "a")]) == 0
        assert cli.run(sample.main, [*words, str(tmp_path / "b"), "--chunk", "3"]) == 0
        first, again = (read_volume(tmp_path / name / "sample-0001.nii.gz") for name in "ab")
        assert first.shape == (30, 28, 28)
        np.testing.assert_allclose(first.spacing[0], 320 / 18, rtol=1e-3)
        assert np.abs(first.array.astype(int) - again.array).max() <= 1
        for flag, word in (("--fix", "all"), ("--chunk", "0"), ("--length", "2")):
            assert cli.run(sample.main, [str(run.path), "--out", str(tmp_path / "c"), flag, word]) == 2
            assert f"{flag}: {word}" in capsys.readouterr().err


@pytest.mark.one_stack
class TestBaselineHarness(TestHarness):
    tiny = (*TINY, "model.architecture=3dgan", "model.baseline_size=16", "data.options={cases: 8, shape: [16, 16, 16]}")
    bad = ("model.baseline_size=20", "baseline_size")
    test_the_command_samples_as_it_is_told = None
    test_samples_are_in_hu_and_as_large_as_patients = None
    test_same_seed_same_numbers = test_exact_resume = test_save_and_load = None


@pytest.mark.one_stack
def test_both_data_sets_train_and_one_is_free_of_nodules(tmp_path):
    small = {"cases": 4, "shape": [8, 48, 48]}
    parts = {"lidc": {"options": {"folder": str(tmp_path), "options": small}}, "nlst": {"options": small}}
    shares = ("data.split.validation=0.25", "data.split.test=0.25")
    settings = load_config("ctsgan/two_data_sets", [f"data.options.parts={json.dumps(parts)}", *shares], "demo")
    method = METHOD(settings)
    for part, count in (("train", 2), ("validation", 1), ("test", 1)):
        sets = [case.meta["data_set"] for case in method.cases[part]]
        assert (sets.count("lidc"), sets.count("nlst")) == (count, count)
    copied = {case.id for cases in method.cases.values() for case in cases if "made_from" in case.meta}
    assert copied == {f"lidc-chest-{k:07d}" for k in range(4)}
    assert not any(nodules_of(case) for cases in method.cases.values() for case in cases)


# --- shapes -------------------------------------------------------------------------------------------------------


def test_shapes_of_the_four_networks():
    m = model()
    z = m.sample_latents((0, 0), (0, 0))
    assert z.shape == (16, 8 + 2 * 6)
    assert m.slice_sequence(tf.zeros((2, 16, 4)), tf.zeros((2, 24))).shape == (2, 16, 12)
    assert m.decode(z[:5]).shape == (5, 28, 28, 3)
    assert m(z).shape == (18, 28, 28)
    assert m.sample(0).shape == (18, 28, 28)


def test_paper_networks_follow_the_layer_tables():
    """Output of every stage at 224^3 as in the card's tables, and the patch scores 1 x 11 x 11."""
    config = Config()
    generator = build_network(config, "slice_generator")
    assert generator.input_shape == (None, 256)
    stages = [layer.output.shape[1:] for layer in generator.layers if layer.name.startswith("stage")][1:]
    assert [tuple(s) for s in stages] == [
        (14, 14, 512),
        (28, 28, 256),
        (56, 56, 128),
        (112, 112, 64),
        (224, 224, 3),
    ]
    assert tuple(build_network(config, "slice_critic").input_shape) == (None, 224, 224, 4)
    critic = build_network(config, "slice_critic")
    assert [tuple(critic.get_layer(f"block{i}").output.shape[1:]) for i in range(5)] == [
        (112, 112, 64),
        (56, 56, 128),
        (28, 28, 256),
        (14, 14, 512),
        (7, 7, 512),
    ]
    slab = build_network(config, "slab_critic")
    assert [tuple(slab.get_layer(f"block{i}").output.shape[1:]) for i in range(4)] == [
        (13, 112, 112, 64),
        (10, 56, 56, 128),
        (7, 28, 28, 256),
        (4, 14, 14, 512),
    ]
    assert tuple(slab.output_shape) == (None, 1, 11, 11, 1)


def test_224_slices_take_222_decodes():
    assert positions(224) == 222
    assert positions(3) == 1
    assert positions(224, slice_channels=1) == 224


def test_three_slices_use_all_channels_of_one_decode():
    slices = np.random.default_rng(0).normal(size=(1, 4, 5, 3)).astype("float32")
    np.testing.assert_array_equal(assemble(slices), np.moveaxis(slices[0], -1, 0))


@pytest.mark.parametrize("tensor", [False, True])
def test_assembly_gives_back_the_volume_bit_for_bit(tensor):
    volume = np.random.default_rng(1).normal(size=(11, 6, 7)).astype("float32")
    thin = thin_slices(tf.constant(volume[None]))[0]
    assert thin.shape == (9, 6, 7, 3)
    np.testing.assert_array_equal(np.asarray(assemble(thin if tensor else thin.numpy())), volume)


# --- latents ------------------------------------------------------------------------------------------------------


def test_patient_latent_is_one_and_slice_latents_differ():
    z = model().sample_latents((0, 0), (0, 0)).numpy()
    assert (z[:, :8] == z[:1, :8]).all()
    assert (np.abs(np.diff(z[:, 8:], axis=0)).max(axis=1) > 1e-6).all()


def test_recurrence_looks_both_ways():
    """Changing the last noise changes the latent at the first position, and the other way round."""
    m = model()
    noise, state = tf.random.normal((1, 5, 4), seed=0), tf.zeros((1, 24))
    z = m.slice_sequence(noise, state).numpy()
    last = m.slice_sequence(noise + tf.reshape([0.0] * 4 + [1.0], (1, 5, 1)), state).numpy()
    first = m.slice_sequence(noise + tf.reshape([1.0] + [0.0] * 4, (1, 5, 1)), state).numpy()
    assert np.abs(last[0, 0] - z[0, 0]).max() > 0
    assert np.abs(first[0, 4] - z[0, 4]).max() > 0


def test_one_direction_and_independent_cells_look_no_further():
    for cell in ("gru", "iid"):
        m = model(cell=cell)
        noise, state = tf.random.normal((1, 5, 4), seed=0), tf.zeros((1, 24))
        changed = noise + tf.reshape([0.0] * 4 + [1.0], (1, 5, 1))
        first = [m.slice_sequence(n, state).numpy()[0, 0] for n in (noise, changed)]
        np.testing.assert_array_equal(*first)


def biases_of(memory, units=500):
    """[(input, forget, cell, output) biases of each direction] of a BiLSTM."""
    layer = SliceSequence(units, memory=memory)
    layer(tf.zeros((1, 2, 3)), tf.zeros((1, 4 * units)))
    return [np.split(v.numpy(), 4) for v in layer.trainable_variables if len(v.shape) == 1]


def test_chrono_initialisation_of_both_directions():
    """Tallec & Ollivier 2018, Eq. 16: forget ~ log U(1, T - 1), input its negative; no two directions alike."""
    both = biases_of(40)
    for put, forget, cell, output in both:
        np.testing.assert_array_equal(put, -forget)
        assert not cell.any() and not output.any()
        steps = np.exp(forget)
        assert steps.min() > 0.999 and 38 < steps.max() < 39.001
        assert stats.kstest(steps, stats.uniform(1, 38).cdf).pvalue > 1e-3
    assert (both[0][1] != both[1][1]).any()
    for put, forget, _, _ in biases_of(None, 5):  # Keras' own
        assert not put.any() and (forget == 1).all()


def test_memory_is_that_of_the_cells():
    """Without weights a cell keeps sigmoid(b) of its state per slice: u / (u + 1) with b = log u, at most 1 - 1 / T."""
    layer = SliceSequence(6, memory=40)
    state = tf.random.stateless_uniform((1, 24), (0, 0), -0.5, 0.5)
    layer(tf.zeros((1, 1, 3)), state)
    for weights in layer.trainable_variables:
        if len(weights.shape) == 2:
            weights.assign(tf.zeros_like(weights))
    _, forward, _, backward = tf.split(state, 4, axis=1)
    cell = np.arctanh(2 * layer(tf.zeros((1, 1, 3)), state).numpy()[0, 0])  # the output gate is half open
    kept = cell / tf.concat([forward, backward], 1).numpy()[0]
    u = np.exp(np.concatenate([v.numpy()[6:12] for v in layer.trainable_variables if len(v.shape) == 1]))
    np.testing.assert_allclose(kept, u / (u + 1), rtol=1e-4)
    assert kept.min() >= 0.5 - 1e-4 and kept.max() <= 1 - 1 / 40 + 1e-4


@pytest.mark.one_stack
def test_ablated_noises_are_silent():
    a, b = (model(slice_noise=False).sample_latents((i, 0), (i, 0)).numpy() for i in range(2))
    np.testing.assert_array_equal(a[:, 8:], b[:, 8:])
    assert (a[:, :8] != b[:, :8]).any()
    c = model(patient_noise=False).sample_latents((1, 0), (1, 0)).numpy()
    assert (c[:, :8] == 0).all()


# --- sampling -----------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_decoding_in_chunks_equals_decoding_at_once():
    m = model()
    whole = np.asarray(m(m.sample_latents((2, 0), (2, 0))))
    for chunk in (1, 5, 16, 100):
        np.testing.assert_allclose(m.sample(seed=2, chunk=chunk), whole, atol=1e-5)


def test_same_seed_same_volume_in_range():
    m = model()
    a, b, c = m.sample(seed=1, index=2), m.sample(seed=1, index=2), m.sample(seed=1, index=3)
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()
    assert a.min() >= -1 and a.max() <= 1


def test_fixed_noise_is_shared_by_all_indices():
    m = model()
    z = {
        fixed: [
            m.sample_latents(*[(0, 0 if fixed == part else i) for part in ("patient", "slices")]).numpy()
            for i in range(2)
        ]
        for fixed in ("patient", "slices")
    }
    np.testing.assert_array_equal(z["patient"][0][:, :8], z["patient"][1][:, :8])
    assert (z["patient"][0][:, 8:] != z["patient"][1][:, 8:]).any()
    np.testing.assert_array_equal(z["slices"][0][:, 8:], z["slices"][1][:, 8:])
    assert (z["slices"][0][:, :8] != z["slices"][1][:, :8]).any()


@pytest.mark.one_stack
def test_other_lengths():
    assert model().sample(seed=0, length=40).shape == (40, 28, 28)
    assert model(slice_channels=1).sample(seed=0, length=9).shape == (9, 28, 28)


# --- losses and updates ---------------------------------------------------------------------------------------------


def test_r1_of_a_linear_critic_is_exact():
    w = tf.constant(np.random.default_rng(0).normal(size=(5, 6, 2)), tf.float32)
    images = tf.random.normal((3, 5, 6, 2), seed=1)
    penalty = r1(lambda x: tf.reduce_sum(x * w, axis=(1, 2, 3)), images, None, 10.0)
    np.testing.assert_allclose(penalty, np.full(3, 5.0 * np.sum(w.numpy() ** 2)), rtol=1e-5)


def changed(m, step):
    """Names of the networks whose weights a step changes."""
    names = ("slice_sequence", "slice_generator", "slice_critic", "slab_critic")
    before = {name: [v.numpy() for v in getattr(m, name).trainable_variables] for name in names}
    step()
    return {
        name
        for name in names
        if any((a != b.numpy()).any() for a, b in zip(before[name], getattr(m, name).trainable_variables, strict=True))
    }


@pytest.mark.one_stack
def test_each_update_leaves_the_other_side_alone():
    m, b = model(), batch()
    assert changed(m, lambda: m.update("critic", lambda part: m.critic_loss(part, 0), b)) == {
        "slice_critic",
        "slab_critic",
    }
    assert changed(m, lambda: m.update("generator", lambda part: m.generator_loss(part, 1), b)) == {
        "slice_sequence",
        "slice_generator",
    }


def test_slab_sampler_stays_inside_and_reaches_both_ends():
    length, slab = 18, 8
    starts = []
    for i in range(400):
        start, chosen = draw_slab(0, i, length, slab, 4)
        starts.append(start)
        assert start >= 1 and start + slab - 1 <= length - 2
        assert len(set(chosen.tolist())) == 4 and chosen.min() >= 0 and chosen.max() < slab
    assert min(starts) == 1 and max(starts) == length - 1 - slab


def test_real_and_fake_slices_are_compared_at_the_same_positions():
    """The critic is told the true position of real slices, and the same of the generated ones."""
    m, b = model(), batch()
    length = m.config.volume_shape[0]
    ramp = np.broadcast_to(np.arange(length, dtype="float32")[:, None, None], (length, 28, 28))
    slabs = tf.stack([ramp[s - 1 : s + m.config.slab_length + 1] for s in b["start"].numpy()])
    images, place = m.slices_and_positions(thin_slices(slabs), b)
    np.testing.assert_array_equal(images[:, 0, 0, 1], place + 1)  # position i is centred on slice i + 1
    fake = m.generate_slab(b, 0)
    _, fake_place = m.slices_and_positions(fake, b)
    np.testing.assert_array_equal(place, fake_place)


def test_position_channel_spans_minus_one_to_one():
    images = position_channel(tf.zeros((3, 2, 2, 3)), tf.constant([0, 8, 16]), 17)
    assert images.shape == (3, 2, 2, 4)
    np.testing.assert_allclose(images[:, 0, 0, 3], [-1.0, 0.0, 1.0], atol=1e-7)
    np.testing.assert_array_equal(position_channel(tf.zeros((1, 2, 2, 3)), tf.constant([0]), 1)[..., 3], 0.0)


def test_training_decodes_only_the_slab():
    m, b = model(), batch()
    sizes, generator = [], m.slice_generator

    class Counting:
        trainable_variables = generator.trainable_variables

        def __call__(self, z, training):
            sizes.append(z.shape[0])
            return generator(z, training=training)

    m.slice_generator = Counting()
    m.generate_slab(b, 0)
    assert sizes == [2 * m.config.slab_length]


@pytest.mark.one_stack
def test_slices_are_summed_or_averaged():
    b = batch()
    values = {}
    for reduction in ("sum", "mean"):
        m = model(slice_reduction=reduction, use_slab_critic=False)
        values[reduction] = float(m.generator_loss(b, 0)[0])
    assert values["sum"] == pytest.approx(4 * values["mean"], rel=1e-5)


@pytest.mark.long
def test_accumulated_gradients_equal_those_of_the_whole_batch():
    """Two halves with summed gradients give the update of the whole batch (without batch statistics)."""
    results = []
    for parts in (1, 2):
        keras.utils.set_random_seed(0)
        m = CTSGAN(Config(**TINY_MODEL | {"generator_norm": "instance"}), per_step=4, gradient_accumulation=parts)
        b = batch(per_step=4)
        tf.function(lambda b, m=m: m.train_step(b))(b)
        results.append([v.numpy() for v in m.trainable_variables])
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, atol=2e-6)


@pytest.mark.one_stack
@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "js"},
        {"loss": "js", "gp": "none"},
        {"gp": "r2"},
        {"gp": "wgan-gp"},
        {"cell": "gru"},
        {"cell": "iid"},
        {"slice_channels": 1},
        {"use_slab_critic": False},
        {"position_conditioning": False},
        {"critic_norm": "instance"},
        {"critic_steps": 2},
        {"ema_decay": 0.9},
        {"generator_norm": "none"},
    ],
    ids=str,
)
def test_variants_train(changes):
    m = model(per_step=2 * changes.get("critic_steps", 1), **changes)
    logs = m.train_step(batch(per_step=2 * changes.get("critic_steps", 1), config=m.config))
    assert all(np.isfinite(float(value)) for value in logs.values())
    assert m.sample(0).shape == (18, 28, 28)


@pytest.mark.one_stack
def test_moving_average_follows_the_generator():
    m, b = model(ema_decay=0.75), batch()
    start = m.average_generator.trainable_variables or m.average_generator.weights
    before = [v.numpy() for v in start]
    m.train_step(b)
    now = [v.numpy() for v in m.average_generator.weights]
    source = [v for v in m.slice_generator.weights]
    for old, new, network in zip(before, now, source, strict=True):
        expected = 0.75 * old + 0.25 * network.numpy() if network.trainable else network.numpy()
        np.testing.assert_allclose(new, expected, rtol=1e-5, atol=1e-6)
