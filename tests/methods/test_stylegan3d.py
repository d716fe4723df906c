"""3D-StyleGAN: the harness, and every item of its card's "What must hold"."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfmed
from tests.support.harness import MethodHarness
from tfmed import compat
from tfmed.losses.path_length import path_length_penalty, path_lengths
from tfmed.methods.stylegan3d import Config, StyleGAN3D, build_network
from tfmed.ops.styles import mix_styles, truncate

pytestmark = pytest.mark.current
REPOSITORY = pathlib.Path(__file__).parents[2]

TINY_MODEL = dict(
    base_shape=(2, 2, 3),
    levels=2,
    filter_depth=4,
    latent_size=8,
    mapping_layers=2,
    spacing_mm=(40.0, 40.0, 36.0),
    minibatch_group=2,
    g_reg_interval=2,
)
TINY = (
    "data.options={cases: 8, shape: [16, 18, 16]}",
    "train.batch_size=4",
    *(f"model.{name}={list(value) if isinstance(value, tuple) else value}" for name, value in TINY_MODEL.items()),
)


def model(seed=0, per_step=4, **changes):
    keras.utils.set_random_seed(seed)
    return StyleGAN3D(Config(**TINY_MODEL | changes), seed=seed, per_step=per_step)


def batch(shape=(4, 4, 6), per_step=4, seed=0):
    volumes = np.random.default_rng(seed).uniform(-1, 1, (per_step, *shape, 1)).astype("float32")
    return {"index": tf.range(per_step, dtype=tf.int64), "volume": tf.constant(volumes)}


class TestHarness(MethodHarness):
    config = "configs/stylegan3d.yaml"
    tiny = TINY
    bad = ("model.resample_kernel=[1, -1]", "resample_kernel")

    def parity(self, run):
        method = run.restored()
        expected = [np.stack([method.model.sample(seed, i) for i in range(n)]) for seed, n in ((3, 1), (7, 2))]
        return expected, [{"seed": np.int64(seed), "n": np.int32(n)} for seed, n in ((3, 1), (7, 2))]


# --- networks -------------------------------------------------------------------------------------------------------

PARAMETERS = {
    "stylegan3d": (2_428_234, 4_215_553, 6_643_787),
    "stylegan3d/2mm_fd64": (1_084_298, 1_874_433, 2_958_731),
    "stylegan3d/2mm_fd32": (429_258, 469_249, 898_507),
    "stylegan3d/2mm_fd16": (109_418, 117_633, 227_051),
    "stylegan3d/1mm_fd16": (94_380, 131_745, 226_125),
}


@pytest.mark.one_stack
@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_of_the_papers_table(name):
    config = tfmed.load_config(REPOSITORY / "configs" / f"{name}.yaml").model
    counts = {
        part: sum(int(np.prod(v.shape)) for v in build_network(config, part).trainable_variables)
        for part in ("mapping", "synthesis", "critic")
    }
    generator = counts["mapping"] + counts["synthesis"]
    assert (generator, counts["critic"], generator + counts["critic"]) == PARAMETERS[name]


def test_volumes_of_the_papers_configurations():
    assert Config().volume_shape == (80, 96, 112)
    assert Config(levels=6).volume_shape == (160, 192, 224)
    assert len(build_network(Config(filter_depth=2, latent_size=4), "synthesis").noise_shapes) == 9


@pytest.mark.one_stack
@pytest.mark.parametrize("base, levels", [((4, 4, 4), 2), ((8, 8, 1), 3), ((1, 2, 3), 3)], ids=str)
def test_shape_is_the_base_doubled_and_styles_are_two_per_level(base, levels):
    m = model(base_shape=base, levels=levels)
    w = m.styles(m.map(m.latent(0, 0)))
    assert w.shape == (1, 2 * levels, 8)
    assert m.synthesise(w, m.noise_maps(0, 0)).shape == (1, *(n * 2 ** (levels - 1) for n in base), 1)


def test_mapping_sees_the_direction_of_z_only():
    m, z = model(), tf.random.stateless_normal((3, 8), (1, 2))
    for factor in (0.1, 7.0):
        np.testing.assert_allclose(m.mapping(factor * z), m.mapping(z), atol=1e-5)


def test_noise_has_no_effect_at_first():
    m = model()
    w = m.styles(m.map(m.latent(0, 0)))
    np.testing.assert_array_equal(m.synthesise(w, m.noise_maps(0, 0)), m.synthesise(w, m.noise_maps(0, 1)))


@pytest.mark.one_stack
@pytest.mark.parametrize("architecture", ["orig", "skip", "resnet"])
def test_checkpointing_changes_no_gradient(architecture):
    """The two networks with the same weights: the same losses and, to rounding, the same update of every weight."""
    results = []
    for checkpointing in (False, True):
        m = model(checkpointing=checkpointing, generator_architecture=architecture, levels=3)
        for part in ("generator", "path", "critic"):
            m.train_step(batch((8, 8, 12)), part)
        results.append([v.numpy() for v in m.trainable_variables])
    for kept, recomputed in zip(*results, strict=True):
        np.testing.assert_allclose(recomputed, kept, atol=2e-4)


# --- styles ---------------------------------------------------------------------------------------------------------


def test_truncation():
    m = model()
    m.w_average.assign(tf.range(8.0))
    z = tf.random.stateless_normal((3, 8), (0, 1))
    np.testing.assert_allclose(m.map(z, 0.0), np.tile(np.arange(8.0), (3, 1)), atol=1e-6)
    np.testing.assert_allclose(m.map(z, 1.0), m.average_mapping(z), atol=1e-6)
    np.testing.assert_allclose(truncate(tf.constant([2.0]), tf.constant([1.0]), 0.5), [1.5])


def test_mixing():
    first, second = tf.zeros((1, 1, 3)), tf.ones((1, 1, 3))
    for crossover in range(7):
        mixed = mix_styles(first, second, crossover, 6)
        assert mixed.shape == (1, 6, 3)
        np.testing.assert_array_equal(mixed[0, :, 0], np.arange(6) >= crossover)
    np.testing.assert_array_equal(mix_styles(second, second, 3, 6), tf.ones((1, 6, 3)))


@pytest.mark.one_stack
@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_style_mixing_in_training(probability):
    """So many samples have a second style, from a layer on that is never the first."""
    m = model(style_mixing=probability, per_step=400, minibatch_group=4)
    styles, first = m.draw_styles({"index": tf.range(400, dtype=tf.int64)}, 0)
    own = np.all(np.asarray(styles) == np.asarray(first)[:, None], axis=2)
    assert own[:, 0].all()
    assert 1 - own.all(axis=1).mean() == pytest.approx(probability, abs=0.1)
    assert (np.diff(own.astype(int), axis=1) <= 0).all()  # once other, other to the end
    if probability == 1.0:
        counts = np.bincount(own.sum(axis=1), minlength=5)
        assert (counts[1:4] > 80).all() and counts[4] == 0


# --- losses and the step ----------------------------------------------------------------------------------------------


def test_path_lengths_of_a_linear_generator():
    """g(w) = J w, summed over two style layers: each layer's gradient is J^T y / sqrt(voxels)."""
    rng = np.random.default_rng(0)
    jacobian, y = rng.normal(size=(10, 3)).astype("float32"), rng.normal(size=(4, 10)).astype("float32")
    lengths = path_lengths(lambda w: tf.reduce_sum(w, 1) @ jacobian.T, tf.ones((4, 2, 3)), y)
    np.testing.assert_allclose(lengths, np.linalg.norm(y @ jacobian, axis=1) / np.sqrt(10), rtol=1e-5)


