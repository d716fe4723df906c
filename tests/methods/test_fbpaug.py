"""FBPAug: the harness, and the items of its card that are not about kernels alone (tests/augment/test_kernels.py)."""

import numpy as np
import pytest
import tensorflow as tf

import tfmed
from tests.support.harness import REPOSITORY, MethodHarness
from tfmed.engine.lifecycle import fit
from tfmed.errors import ConfigError, DataError
from tfmed.methods.fbpaug import Config, FBPAug, build_network, pairs_table, turned
from tfmed.tasks.backbones import SummedUNet

pytestmark = pytest.mark.current

TINY = (
    "data.options={cases: 6, shape: [8, 32, 32], lesions: 8, field_of_view_mm: 300}",
    "data.split={validation: 0.2, test: 0.2}",
    "data.preprocess=[]",
    "train.batch_size=4",
    "train.validate_every=2",
    "train.preview_every=4",
    "model.patch=[32, 32]",
    "model.network={name: summed_unet, widths: [4, 8, 8]}",
)


class TestHarness(MethodHarness):
    config = "configs/fbpaug.yaml"
    tiny = TINY
    bad = ("data.preprocess=[{step: window}]", "leaves no HU")

    def parity(self, run):
        """Sides that are smaller than a window, larger, odd; and HU beyond what is cut."""
        method = run.restored()
        images, expected = [], []
        for shape in ((3, 20, 27), (5, 32, 32), (2, 45, 39)):
            image = np.random.default_rng(sum(shape)).uniform(-1500, 3500, (*shape, 1)).astype("float32")
            images.append({"image": image})
            expected.append(method.labels(np.clip(image, -1000, 3000)))
        return expected, images

    def assert_parity(self, found, expected):
        assert (found != expected).mean() < 1e-4

    @pytest.mark.one_stack
    def test_kernels_are_shown_and_pairs_are_scored(self, run):
        """A run's previews and evaluation, and the numbers of its pairs."""
        method = run.restored()
        assert {path.stem for path in (run.path / "previews").glob("*.png")} >= {"kernels", "segmentation"}
        picture = method.previews()["kernels"]
        row = next(iter(picture.rows.values()))
        assert len(row) == 4 and picture.figure() is not None
        assert np.abs(row[2] - row[1]).max() > 20 and row[3].std() < row[1].std() < row[2].std()
        found = method.evaluate({"one": method, "two": method})
        first, second = found["pairs"]
        assert first["pairs"] == 2 and 0 <= first["consistency mean"] <= 1
        assert first["p (Wilcoxon, Bonferroni)"] == "" and second["p (Wilcoxon, Bonferroni)"] == 1
        case = method.cases["test"][0]
        other = method.pair_of(case)
        assert other.images["ct"] == case.images["ct_sharp"] != case.images["ct"]


def settings(*overrides):
    return tfmed.load_config(REPOSITORY / "configs" / "fbpaug.yaml", (*TINY, *overrides))


def method(*overrides):
    return tfmed.registry.method_class("fbpaug")(settings(*overrides))


def model(**changes):
    config = dict(patch=(32, 32), network=SummedUNet(widths=(4, 8)), share=1.0) | changes
    return FBPAug(Config(**config), per_step=4)


def slices(count=4, side=32, seed=0):
    """HU of lung with texture, `(count, side, side, 1)`."""
    rng = np.random.default_rng(seed)
    return tf.constant(rng.normal(-700, 150, (count, side, side, 1)).clip(-1000, 200), tf.float32)


INDEX = tf.range(4, dtype=tf.int64)


# --- network and loss -------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
@pytest.mark.usefixtures("unfilled_weights")
def test_the_papers_network():
    network = build_network(Config())
    assert sum(int(np.prod(w.shape)) for w in network.trainable_weights) == 8_226_121
    assert network(tf.zeros((1, 50, 37, 1))).shape == (1, 50, 37, 1)


