"""FS-Net: the harness, and every item of its card's "What must hold" that is not of a layer or a loss alone."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

import tfmed
from tests.support.harness import REPOSITORY, MethodHarness
from tfmed import cli, prepare, registry
from tfmed.compat import tensor_variable
from tfmed.data.several_sets import set_weights
from tfmed.data.streams import Mixture
from tfmed.engine.lifecycle import fit
from tfmed.errors import ConfigError, DataError, RunError
from tfmed.io import Volume, write_volume
from tfmed.methods.fsnet import METHOD, Config, FSNet, build_network, feature_space
from tfmed.tasks.backbones import UNet
from tfmed.tasks.several_sets import AuxiliarySet

pytestmark = pytest.mark.current

CONFIG = "configs/fsnet.yaml"
SMALL = "{name: unet, widths: [4, 6], factors: [1, 2, 2], norm: batch, upsample: transposed}"
TINY = (
    "data.options={cases: 5, shape: [8, 24, 24], protocol: whole_heart}",
    "data.split={validation: 0.2, test: 0.2, seed: 0}",
    "data.preprocess=[{step: zscore, nonzero: true}]",
    "train.batch_size=4",
    "train.validate_every=2",
    "model.auxiliary.mnms.options={cases: 3, shape: [8, 24, 24], protocol: short_axis, seed: 1}",
    "model.auxiliary.mnms.preprocess=[{step: zscore, nonzero: true}]",
    "model.patch=[4, 16, 16]",
    f"model.network={SMALL}",
    "model.features=4",
    "model.overlap=0.25",
    "model.learning_rate=0.003",
)


class TestHarness(MethodHarness):
    config = CONFIG
    tiny = TINY
    bad = ("model.auxiliary.mnms.sorce=mnms", "did you mean 'source'")

    def parity(self, run):
        """Odd shapes: smaller than a window, larger, and neither a multiple of anything."""
        method = run.restored()
        images, expected = [], []
        for shape in ((3, 10, 17), (7, 20, 22)):
            image = np.random.default_rng(sum(shape)).uniform(0, 400, (*shape, 1)).astype("float32")
            prepared = method.preprocessing()[-1].graph(tf.constant(image[..., 0]))
            images.append({"image": image})
            expected.append(np.array(method.config.label_values)[method.labels(prepared.numpy()[..., None])])
        return expected, images

    def assert_parity(self, found, expected):
        assert (found != expected).mean() < 1e-3  # equally probable classes may be told apart by the last digit

    def test_the_loss_of_each_set_is_logged(self, run):
        rows = run.metrics().query("split == 'train'")
        total = 0.95 * rows.loss_target + 0.05 * rows.loss_mnms
        np.testing.assert_allclose(rows.loss, total, rtol=1e-4)

    def test_use_needs_the_target_alone(self, run, monkeypatch):
        """Neither evaluation nor prediction, export or pictures look at an auxiliary set."""

        def never(self):
            raise AssertionError("an auxiliary set was opened")

        monkeypatch.setattr("tfmed.tasks.several_sets.OpenSet.cases", property(never))
        method = run.restored()
        rows = method.evaluate({"run": method})["cases"]
        assert {row["region"] for row in rows} == {"myocardium", "blood pool", "mean of regions"}
        assert method.previews()["segmentation"]
        assert method.export_module()
        assert set(np.unique(method.labels(np.random.default_rng(0).normal(0, 1, (5, 20, 20, 1))))) <= {0, 1, 2}

    def test_the_split_holds_the_auxiliary_cases(self, run):
        kinds = run.method().split_record.kinds
        assert len(kinds["auxiliary mnms"]["train"]) == 3 and not kinds["auxiliary mnms"]["test"]
        assert len(kinds["cases"]["train"]) == 3


@pytest.mark.one_stack
@pytest.mark.parametrize("variant", ["naive_joint", "no_channel_coding", "target_only"])
def test_variants_train(variant):
    class Harness(MethodHarness):
        config = f"configs/fsnet/{variant}.yaml"
        tiny = TINY

    loaded = tfmed.load_config(REPOSITORY / Harness.config).model
    features = f"model.features={4 if loaded.features else 0}"
    Harness.tiny = (*TINY, features)
    harness = Harness()
    harness.test_builds()
    harness.test_one_update_lowers_its_loss()


def settings(*overrides, config=CONFIG):
    return tfmed.load_config(REPOSITORY / config, (*TINY, "train.steps=2", "train.tensorboard=false", *overrides))


def method(*overrides, config=CONFIG):
    return registry.method_class("fsnet")(settings(*overrides, config=config))


# --- networks ---------------------------------------------------------------------------------------------------------


def parameters(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


@pytest.mark.parametrize(("name", "total", "branch"), [("fsnet", 1_467_334, 48), ("fsnet/brain", 1_467_317, 112)])
def test_parameters_of_the_papers_pairs(name, total, branch):
    config = tfmed.load_config(name).model
    assert parameters(build_network(config)) == total
    channels = config.coding(["target", *config.auxiliary]).total_channels
    assert parameters(feature_space(config, channels)) == branch + 1  # the learned scale
    stated = config.model_copy(update={"attention_scale": "none"})
    assert parameters(feature_space(stated, channels)) == branch
    assert tuple(build_network(config).output.shape[1:-1]) == (None,) * 3


@pytest.mark.parametrize(("name", "total"), [("bottleneck_128", 3_680_454), ("bottleneck_256", 5_893_062)])
@pytest.mark.usefixtures("unfilled_weights")
def test_parameters_with_a_fourth_pooling(name, total):
    assert parameters(build_network(tfmed.load_config(f"fsnet/{name}").model)) == total


def auxiliary(**changes):
    return AuxiliarySet(**({"source": "phantom_cardiac", "label_values": (0, 1, 2, 3)} | changes))


def network(counts=(2, 2), weights=(0.95, 0.05), norm="none", **changes):
    """A model of two sets of 1 and 2 images, with 3 and 4 classes, whose attention is at work."""
    two = {"more": auxiliary(modalities=("t1", "t2"))}
    unet = UNet(widths=(4, 6), factors=(1, 2, 2), norm=norm)
    config = Config(**{"patch": (2, 8, 8), "network": unet, "features": 4, "auxiliary": two} | changes)
    model = FSNet(config, sets=("target", "more"), mixture=Mixture(counts), weights=weights, per_step=sum(counts))
    for branch in model.branches:
        attention = branch.get_layer("attention")
        attention.set_weights([np.float32(0.7)] * len(attention.weights))
    return model


def batch(model, seed=0):
    """Coded random patches; a voxel of set m has one of its classes."""
    rng, counts = np.random.default_rng(seed), model.mixture.counts
    rows = []
    for number, count in enumerate(counts):
        images = rng.normal(0, 1, (count, 2, 8, 8, model.coding.channels[number])).astype("float32")
        labels = rng.integers(0, model.coding.classes[number], (count, 2, 8, 8))
        rows.append((model.coding.image(images, number), model.coding.label(labels, number).astype("int32")))
    images, labels = (model.mixture.join([tf.constant(row[k]) for row in rows]) for k in (0, 1))
    return {"image": images, "label": labels, "index": tf.range(len(images), dtype=tf.int64)}


def gradients(model, data):
    """{name of a network: its gradients, one vector}."""
    with tf.GradientTape(persistent=True) as tape:
        loss = model.network_loss(data)[0]
    found = {}
    for name, part in (("shared", model.shared), ("target", model.branches[0]), ("more", model.branches[1])):
        variables = [tensor_variable(v) for v in part.trainable_variables]
        grads = tape.gradient(loss, variables, unconnected_gradients="zero")
        found[name] = np.concatenate([np.ravel(g) for g in grads])
    return found


@pytest.mark.one_stack
@pytest.mark.parametrize("loss", ["dice", "dice_cross_entropy"])
def test_weights_1_and_0_are_training_on_the_target_alone(loss):
    model = network(weights=(1.0, 0.0), loss=loss)
    found, other = gradients(model, batch(model)), gradients(model, batch(model) | more_of(model, 5))
    np.testing.assert_array_equal(found["more"], 0)
    for name in ("shared", "target"):
        assert np.abs(found[name]).max() > 1e-5
        np.testing.assert_allclose(found[name], other[name], atol=1e-7)  # whatever the other set holds
    logits = model.shared(model.branches[0](model.mixture.divide(batch(model)["image"])[0]))
    with tf.GradientTape() as tape:
        logits = model.shared(model.branches[0](model.mixture.divide(batch(model)["image"])[0]), training=True)
        alone = model.set_loss(0, logits, model.mixture.divide(batch(model)["label"])[0])
    grads = tape.gradient(alone, [tensor_variable(v) for v in model.shared.trainable_variables])
    np.testing.assert_allclose(np.concatenate([np.ravel(g) for g in grads]), found["shared"], atol=1e-6)


def more_of(model, seed):
    """The target's rows of one batch with the other set's of another."""
    one, other = (batch(model, k) for k in (0, seed))
    return {name: model.mixture.join([model.mixture.divide(one[name])[0], model.mixture.divide(other[name])[1]])
            for name in ("image", "label")}  # fmt: skip


def test_the_loss_is_linear_in_the_weights():
    model = network()
    data, found = batch(model), {}
    for weight in (1.0, 0.0, 0.95, 0.5):
        model.shares = set_weights(weight, 1)
        found[weight] = gradients(model, data)["shared"]
    for weight in (0.95, 0.5):
        np.testing.assert_allclose(found[weight], weight * found[1.0] + (1 - weight) * found[0.0], atol=1e-6)


@pytest.mark.parametrize("counts", [(2, 2), (1, 3), (4, 2)])
def test_sets_go_through_the_shared_network_and_back_in_order(counts):
    """Without norm each set's loss is what it would be alone, whatever the sizes of its part."""
    model = network(counts)
    data = batch(model)
    _, logs = model.network_loss(data)
    images, labels = (model.mixture.divide(data[name]) for name in ("image", "label"))
    for number, name in enumerate(("target", "more")):
        assert len(images[number]) == counts[number]
        logits = model.shared(model.branches[number](images[number]), training=True)
        alone = model.set_loss(number, logits, labels[number])
        assert float(logs[f"loss_{name}"]) == pytest.approx(float(alone), abs=1e-6)