def test_no_gradient_into_the_mean_length():
    mean, lengths = tf.Variable(2.0), tf.Variable([1.0, 5.0])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(path_length_penalty(lengths, mean))
    assert float(loss) == 10.0
    gradient = tape.gradient(loss, [lengths, mean])
    assert gradient[1] is None
    np.testing.assert_array_equal(gradient[0], [-2.0, 6.0])


def test_mean_length_and_mean_style_follow_their_recursions():
    m, b = model(), batch()
    m.path_mean.assign(0.5)
    length = float(m.path_loss(b)[1]["path_length"])
    m.train_step(b, "path")
    assert float(m.path_mean) == pytest.approx(0.5 + 0.01 * (length - 0.5), rel=1e-5)
    w = m.generator_loss(b, 1)[1]["w_mean"]
    m.train_step(b, "generator")
    np.testing.assert_allclose(m.w_average, 0.005 * w, rtol=1e-4, atol=1e-9)


def test_regularisers_run_on_due_steps_only():
    m = model(d_reg="r1", d_reg_interval=3)
    assert [m.phases_of(step) for step in range(4)] == [
        ("generator", "path", "critic", "penalty"),
        ("generator", "critic"),
        ("generator", "path", "critic"),
        ("generator", "critic", "penalty"),
    ]
    assert model(path_length_weight=0.0).phases_of(0) == ("generator", "critic")