def test_the_network_takes_hu_and_gives_sigmoid():
    one = model()
    hu = tf.concat([slices(), slices() * 0 - 3000], 0)
    logit = one.windowed(tf.clip_by_value((hu + 1350) / 1500, 0, 1))
    probability = tf.nn.softmax(one(hu))[..., 1:]
    np.testing.assert_allclose(probability, tf.sigmoid(logit), atol=1e-6)


def test_the_loss_is_binary_cross_entropy():
    one = model(augmentation="none")
    hu, label = slices(), tf.constant(np.random.default_rng(1).integers(0, 2, (4, 32, 32)), tf.int32)
    logit = one.windowed(one.window(hu), training=True)[..., 0]
    wanted = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(label, tf.float32), logit))
    loss, _ = one.network_loss({"index": INDEX, "image": hu, "label": label})
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)


# --- 8. and 9. augmentations ------------------------------------------------------------------------------------------


@pytest.mark.one_stack
@pytest.mark.parametrize("changes", [
    {"augmentation": "none"}, {"augmentation": "gamma", "gamma_deviation": 0.0}, {"share": 0.0},
    {"augmentation": "noise", "noise_deviation": 0.0},
    {"augmentation": "windowing", "window_centre_hu": (-600.0, -600.0), "window_width_hu": (1500.0, 1500.0)},
])  # fmt: skip
def test_nothing_changes_without_strength(changes):
    one = model(**changes)
    np.testing.assert_allclose(one.augmented(slices(), INDEX), one.window(slices()), atol=1e-6)


@pytest.mark.one_stack
@pytest.mark.parametrize("changes", [
    {}, {"route": "gridding"}, {"route": "radon"}, {"residual": True}, {"kernels": "sharpen"}, {"kernels": "smooth"},
    {"kernels": "coupled"}, {"augmentation": "gamma"}, {"augmentation": "noise"}, {"augmentation": "windowing"},
])  # fmt: skip
def test_what_fires_changes_every_slice(changes):
    """The public wrapper discarded what its kernel made. Differently for each sample, alike whenever it is drawn."""
    one, same = model(**changes), tf.repeat(slices(1), 4, 0)
    plain, found = one.window(same).numpy(), one.augmented(same, INDEX).numpy()
    assert found.shape == plain.shape and found.min() >= 0 and found.max() <= 1
    assert (np.abs(found - plain).mean((1, 2, 3)) > 1e-3).all()
    assert (np.abs(found[1:] - found[0]).mean((1, 2, 3)) > 1e-4).all()
    np.testing.assert_allclose(one.augmented(same[:2], INDEX[2:]), found[2:], atol=2e-4)


def test_a_share_of_the_slices_changes():
    one, count = model(share=0.5, augmentation="noise"), 200
    same = tf.repeat(slices(1), count, 0)
    found = one.augmented(same, tf.range(count, dtype=tf.int64)).numpy()
    changed = (found != one.window(same).numpy()).any((1, 2, 3))
    assert 0.38 < changed.mean() < 0.62


def test_kernels_come_before_the_window():
    """Bone above the window darkens what is around it when it is smoothed: its HU count, not the window's."""
    one = model(kernels="smooth")
    low = np.full((4, 32, 32, 1), -800, np.float32)
    bone, bright = low.copy(), low.copy()
    bone[:, 14:18, 14:18], bright[:, 14:18, 14:18] = 1500, 150
    first, second = (one.augmented(tf.constant(hu), INDEX).numpy() for hu in (bone, bright))
    assert np.abs(first - second)[:, 18:22, 14:18].max() > 0.02


# --- samples ----------------------------------------------------------------------------------------------------------


def test_turns_keep_image_and_label_together():
    image = np.random.default_rng(0).random((8, 8, 1)).astype(np.float32)
    label = (image[..., 0] > 0.5).astype(np.uint8)
    seen = set()
    for seed in range(60):
        found = turned(image, label, np.random.default_rng(seed), 0.5)
        np.testing.assert_array_equal(found["image"][..., 0] > 0.5, found["label"])
        seen.add(found["image"].tobytes())
    assert len(seen) == 8
    tall = turned(image[:, :6], label[:, :6], np.random.default_rng(1), 1.0)
    assert tall["image"].shape == (8, 6, 1) and tall["label"].shape == (8, 6)