def test_batch_norm_sees_both_sets():
    model = network(norm="batch")
    plain, other = (float(model.network_loss(data)[1]["loss_target"])
                    for data in (batch(model), batch(model) | more_of(model, 5)))  # fmt: skip
    assert plain != pytest.approx(other, abs=1e-4)


@pytest.mark.one_stack
@pytest.mark.parametrize("changes", [{}, {"channel_coding": "shared"}, {"shared_background": False}])
@pytest.mark.parametrize("number", [0, 1])
def test_a_sets_network_is_its_branch_and_its_classes(number, changes):
    """Its own channels in, the logits of its own classes out; the other set's branch plays no part."""
    model = network(**changes)
    image = np.random.default_rng(1).normal(0, 1, (2, 2, 8, 8, number + 1)).astype("float32")
    own = model.of_set(number)
    coded = model.coding.image(image, number)
    logits = model.shared(model.branches[number](coded)).numpy()
    expected = logits[..., list(model.coding.numbers(number))]
    np.testing.assert_allclose(own(image), expected, atol=1e-6)
    assert own.output_shape[-1] == number + 3
    other = model.branches[1 - number]
    other.set_weights([w + 1 for w in other.get_weights()])
    np.testing.assert_allclose(own(image), expected, atol=1e-6)


# --- samples and stages -----------------------------------------------------------------------------------------------