def test_lazy_regularisers_weigh_for_the_steps_without_them():
    """As much gradient over an interval as if they ran on every step (Karras et al. 2020, appendix B)."""
    m, b = model(g_reg_interval=5, path_length_weight=3.0, d_reg="r1", d_reg_interval=7, d_reg_gamma=4.0), batch()
    loss, logs = m.path_loss(b)
    assert float(loss) == pytest.approx(5 * 3.0 * float(logs["path_penalty"]), rel=1e-5) and float(loss) > 0
    loss, logs = m.penalty_loss(b)
    assert float(loss) == pytest.approx(7 * float(logs["critic_penalty"]), rel=1e-5) and float(loss) > 0
    with tf.GradientTape() as tape:
        tape.watch(b["volume"])
        score = tf.reduce_sum(m.critic(b["volume"], twice=True))
    slope = tape.gradient(score, b["volume"])
    squares = tf.reduce_sum(tf.square(slope), [1, 2, 3, 4])
    assert float(logs["critic_penalty"]) == pytest.approx(4.0 / 2 * float(tf.reduce_mean(squares)), rel=1e-4)


def test_adam_makes_up_for_the_additional_updates():
    m = model(g_reg_interval=4, d_reg="r1", d_reg_interval=16)
    for name, share in (("generator", 4 / 5), ("critic", 16 / 17)):
        optimizer = getattr(m, f"{name}_optimizer")
        assert float(optimizer.learning_rate) == pytest.approx(0.002 * share)
        assert optimizer.beta_2 == pytest.approx(0.99**share) and optimizer.beta_1 == 0.0
    assert float(model().critic_optimizer.learning_rate) == pytest.approx(0.002)


def test_averaged_weights_have_a_half_life_in_images():
    m, b = model(ema_half_life_images=8.0), batch()
    assert m.ema_decay == pytest.approx(0.5**0.5)  # 4 of 8 images a step
    before = [v.numpy() for v in m.average_synthesis.weights]
    m.train_step(b, "generator")
    m.train_step(b, "critic")
    for old, new, own in zip(before, m.average_synthesis.weights, m.synthesis.weights, strict=True):
        np.testing.assert_allclose(new, m.ema_decay * old + (1 - m.ema_decay) * own.numpy(), rtol=1e-4, atol=1e-6)


def changed(m, part):
    names = ("mapping", "synthesis", "critic")
    before = {name: [v.numpy() for v in getattr(m, name).weights] for name in names}
    m.train_step(batch(), part)
    pairs = {name: zip(before[name], getattr(m, name).weights, strict=True) for name in names}
    return {name for name in names if any((a != b.numpy()).any() for a, b in pairs[name])}


@pytest.mark.one_stack
def test_each_part_updates_its_side_only():
    m = model(d_reg="r2")
    for part, networks in (("generator", {"mapping", "synthesis"}), ("critic", {"critic"}), ("penalty", {"critic"})):
        assert changed(m, part) == networks
    assert changed(m, "path") == {"mapping", "synthesis"}


