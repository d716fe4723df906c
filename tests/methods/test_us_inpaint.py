"""HPI: the harness, and every item of its card's "What must hold"."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfmed
from tests.support.harness import MethodHarness
from tests.support.view_pages import views_of
from tfmed.errors import DataError
from tfmed.io import Volume
from tfmed.losses.pyramid import pyramid_loss
from tfmed.methods.us_inpaint import HPI, Config, build_network
from tfmed.metrics.needles import labelled
from tfmed.nn.gaussian import kl_to_standard, residual_kl
from tfmed.registry import method_class
from tfmed.tasks.inpainting import mean_fill, telea
from tfmed.tasks.needles import NeedleTracking, tracked

pytestmark = pytest.mark.current

SMALL = dict(
    size=(16, 16), widths=(2, 2, 2), dilations=(1, 1, 2), num_latent_levels=2, latent_channels=1, levels=3,
    vgg_side=None, vgg_width=1, feature_weights=(0.0, 1e-4, 0.0, 0.0, 0.0), style_weights=(1e-5, 1e-5, 0.0, 0.0, 0.0),
    strokes=(1, 3), stroke_width=(2, 4), stroke_length=(2, 6), missing=(0.02, 0.5), completions=3, blend="paste",
)  # fmt: skip
TINY = (
    "data.options={cases: 10, shape: [16, 16], probes: [linear]}",
    "data.split={validation: 0.2, test: 0.2, seed: 0}",
    "train.batch_size=2",
    "train.validate_every=2",
    "train.early_stopping=null",
    "model.learning_rate=1e-3",
    *(f"model.{name}={'null' if value is None else list(value) if isinstance(value, tuple) else value}"
      for name, value in SMALL.items()),
)  # fmt: skip


def planes(seed=0, count=2):
    return np.random.default_rng(seed).random((count, 16, 16, 1), np.float32)


def hole(count=2):
    mask = np.zeros((count, 16, 16, 1), np.float32)
    mask[:, 4:11, 5:12] = 1
    return mask


def batch(image=None, count=2):
    depth = np.where(hole(count) > 0, 1.5, 0).astype(np.float32)
    image = planes(0, count) if image is None else image
    return {"index": tf.range(count, dtype=tf.int64), "image": tf.constant(image), "mask": tf.constant(hole(count)),
            "depth": tf.constant(depth)}  # fmt: skip


def made(**changes):
    keras.utils.set_random_seed(0)
    return HPI(Config(**SMALL | changes), per_step=2)


@pytest.fixture(scope="module")
def model():
    return made(attention="none")


class TestHarness(MethodHarness):
    config = "configs/us_inpaint.yaml"
    tiny = (
        *TINY,
        "model.widths=[2, 2]",
        "model.dilations=[1, 2]",
        "model.num_latent_levels=1",
        "model.attention=none",  # tracing a step takes half as long without
        "model.levels=2",
        "model.feature_weights=[0, 0, 0, 0, 0]",
        "model.style_weights=[1e-5, 0, 0, 0, 0]",
    )
    bad = ("model.num_latent_levels=3", "num_latent_levels")

    @pytest.mark.long
    def test_exact_resume(self, run, tmp_path):
        super().test_exact_resume(run, tmp_path)

    @pytest.mark.one_stack
    def test_one_update_lowers_its_loss(self):
        super().test_one_update_lowers_its_loss()

    @pytest.mark.one_stack
    def test_mixed_precision(self):
        super().test_mixed_precision()

    @pytest.mark.long
    def test_two_replicas_equal_one(self):
        super().test_two_replicas_equal_one()

    @pytest.mark.one_stack
    def test_view(self, run):
        """A picture, its hole, all completions and their spread; scores are those of the table of cases."""
        shown, method = views_of(tfmed.view(run)), run.restored()
        rows = [row for row in method.evaluate({"one": method})["cases"] if row["run"] == "one"]
        for one, row in zip(shown, rows, strict=True):
            titles = [panel["title"] for panel in one["panels"]]
            assert titles == ["picture", "what is seen", "completions", "spread of the completions"]
            made = one["panels"][2]["layers"]
            assert [layer["shown"] for layer in made] == [True] + [False] * (method.config.completions + 1)
            assert (
                f"first completion {row['PSNR']:.1f} dB" in one["note"] and f"spread {row['spread']:.3f}" in one["note"]
            )

    def parity(self, run):
        method = run.restored()
        image, mask = np.rint(255 * planes(3, 1)[0, ..., 0]).astype(np.float32), hole(1)[0, ..., 0]
        expected = [255 * method.filled(image / 255, mask, 2, seed) for seed in (0, 5)]
        return expected, [
            {"image": image, "mask": mask, "count": np.int32(2), "seed": np.int64(seed)} for seed in (0, 5)
        ]

    def assert_parity(self, found, expected):
        np.testing.assert_allclose(found, expected, atol=2e-3)  # of 255

    @pytest.mark.one_stack
    def test_it_alters_what_drawn_holes_hide(self, run):
        """And nothing else, in each slice, as the seed says: a training case of other methods."""
        method = run.restored()
        image = Volume(np.rint(255 * np.random.default_rng(0).random((2, 20, 24))).astype(np.int16), np.eye(4))
        one, same, other = (method.altered(image, seed).array for seed in (3, 3, 4))
        np.testing.assert_array_equal(one, same)
        changed = [np.abs(found - image.array) > 1e-3 for found in (one, other)]
        assert all(0 < plane.mean() <= 0.6 for found in changed for plane in found)
        assert (changed[0] != changed[1]).any() and (changed[0][0] != changed[0][1]).any()

    def test_tables_and_pictures(self, run):
        method = run.restored()
        tables = method.evaluate({"run": method})
        table = {row["run"]: row for row in tables["evaluation"]}
        assert list(table) == ["run", "Telea", "mean"] and len(tables["cases"]) == 6
        assert table["run"]["spread mean"] > 0 and table["Telea"]["spread mean"] == table["mean"]["spread mean"] == 0
        for row in table.values():
            assert row["PSNR, best mean"] >= row["PSNR mean"] > 0 and 0 < row["L1 mean"] < 1
            assert row["texture (vgg16-random-0) mean"] > 0
        rows = tables.pictures["completed"].rows
        assert len(rows) == 2 and all(len(row) == 7 for row in rows.values())
        assert method.previews()["completed"].rows.keys() != rows.keys()  # of validation
        again = method.evaluate({"run": method})
        assert again["cases"] == tables["cases"]

    def test_masks_are_functions_of_the_seed_and_within_bounds(self, run):
        method = run.method()
        samples = method.samples()
        for index in range(6):
            one, again = samples.read(index), samples.read(index)
            np.testing.assert_array_equal(one["mask"], again["mask"])
            assert set(np.unique(one["mask"])) == {0, 1} and 0.02 <= one["mask"].mean() <= 0.5
            np.testing.assert_array_equal(one["depth"] > 0, one["mask"] > 0)
        # Another epoch shows a picture with another mask.
        first = {samples.read(index)["image"].tobytes(): index for index in range(6)}
        index = next(index for index in range(6, 12))
        same = first[samples.read(index)["image"].tobytes()]
        assert (samples.read(index)["mask"] != samples.read(same)["mask"]).any()

    def test_predicting_gives_values_back(self, run, tmp_path):
        from PIL import Image

        picture = np.rint(255 * planes(4, 1)[0, :15, :13, 0]).astype(np.uint8)  # sides that are no multiples
        mask = 255 * hole(1)[0, :15, :13, 0].astype(np.uint8)
        for name, array in (("x", picture), ("x_mask", mask)):
            Image.fromarray(array).save(tmp_path / f"{name}.png")
        files = list(run.restored().predict([str(tmp_path / "x.png")], tmp_path / "out"))
        assert [file.name for file in files] == ["x_completion.png", "x_mean.png", "x_std.nii.gz", "x_picture.png"]
        found = np.asarray(Image.open(files[0]))
        np.testing.assert_array_equal(found[mask == 0], picture[mask == 0])
        assert (found[mask > 0] != picture[mask > 0]).any()


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_levels_are_those_of_the_table():
    """Channels, sizes and dilations of the six levels, and latent maps of 5 channels at a quarter of the side."""
    config = Config(widths=(2, 4, 8, 16, 32, 32), size=(64, 64), vgg_width=1, attention="none")
    encoder = build_network(config, "prior_encoder")
    found = [tuple(one.shape[1:]) for one in encoder([tf.zeros((1, 64, 64, 1))] * 2)]
    assert found == [(64, 64, 2), (32, 32, 4), (16, 16, 8), (16, 16, 16), (16, 16, 32), (16, 16, 32)]
    rates = [encoder.get_layer(f"down{k}_conv2").dilation_rate[0] for k in range(6)]
    assert rates == [1, 1, 2, 2, 2, 4] and config.latent_strides == [4, 4, 4, 4]
    decoder = build_network(config, "prior_decoder")
    assert [decoder.get_layer(f"up{k}_conv2").dilation_rate[0] for k in range(5)] == [2, 2, 2, 1, 1]
    assert [decoder.get_layer(f"up{k}_conv2").filters for k in range(5)] == [32, 16, 8, 4, 2]
    assert [tuple(one.shape[1:]) for one in decoder.outputs] == [(None, None, 1)] + 8 * [(None, None, 5)]
    assert Config().widths == (64, 128, 256, 512, 1024, 1024) and Config(num_latent_levels=5).latent_strides[-1] == 2


@pytest.mark.one_stack
@pytest.mark.parametrize("changes, networks", [
    (dict(attention="cbam", num_latent_levels=1), 4),
    (dict(attention="none", num_latent_levels=0), 2),
    (dict(attention="none", network="deep_fusion", widths=(2, 2, 2), dilations=(1, 1, 2)), 2),
    (dict(network="partial_conv", objective="l2", dilations=(1, 1), num_latent_levels=1), 1),
])  # fmt: skip
def test_variants_train_and_fill(changes, networks):
    model = made(**dict(widths=(2, 2), dilations=(1, 2)) | changes)
    assert len(model.updaters["network"][1]) == networks
    with tf.GradientTape() as tape:
        loss, logs = model.network_loss(batch())
    gradients = tape.gradient(
        loss, [getattr(v, "value", v) if keras.__version__ >= "3" else v for v in model.trainable_variables]
    )
    assert all(gradient is not None for gradient in gradients) and np.isfinite(loss)
    assert ("divergence" in logs) == (networks == 4) and ("style" in logs) == (model.config.objective == "texture")
    found = model.complete(planes(), hole(), 3).numpy()
    assert found.shape == (2, 3, 16, 16, 1) and found.min() >= 0 and found.max() <= 1
    if networks < 4:
        np.testing.assert_array_equal(found[:, 0], found[:, 2])


@pytest.mark.one_stack
def test_heads_begin_near_the_standard_normal(model):
    """Within the bounds that they have for any features."""
    _, heads = prior(model, planes())
    for mean, log_deviation in heads:
        assert np.abs(mean).max() < 0.5 and np.abs(log_deviation).max() < 1.5
    assert [head[0].shape[1] for head in heads] == [4, 8]


def prior(model, image, latents=None):
    """What the networks make of pictures with holes, and the heads; norms by the batch, as in training."""
    zeros = [tf.zeros((len(image), 16 // stride, 16 // stride, 1)) for stride in model.config.latent_strides]
    latents = [[zero] * 3 for zero in zeros] if latents is None else latents
    return model.made(model.hidden(image, hole(len(image))), hole(len(image)), latents, training=True)


def residuals(model, image):
    """[shift, log scale, noise] of each latent level, of the training batch's noise."""
    flat = model.posterior_decoder(model.posterior_encoder([image, hole()], training=True), training=True)
    sides = [16 // stride for stride in model.config.latent_strides]
    noise = [model.noise(batch(), (side, side, 1), tag) for tag, side in enumerate(sides)]
    return [[*flat[2 * k : 2 * k + 2], noise[k]] for k in range(2)]


# --- the prior never sees what is missing -----------------------------------------------------------------------------


@pytest.mark.one_stack
def test_what_a_hole_hides_changes_nothing(model):
    """Neither completions nor the deepest prior; the next prior changes through z alone."""
    one, other = planes(0), np.where(hole() > 0, planes(1), planes(0))
    np.testing.assert_array_equal(model.complete(one, hole(), 2, seed=1), model.complete(other, hole(), 2, seed=1))
    heads = []
    for image in (one, other):
        heads.append(prior(model, image, residuals(model, image))[1])
    np.testing.assert_array_equal(heads[0][0], heads[1][0])
    assert np.abs(heads[0][1][0] - heads[1][1][0]).max() > 0
    np.testing.assert_array_equal(prior(model, one)[1][1][0], prior(model, other)[1][1][0])
    changed = one + 0.2 * (1 - hole())
    before, after = (model.complete(image, hole(), 1)[:, 0].numpy() for image in (one, changed))
    assert np.abs(before - after)[hole() > 0].max() > 0


# --- the objective ----------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_terms_add_up_to_the_objective(model):
    """With the published weights, by the parts' own definitions; other weights change what they should."""
    loss, terms = model.network_loss(batch())
    terms = {name: float(value) for name, value in terms.items()}
    assert set(terms) == {"loss", "reconstruction", "features", "style", "divergence"}
    expected = terms["reconstruction"] + terms["features"] + terms["style"] + 10 * terms["divergence"]
    assert float(loss) == pytest.approx(expected, rel=1e-5) and terms["divergence"] > 0
    latents = residuals(model, planes())
    (image,), heads = prior(model, planes(), latents)
    np.testing.assert_allclose(image[hole() == 0], planes()[hole() == 0])
    each = [tf.reduce_mean(residual_kl(head[1], *pair[:2])) for head, pair in zip(heads, latents, strict=True)]
    assert terms["divergence"] == pytest.approx(float(sum(each)), rel=1e-5)
    expected = 100 * pyramid_loss(image, planes(), batch()["depth"], levels=3)
    assert terms["reconstruction"] == pytest.approx(float(tf.reduce_mean(expected)), rel=1e-5)


@pytest.mark.one_stack
def test_weights_of_the_divergence(model):
    _, heads = prior(model, planes())
    pair = [0.3 + tf.zeros_like(heads[0][0]), -0.2 + tf.zeros_like(heads[0][0]), None]
    found = {}
    for name, changes in {"plain": {}, "normal": {"kl_to_normal_weight": 2.0}}.items():
        model.config = Config(**SMALL | {"attention": "none"} | changes)
        found[name] = float(model.divergence(heads[0], pair))
    model.config = Config(**SMALL)
    mean, log_deviation = heads[0]
    more = tf.reduce_mean(kl_to_standard(mean + 0.3, 2 * (log_deviation - 0.2)))
    assert found["normal"] - found["plain"] == pytest.approx(2 * float(more), rel=1e-4)
    assert found["plain"] == pytest.approx(10 * float(tf.reduce_mean(residual_kl(log_deviation, *pair[:2]))), rel=1e-5)


@pytest.mark.one_stack
def test_the_divergence_can_be_warmed_up(model):
    model.config = Config(**SMALL, kl_warmup_steps=4)
    shares = [float(model.warmth({"index": tf.constant([2 * step, 2 * step + 1], tf.int64)})) for step in (0, 1, 4, 9)]
    model.config = Config(**SMALL)
    assert shares == [0, 0.25, 1, 1]


# --- filling ----------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_temperature_and_seeds_decide_completions(model):
    cold = model.complete(planes(), hole(), 3, temperature=0.0).numpy()
    np.testing.assert_array_equal(cold[:, 0], cold[:, 1])
    warm = model.complete(planes(), hole(), 3, seed=4).numpy()
    spread, missing = warm.std(1), hole() > 0
    assert spread[missing].min() > 0 and np.ptp(warm, 1)[~missing].max() == 0
    np.testing.assert_array_equal(warm[:, 1][~missing], planes()[~missing])
    np.testing.assert_allclose(model.complete(planes(), hole(), 2, seed=4), warm[:, :2], atol=1e-5)
    assert np.abs(model.complete(planes(), hole(), 3, seed=5) - warm).max() > 0
    np.testing.assert_allclose(model.complete(planes()[1:], hole(1), 3, seed=4)[0], warm[1], atol=1e-5)


@pytest.mark.one_stack
def test_blending_by_pyramids_and_wider_masks(model):
    inside, outside = np.ones((2, 16, 16, 1), np.float32), np.zeros((2, 16, 16, 1), np.float32)
    found = {}
    for name, changes in {"paste": {}, "wider": {"blend_margin": 2}, "laplacian": {"blend": "laplacian"}}.items():
        model.config = Config(**SMALL | {"attention": "none"} | changes)
        found[name] = model.joined(inside, outside, tf.constant(hole())).numpy()
    model.config = Config(**SMALL)
    np.testing.assert_array_equal(found["paste"], hole())
    assert found["wider"].sum() == 2 * 11 * 11
    assert 0 < found["laplacian"][0, 3, 8, 0] < found["laplacian"][0, 4, 8, 0] < 1


@pytest.mark.one_stack
def test_baselines_without_training():
    ramp = np.linspace(0, 1, 16, dtype=np.float32)[None].repeat(16, 0)
    mask = hole(1)[0, ..., 0]
    found = telea(np.where(mask > 0, 1, ramp), mask)
    np.testing.assert_array_equal(found[mask == 0], ramp[mask == 0])
    assert np.abs(found - ramp).max() < 0.2 < np.abs(mean_fill(ramp, mask) - ramp).max()
    filled = mean_fill(ramp, mask)
    assert filled[6, 7] == pytest.approx(ramp[mask == 0].mean()) and filled[0, 0] == 0


# --- needles ----------------------------------------------------------------------------------------------------------

NEEDLES = (
    "data.options={cases: 6, shape: [64, 64], probes: [linear], needle: 1, faint: 2}",
    "data.split={validation: 0.2, test: 0.6, seed: 0}",
    "model.size=[64, 64]",
    "model.strokes=[3, 8]",
    "model.image=clean",
    "model.shown=image",
    "model.needle={tolerance: 1, gap: 5, length: 3, half_width: 2, margin: 4}",
)


class FillsWith:
    """A trained method's stand-in that knows other pictures: where there is a hole, theirs are shown."""

    def __init__(self, *pictures):
        self.pictures, self.asked = pictures, []

    def filled(self, image, mask, count=None, seed=0):
        self.asked.append((image, mask, count))
        known = min(self.pictures, key=lambda one: np.abs(np.where(mask > 0, 0, one - image)).sum())
        return np.where(mask > 0, known, image)[None]


@pytest.mark.one_stack
def test_filled_needles_are_tracked_better():
    """By the truth, in boxes where nothing is seen, and not by what shows no needle; errors are in mm."""
    method = method_class("us_inpaint")(TestHarness.settings(*NEEDLES))
    cases = method.prepared("test")
    truth = FillsWith(*(method.picture(case)[..., 0] for case in cases))
    tables = method.evaluate({"truth": truth, "black": FillsWith(np.zeros((64, 64), np.float32))})
    rows = {row["run"]: row for row in tables["needles"]}
    assert list(rows) == ["as it is", "truth", "black", "Telea", "mean"]
    assert all(row["pictures"] == row["found"] == len(cases) for row in rows.values())
    assert rows["truth"]["tip error (mm) mean"] < 0.5 * rows["as it is"]["tip error (mm) mean"]
    assert rows["black"]["tip error (mm) mean"] > 1.5 * rows["truth"]["tip error (mm) mean"]
    each = tables["needle cases"]
    assert len(each) == 5 * len(cases) and any(row["filled"] for row in each)
    for row in each:
        if not row["filled"]:
            same = next(one for one in each if one["run"] == "as it is" and one["case"] == row["case"])
            assert row["tip error (mm)"] == same["tip error (mm)"]
    tracking = method.config.needle
    asked = [(image, hole) for image, hole, count in truth.asked if count == 1]
    assert len(asked) == sum(row["filled"] > 0 for row in each) / 5
    assert not any((tracking.seen(image) & (hole > 0)).any() for image, hole in asked)
    np.testing.assert_allclose(method.spacing(cases[0]), [1, 1])
    assert method_class("us_inpaint")(TestHarness.settings()).tracked({}, "test") == {}


@pytest.mark.one_stack
def test_errors_of_needles_are_in_mm_and_wanted_where_one_is_marked():
    picture, mask = np.zeros((2, 64, 64), np.float32)
    picture[20, 5:50] = 1
    mask[20, 5:58] = 1
    tracking = NeedleTracking(degree=1)
    for unit in (1.0, 0.25):
        rows = tracked(tracking, [("one", picture, mask, (unit, unit))], {})["needles"]
        assert rows[0]["found"] == 1 and rows[0]["tip error (mm) mean"] == pytest.approx(8 * unit)
        assert rows[0]["shaft error (mm) mean"] == pytest.approx(0, abs=1e-6)
    hole = tracking.holes(picture, labelled(mask, 1))
    np.testing.assert_array_equal(np.flatnonzero(hole.any(0)), np.arange(53, 58))
    rows = tracked(tracking, [("one", np.zeros_like(picture), mask, (1, 1))], {"filled": lambda image, hole: picture})
    assert [row["found"] for row in rows["needles"]] == [0, 1] and np.isnan(rows["needles"][0]["tip error (mm) mean"])
    with pytest.raises(DataError, match="one: image 'needle' marks no needle; remove the case"):
        tracked(tracking, [("one", picture, 0 * mask, (1, 1))], {})
    with pytest.raises(DataError, match=r"has no 'needle' image \(has: image\)"):
        method_class("us_inpaint")(TestHarness.settings("model.needle={}")).samples()


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
@pytest.mark.parametrize("words, said", [
    (("model.size=[32, 32]",), "has 1 x 16 x 16 pixels where model.size asks for 1 x 32 x 32"),
    (("model.missing=[0.9, 0.95]",), "model.missing: none of 200 masks covers 0.9 to 0.95"),
])  # fmt: skip
def test_bad_data(words, said):
    settings = TestHarness.settings(*words)
    with pytest.raises(DataError, match=said):
        method_class("us_inpaint")(settings).samples().read(0)


@pytest.mark.one_stack
@pytest.mark.parametrize("word, said", [
    ("model.size=[17, 16]", "are no multiples of 2"),
    ("model.strokes=[5, 2]", "strokes: 5, 2: give two numbers"),
    ("model.missing=[0.2, 1.0]", "missing: 0.2, 1: give two shares"),
    ("model.style_weights=[0.2, 0, 0, 0, 20]", "vgg_side: block 5"),
    ("model.vgg=weights.h5", "vgg_width: a file of weights is for 64"),
    ("model.dilations=[1, 2, 2]", "widths and dilations"),
    ("data.preprocess=[{step: min_max}]", "step min_max changes values"),
])  # fmt: skip
def test_bad_settings(word, said):
    from tfmed.errors import ConfigError

    with pytest.raises(ConfigError, match=said.replace("{", r"\{")):
        TestHarness.settings(word, *(["model.size=[8, 8]"] if "style" in word else []))