def test_samples_are_coded_patches_of_both_sets():
    made = method("train.batch_size=6")
    samples = next(iter(made.stages())).train()
    found = samples.batch(0)
    assert found["image"].shape == (6, 4, 16, 16, 2)
    for index in range(6):
        number = index % 2
        image, label = found["image"][index], found["label"][index]
        assert not image[..., 1 - number].any() and image[..., number].any()
        assert set(np.unique(label)) <= ({0, 1, 2} if number == 0 else {0, 3, 4, 5})
    seen = {number: {value for k in range(number, 60, 2) for value in np.unique(samples.read(k)["label"])}
            for number in (0, 1)}  # fmt: skip
    assert seen == {0: {0, 1, 2}, 1: {0, 3, 4, 5}}


def test_the_target_alone_opens_no_other_set(monkeypatch):
    made = method("model.auxiliary.mnms.source=nifti_folder", config="configs/fsnet/target_only.yaml")
    stages = list(made.stages())
    assert [stage.name for stage in stages] == ["segmenter"]
    assert stages[0].train().batch(0)["image"].shape == (4, 4, 16, 16, 1)
    model = stages[0].model()
    assert model.coding.total_classes == 3 and len(model.updaters["network"][1]) == 1 + len(model.branches)


PRETRAIN = ("model.features=0", "model.pretrain_steps=3")