@pytest.mark.one_stack
@pytest.mark.parametrize(
    "changes",
    [
        {"d_reg": "r1"},
        {"generator_architecture": "skip", "critic_architecture": "orig"},
        {"generator_architecture": "resnet"},
        {"noise": False},
        {"resample_kernel": (1, 3, 3, 3, 1)},
        {"base_shape": (4, 4, 1)},
    ],
    ids=str,
)
def test_variants_train(changes):
    m = model(**changes)
    b = batch(m.config.volume_shape)
    for phase in m.phases_of(0):
        logs = m.train_step(b, phase)
    assert all(np.isfinite(float(value)) for value in logs.values())
    assert m.sample(1, 2).shape == m.config.volume_shape
    assert len(m.noise_maps(0, 0)) == (0 if changes.get("noise") is False else 3)


@pytest.mark.one_stack
def test_accumulated_gradients_equal_those_of_the_whole_batch():
    results = []
    for parts in (1, 2):
        keras.utils.set_random_seed(0)
        m = StyleGAN3D(Config(**TINY_MODEL), per_step=4, gradient_accumulation=parts)
        for part in ("generator", "path", "critic"):
            m.train_step(batch(), part)
        results.append([m.path_mean.numpy(), m.w_average.numpy(), *(v.numpy() for v in m.trainable_variables)])
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)


# --- sampling ---------------------------------------------------------------------------------------------------------


def noisy():
    m = model()
    for variable in m.average_synthesis.weights:
        if variable.shape == ():
            compat.tensor_variable(variable).assign(0.3)
    return m


def test_samples_repeat_and_fixed_parts_are_shared():
    m = noisy()
    np.testing.assert_array_equal(m.sample(1, 2), m.sample(1, 2))
    assert np.any(m.sample(1, 2) != m.sample(1, 3)) and np.any(m.sample(1, 2) != m.sample(2, 2))
    assert np.min(m.sample(1, 2)) >= 0 and np.max(m.sample(1, 2)) <= 1
    mean = [m.sample(1, i, psi=0.0, fixed="noise") for i in range(2)]
    np.testing.assert_array_equal(*mean)
    assert np.any(m.sample(1, 0, fixed="style") != m.sample(1, 1, fixed="style"))
    np.testing.assert_array_equal(*(m.sample(1, i, psi=1.0, fixed="style") for i in (1, 1)))


def test_generated_volumes_lie_as_real_ones():
    """Orientation, spacing and shape of a sample are those of a prepared case, turned to RAS."""
    from tfmed.io import reorient

    method = tfmed.registry.method_class("stylegan3d")(TestHarness.settings())
    real = reorient(method.real(method.cases["train"][0]), "RAS")
    sample = method.as_volume(np.zeros(method.config.volume_shape))
    assert sample.shape == real.shape
    np.testing.assert_allclose(sample.affine[:3, :3], real.affine[:3, :3], rtol=0.07)  # real: same field
    np.testing.assert_allclose(sample.affine @ [*((np.array(sample.shape[::-1]) - 1) / 2), 1], [0, 0, 0, 1], atol=1e-6)


def test_groups_that_a_device_cannot_hold_are_refused():
    with pytest.raises(tfmed.errors.ConfigError, match="minibatch_group"):
        TestHarness.settings("train.batch_size=3")
    with pytest.raises(tfmed.errors.ConfigError, match="minibatch_group"):
        TestHarness.settings("train.replicas=2", "train.strategy=mirrored", "train.batch_size=2")


def test_a_volume_that_does_not_fit_is_named(tmp_path):
    """Half of a bright block would be cut away."""
    from tfmed.errors import DataError
    from tfmed.io import Volume, write_volume

    for i in range(4):
        array = np.pad(np.ones((60, 10, 10), np.float32), 1) * (i + 1)
        write_volume(Volume(array, np.diag([4.0, 4.0, 4.0, 1.0])), tmp_path / f"scan{i}.nii.gz")
    source = ("data.source=nifti_folder", f"data.root={tmp_path}", "data.options={modality: t1}")
    settings = tfmed.load_config(REPOSITORY / "configs" / "stylegan3d.yaml", (*source, *TINY[1:]))
    method = tfmed.registry.method_class("stylegan3d")(settings)
    with pytest.raises(DataError, match=r"scan\d\.nii\.gz: crop: \d+ % of the image lies outside .* larger"):
        method.prepared("train")