@pytest.mark.one_stack
def test_half_of_the_samples_show_slices_with_lesions():
    def lesions(*overrides):
        samples = method(*overrides).samples()
        return np.concatenate([samples.batch(step)["label"].any((1, 2)) for step in range(30)]).mean()

    everywhere, half, only = (lesions(f"model.lesion_slices={share}") for share in (0, 0.5, 1))
    assert only == 1 and abs(half - (1 + everywhere) / 2) < 0.12
    image = method().samples().batch(0)["image"]
    assert image.shape == (4, 32, 32, 1) and -1000 <= image.min() < -900 and image.max() > 0


# --- scores -----------------------------------------------------------------------------------------------------------


def test_the_table_of_pairs():
    rng = np.random.default_rng(0)
    rows = [{"run": run, "case": k, "region": "lesion", "Dice": 0.5, "consistency": level + 0.05 * rng.random(),
             "other kernel's Dice": 0.4, "ml": 10.0 + k, "other kernel's ml": 8.0 + k}
            for run, level in (("fbp", 0.9), ("none", 0.5), ("gamma", 0.6)) for k in range(8)]  # fmt: skip
    first, second, third = pairs_table(rows, ["fbp", "none", "gamma"])
    assert first["consistency mean"] == pytest.approx(0.925, abs=0.02) and first["ml bias"] == pytest.approx(2.0)
    assert first["ml 95 % limits"] == "2.0 .. 2.0"
    for row in (second, third):  # all 8 pairs lead: 1 / 2^8, twice
        assert row["p (Wilcoxon, Bonferroni)"] == pytest.approx(2 / 256)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
@pytest.mark.parametrize("override, said", [
    ("data.preprocess=[{step: crop, shape: [null, 32, 32]}]", "set fill: -1000"),
    ("data.preprocess=[{step: zscore}]", "step zscore leaves no HU"),
    ("model.modalities=[ct, pet]", "one class in one CT"),
    ("model.label_values=[0, 1, 2]", "one class in one CT"),
    ("model.route=fast", "route"),
    ("model.patch=[8, 32, 32]", "patch"),
    ("model.network={name: vnet}", "network"),
])  # fmt: skip
def test_bad_settings_are_one_clear_line(override, said):
    with pytest.raises(ConfigError, match=said) as caught:
        settings(override)
    assert "\n" not in str(caught.value)


@pytest.mark.one_stack
@pytest.mark.parametrize("override", ["model.window_width_hu=[0, 10]", "model.window_centre_hu=[-500, -700]"])
def test_random_windows_have_a_range(override):
    with pytest.raises(ConfigError, match="lower bound first"):
        settings("model.augmentation=windowing", override)


@pytest.mark.one_stack
def test_a_ct_that_is_not_in_hu_is_named(tmp_path):
    """Values that begin at 0, and those of a picture: before anything is trained."""
    from tfmed.data import phantoms
    from tfmed.io import write_volume

    for number in range(4):
        made = phantoms.ground_glass(number, (8, 32, 32))
        shifted = made.soft.replace(array=np.clip(made.soft.array + 1024, 0, None)) if number == 2 else made.soft
        write_volume(shifted, tmp_path / "images" / f"case{number}.nii.gz")
        write_volume(made.labels, tmp_path / "labels" / f"case{number}.nii.gz")
    overrides = ("data.source=nifti_folder", f"data.root={tmp_path}", "data.split.test=0")
    chosen = [text for text in TINY if not text.startswith("data.options")]
    bad = tfmed.load_config(REPOSITORY / "configs" / "fbpaug.yaml", (*chosen, *overrides), profile="demo")
    bad = bad.model_copy(update={"data": bad.data.model_copy(update={"options": {}})})
    with pytest.raises(DataError, match=r"case2.*lowest value is 0.*RescaleIntercept") as caught:
        fit(bad, tmp_path / "run")
    assert "\n" not in str(caught.value)