def test_pretraining_is_a_stage_whose_weights_go_on():
    made = method(*PRETRAIN, config="configs/fsnet/pretrain.yaml")
    stages = made.stages()
    stage = next(stages)
    assert (stage.name, stage.steps, stage.validation) == ("pretrained", 3, None)
    assert set(np.unique(stage.train().batch(0)["label"])) <= {0, 1, 2, 3}
    first = made.models["pretrained"] = stage.model()
    for weights in first.shared.trainable_weights:
        weights.assign(weights + 0.5)
    stage = next(stages)
    started = made.models[stage.name] = stage.model()
    assert (stage.name, stage.steps) == ("segmenter", 2) and made.network is started.network
    assert first.coding.total_classes == 4 and started.coding.total_classes == 3
    before, after = first.shared.get_weights(), started.shared.get_weights()
    same = [a.shape == b.shape and bool((a == b).all()) for a, b in zip(before, after, strict=True)]
    assert same.count(False) == 2  # kernel and bias of the head, which is for other classes
    assert started.shared.get_layer("decoder").get_layer("head0").get_weights()[0].shape[-1] == 3
    assert not any("target" in name for name in first.meters) and "loss_mnms" not in started.meters


@pytest.mark.long
def test_a_pretrained_run_trains_and_is_restored(tmp_path):
    run = fit(settings(*PRETRAIN, config="configs/fsnet/pretrain.yaml"), tmp_path / "run")
    assert set(run.metrics().query("split == 'train'").stage) == {"pretrained", "segmenter"}
    made = run.restored()
    assert list(made.models) == ["pretrained", "segmenter"] and made.network is made.models["segmenter"].network


# --- settings ---------------------------------------------------------------------------------------------------------


def test_another_source_of_a_set_brings_its_own_options_and_keeps_the_rest():
    changed = tfmed.load_config("fsnet", ["model.auxiliary.mnms.source=mnms", "model.auxiliary.mnms.root=/data"])
    one, before = changed.model.auxiliary["mnms"], tfmed.load_config("fsnet").model.auxiliary["mnms"]
    assert (one.source, one.root, one.options) == ("mnms", "/data", {}) and before.options
    assert (one.labels, one.preprocess, one.modalities) == (before.labels, before.preprocess, before.modalities)
    both = tfmed.load_config("fsnet", ["model.auxiliary.brats={source: brats2019, modalities: [t1]}"])
    assert list(both.model.auxiliary) == ["mnms", "brats"]
    assert list(tfmed.load_config("fsnet/other_organ").model.auxiliary) == ["brats"]
    assert list(tfmed.load_config("fsnet/other_organ", profile="demo").model.auxiliary) == ["brats"]


@pytest.mark.parametrize(("overrides", "words"), [
    (["model.auxiliary.mnms=null"], ["model.auxiliary", "is empty", "training: target"]),
    (["model.auxiliary.target={source: mnms}"], ["choose another name"]),
    (["model.auxiliary.a-b={source: mnms}"], ["model.auxiliary"]),
    (["model.auxiliary.more={root: /data}"], ["model.auxiliary.more.source"]),
    (["model.auxiliary.mnms.labels={a: 1, b: 1}"], ["model.auxiliary.mnms", "numbers of its own"]),
    (["train.batch_size=5"], ["multiple of 2", "each of 2 set(s)"]),
    (["train.batch_size=6", "train.gradient_accumulation=2"], ["multiple of 4"]),
    (["model.target_weight=1.5"], ["target_weight"]),
])  # fmt: skip
def test_settings_that_are_refused(overrides, words):
    with pytest.raises(ConfigError) as caught:
        settings(*overrides)
    line = str(caught.value)
    assert "\n" not in line
    for word in words:
        assert word in line, line


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    """Two folders of scans and label maps: of the target, with labels 0 to 2, and of another set, with 0 to 3."""
    root = tmp_path_factory.mktemp("hearts")
    for name, classes in (("own", 3), ("more", 4)):
        for case in range(3):
            rng = np.random.default_rng([case, classes])
            array = rng.integers(1, 900, (8, 24, 24)).astype("float32")
            label = rng.integers(0, classes, (8, 24, 24)).astype("uint8")
            place = root / name / f"{name}{case}"
            place.mkdir(parents=True)
            write_volume(Volume(array, np.eye(4)), place / f"{name}{case}_image.nii.gz")
            write_volume(Volume(label, np.eye(4)), place / f"{name}{case}_label.nii.gz")
    return root


def words_of_files(root):
    own = ("data.source=paired_folder", f"data.root={root / 'own'}", "data.split={validation: 0, test: 0.3}")
    more = ("model.auxiliary.mnms.source=paired_folder", f"model.auxiliary.mnms.root={root / 'more'}")
    image = ("model.modalities=[image]", "model.auxiliary.mnms.modalities=[image]")
    return (*(word for word in TINY if ".options=" not in word), *own, *more, *image)


def of_files(root, *overrides):
    return tfmed.load_config(REPOSITORY / CONFIG, [*words_of_files(root), *overrides])


def test_a_changed_auxiliary_scan_is_noticed_and_a_moved_folder_is_not(hearts, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    shutil.copytree(hearts, here)
    first = METHOD(of_files(here))
    first.prepared("train")
    record = first.record_split()
    assert [entry["id"] for entry in record.kinds["auxiliary mnms"]["train"]] == ["more0", "more1", "more2"]
    here.rename(there)
    later = METHOD(of_files(there))
    later.split_record = record
    later.prepared("train")
    assert all(str(there) in case.images["image"] for case in later.auxiliary["mnms"].cases)
    other = there / "more" / "more1" / "more1_image.nii.gz"
    write_volume(Volume(np.arange(8 * 24 * 24, dtype="float32").reshape(8, 24, 24), np.eye(4)), other)
    again = METHOD(of_files(there))
    again.split_record = record
    with pytest.raises(RunError, match=r"more1_image\.nii\.gz: has changed since the run was made"):
        again.prepared("train")


def strip_labels(root):
    for path in root.glob("more/*/*_label.nii.gz"):
        path.unlink()


def cut(root):
    for kind in ("image", "label"):
        path = root / "more" / "more0" / f"more0_{kind}.nii.gz"
        write_volume(tfmed.io.read_volume(path).replace(tfmed.io.read_volume(path).array[:1]), path)


def copy_target(root):
    shutil.rmtree(root / "more")
    shutil.copytree(root / "own", root / "more")


BAD = {  # what is done to the folders, overrides, words of the line
    "unknown source": (None, ["model.auxiliary.mnms.source=mmns"], ["no data source 'mmns'", "did you mean 'mnms'"]),
    "unknown option": (None, ["model.auxiliary.mnms.options={colour: red}"], ["has no option 'colour'"]),
    "no such folder": (None, ["model.auxiliary.mnms.root=/nowhere"], ["/nowhere", "does not exist"]),
    "another number of images": (None, ["model.auxiliary.mnms.modalities=[image, t1]"], ["more0", "no 't1' image"]),
    "no labels": (strip_labels, [], ["no case has a label map", "leave it out"]),
    "patch larger than its volumes": (cut, [], ["more0", "less than half of model.patch"]),
    "a class that nobody has": (None, ["model.auxiliary.mnms.labels={a: 1, b: 2, c: 3, d: 7}"], ["label value 7"]),
    "labels of no class": (None, ["model.auxiliary.mnms.labels={}", "model.auxiliary.mnms.label_values=[0, 1]"],
                           ["holds the label values", "[0, 1] are expected"]),
    "scans of the target": (copy_target, [], ["is a scan of the data section too"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_auxiliary_sets_are_one_line(name, hearts, tmp_path):
    change, overrides, words = BAD[name]
    shutil.copytree(hearts, tmp_path / "hearts")
    if change:
        change(tmp_path / "hearts")
    with pytest.raises(DataError) as caught:
        METHOD(of_files(tmp_path / "hearts", *overrides)).prepared("train")
    line = str(caught.value)
    assert "\n" not in line and line.startswith("model.auxiliary.mnms: ")
    for word in words:
        assert word in line, line


def test_patch_larger_than_the_targets_volumes():
    with pytest.raises(DataError, match=r"less than half of model\.patch \(20, 16, 16\)"):
        method("model.patch=[20, 16, 16]").prepared("train")


def test_prepare_lists_problems_of_every_set(hearts, tmp_path, capsys):
    shutil.copytree(hearts, tmp_path / "hearts")
    for case in (0, 2):
        path = tmp_path / "hearts" / "more" / f"more{case}" / f"more{case}_image.nii.gz"
        path.write_bytes(path.read_bytes()[:200])
    words = [str(REPOSITORY / CONFIG), *words_of_files(tmp_path / "hearts"), "--json"]
    assert cli.run(prepare.main, words) == 2
    found = json.loads(capsys.readouterr().out)
    assert list(found["problems_of_further_sets"]) == ["mnms/more0", "mnms/more2"]
    assert found["summary"]["problems"] == 2 and found["summary"]["cases"] == 3
