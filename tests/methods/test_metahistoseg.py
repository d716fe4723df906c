"""MetaHistoSeg: the harness, and every item of its card's "What must hold" that is not of a lower room alone."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.harness import MethodHarness
from tfmed import compat, registry
from tfmed.errors import ConfigError, DataError
from tfmed.methods.metahistoseg import Config, Pooled, build_network, build_trunk, jittered
from tfmed.nn.task_heads import TaskHeads, pointwise
from tfmed.tasks.backbones import UNet

pytestmark = pytest.mark.current

CONFIG = "configs/metahistoseg.yaml"
PHANTOM = "source: phantom_histology, modalities: [red, green, blue], options:"
TINY = (
    "data.options={look: glands, cases: 6, shape: [16, 16]}",
    "data.split={validation: 0.17, test: 0.33, seed: 0}",
    "train.batch_size=2",  # one episode: a step of several has a loop, whose graph is twice as large
    "train.validate_every=4",
    f"model.tasks={{nuclei: {{{PHANTOM} {{look: nuclei, cases: 4, shape: [16, 16]}}}}, "
    f"grades: {{{PHANTOM} {{look: grades, cases: 5, shape: [20, 16]}}, labels: {{low: [1, 2], high: [3, 4, 5]}}}}, "
    "gleason: null, breastpathq: null, monuseg: null, digestpath: null}",
    "model.patch=[8, 8]",
    "model.network={widths: [2, 3], decoder_convolutions: 1}",
    "model.brightness=0",
    "model.contrast=0",
    "model.saturation=0",
    "model.hue=0",
    "model.support=1",
    "model.query=1",
    "model.learning_rate=0.01",
    "model.fine_tune_batch=2",
    "model.fine_tune_steps=4",
    "model.fine_tune_rate=0.01",
    "model.selection_steps=1",
)


class TestHarness(MethodHarness):
    config = CONFIG
    tiny = TINY
    bad = ("model.sources=[nuclej]", "no task 'nuclej'")
    test_two_replicas_equal_one = pytest.mark.one_stack(MethodHarness.test_two_replicas_equal_one)
    test_exact_resume = pytest.mark.one_stack(MethodHarness.test_exact_resume)
    test_mixed_precision = pytest.mark.one_stack(MethodHarness.test_mixed_precision)
    test_save_and_load = pytest.mark.one_stack(MethodHarness.test_save_and_load)

    def after_steps(self, *overrides, steps=2):
        """With an episode for each of two replicas."""
        return super().after_steps(*overrides, "train.batch_size=4", steps=steps)

    def parity(self, run):
        """Smaller than a window, and larger, and no multiple of anything."""
        method = run.restored()
        image = np.random.default_rng(0).uniform(0, 255, (1, 5, 13, 3)).astype("float32")
        return [method.labels(image).astype("int32")], [{"image": image}]

    def test_scores_and_pictures(self, run):
        """Both mIoUs of the run, over all pixels and per image; what is shown before fine-tuning and after it."""
        method = run.restored()
        (row,) = method.evaluate({"run": method})["miou"]
        matrices = method._matrices
        assert row["images"] == len(matrices) == 2 and np.sum(matrices) == 2 * 16 * 16
        total = np.sum(matrices, 0)
        ious = [total[k, k] / (total[k].sum() + total[:, k].sum() - total[k, k]) for k in range(2)]
        np.testing.assert_allclose([row["IoU background"], row["IoU gland"], row["mIoU"]], [*ious, np.mean(ious)])
        rows = run.metrics().query("split == 'validation'")
        assert set(rows.stage) == {"pretrained", "fine_tuned"} and rows.miou.between(0, 1).all()
        names = {path.name for path in (run.path / "previews").glob("*.png")}
        assert {"before_fine_tuning.png", "segmentation.png"} <= names


def made(*overrides):
    """A method of the tiny settings."""
    settings = TestHarness.settings(*overrides)
    return registry.method_class(settings.method)(settings)


def batch_of(samples, number=0):
    return {name: tf.constant(value) for name, value in samples.batch(number).items()}


# --- the network ------------------------------------------------------------------------------------------------------


def parameters(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


@pytest.mark.one_stack
@pytest.mark.usefixtures("unfilled_weights")
def test_the_papers_network_has_as_many_parameters():
    """7 763 008 in the backbone; a head of 66, 132 and 198 for 2, 4 and 6 classes."""
    config = Config()
    assert parameters(build_trunk(config).trainable_weights) == 7_763_008
    heads = TaskHeads((2, 4, 6))
    heads.build((None, None, None, 32))
    assert [parameters(pair) for pair in heads.own] == [66, 132, 198]


@pytest.mark.one_stack
def test_a_narrow_network_has_the_papers_form():
    """Biases before no norm, batch norm with momentum 0.9 and epsilon 1e-5, colours scaled as ImageNet's are."""
    network = build_network(Config(network=UNet(**Config().network.model_dump() | {"widths": (2, 2)})), 3)
    layers = list(compat.layers_within(network))
    assert [one.use_bias for one in layers if type(one).__name__ == "Conv2D"].count(True) == 1  # the head's
    assert {(one.momentum, one.epsilon) for one in layers if hasattr(one, "moving_mean")} == {(0.9, 1e-5)}
    assert network(tf.zeros((1, 8, 12, 3))).shape == (1, 8, 12, 3)
    white = network.get_layer("trunk").get_layer("imagenet")(tf.fill((1, 1, 1, 3), 255.0))
    np.testing.assert_allclose(
        np.ravel(white), (1 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225], rtol=1e-5
    )


# --- meta-learning ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def first():
    """(method, model, batch of two episodes) of MAML."""
    method = made("train.batch_size=4")
    stage = next(method.stages())
    samples = stage.train()
    number = next(k for k in range(20) if len(set(samples.batch(k)["task"])) == 1)  # of one task
    return method, stage.model(), batch_of(samples, number)


@pytest.mark.one_stack
def test_a_step_leaves_the_heads_of_absent_tasks(first):
    """Bit for bit, also after steps that moved them, when Adam would go on; all else moves, and statistics too."""
    _, model, batch = first
    task = int(batch["task"][0])
    other = batch | {"task": 1 - batch["task"]}
    other["label"] = tf.minimum(batch["label"], 1)
    model.train_step(other)  # now Adam remembers something of the other head
    before = [[one.numpy() for one in own] for own in model._of_heads()]
    trunk = [one.numpy() for one in model.trunk.weights]
    model.train_step(batch)
    after = [[one.numpy() for one in own] for own in model._of_heads()]
    for a, b in zip(before[1 - task], after[1 - task], strict=True):
        np.testing.assert_array_equal(a, b)
    assert all((a != b).any() for a, b in zip(before[task], after[task], strict=True))
    assert sum((a != b.numpy()).any() for a, b in zip(trunk, model.trunk.weights, strict=True)) > len(trunk) // 2
    assert any((a != b.numpy()).any() for a, b, v in zip(trunk, model.trunk.weights, model.trunk.weights, strict=True)
               if not v.trainable)  # fmt: skip


@pytest.mark.one_stack
def test_the_loss_is_the_mean_over_episodes_and_writes_nothing(first):
    _, model, batch = first
    before = [one.numpy() for one in model.weights]
    whole = float(model.network_loss(batch)[0])
    each = [float(model.network_loss({name: value[k : k + 2] for name, value in batch.items()})[0]) for k in (0, 2)]
    np.testing.assert_allclose(whole, np.mean(each), rtol=1e-6)
    for a, b in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(a, b.numpy())


@pytest.mark.one_stack
def test_without_inner_steps_it_is_training_on_the_query_sets(first):
    """K = 0 equals alpha = 0 equals a plain call of the trunk and the task's head; one step makes it another."""
    _, model, batch = first
    config, found = model.config, {}
    part = {name: value[:2] for name, value in batch.items()}
    for name, change in (("none", {"inner_steps": 0}), ("still", {"inner_rate": 0.0}), ("one", {"inner_rate": 0.5}),
                         ("head", {"inner_rate": 0.5, "adapt": "head_only"})):  # fmt: skip
        model.config = config.model_copy(update=change)
        found[name] = float(model.network_loss(part)[0])
    model.config = config
    state = [one.numpy() for one in model.trunk.non_trainable_variables]
    logits = model.heads(model.trunk(part["image"][1:], training=True), part["task"][1:])
    for variable, value in zip(model.trunk.non_trainable_variables, state, strict=True):
        variable.assign(value)
    plain = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(part["label"][1:], logits))
    np.testing.assert_allclose([found["none"], found["still"]], float(plain), rtol=1e-5)
    assert len({round(value, 5) for value in found.values()}) == 3


def test_a_tasks_loss_has_no_gradient_in_another_tasks_head():
    heads = TaskHeads((2, 3))
    heads.build((None, None, None, 4))
    with tf.GradientTape() as tape:
        logits = heads(tf.random.stateless_normal((2, 3, 3, 4), (0, 1)), tf.constant([0, 0]))
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(tf.ones((2, 3, 3), tf.int32), logits))
    variables = [compat.tensor_variable(one) for own in heads.own for one in own]
    gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
    assert all(np.any(one != 0) for one in gradients[:2]) and not any(np.any(one != 0) for one in gradients[2:])
    kernel, bias = heads.own[0]
    plain = pointwise(tf.ones((1, 1, 1, 4)), tf.convert_to_tensor(kernel), tf.convert_to_tensor(bias))
    np.testing.assert_allclose(heads(tf.ones((1, 1, 1, 4)), tf.constant([0]))[..., :2], plain, rtol=1e-6)
    assert heads.compute_output_shape((2, 3, 3, 4)) == (2, 3, 3, 3)
    assert TaskHeads.from_config(heads.get_config()).classes == (2, 3)


@pytest.mark.one_stack
def test_pooled_training_counts_each_task_alike():
    """The sum over tasks present of the means of their samples; or the mean over samples."""
    method = made("model.training=transfer", "train.batch_size=3")
    stage = next(method.stages())
    samples, model = stage.train(), stage.model()
    assert isinstance(model, Pooled)
    batch = batch_of(samples)
    batch["task"] = tf.constant([0, 0, 1], tf.int64)
    batch["label"] = tf.minimum(batch["label"], 1)
    logits = model.heads(model.trunk(batch["image"], training=True), batch["task"])
    each = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(batch["label"], logits), (1, 2)).numpy()
    np.testing.assert_allclose(model.network_loss(batch)[0], (each[0] + each[1]) / 2 + each[2], rtol=1e-4)
    model.config = model.config.model_copy(update={"pooled_loss": "mean_over_samples"})
    np.testing.assert_allclose(model.network_loss(batch)[0], each.mean(), rtol=1e-4)
    spec = [samples.read(k)["task"] for k in range(8)]
    assert spec.count(0) == spec.count(1) == 4  # an epoch: as many of each as the smaller task has


@pytest.mark.one_stack
def test_colours_change_and_stay_colours():
    config, image = Config(), tf.random.stateless_uniform((2, 4, 4, 3), (0, 1), 0, 255.0)
    batch = {"image": image, "index": tf.constant([3, 4], tf.int64)}
    found = jittered(config, batch, 1)["image"].numpy()
    assert found.min() >= 0 and found.max() <= 255.001 and (np.abs(found - image) > 1).any((1, 2, 3)).all()
    again = jittered(config, {"image": image[1:], "index": batch["index"][1:]}, 1)["image"]
    np.testing.assert_allclose(found[1:], again, atol=1e-3)
    still = config.model_copy(update=dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.0))
    np.testing.assert_allclose(jittered(still, batch, 1)["image"], image, rtol=1e-6)


# --- stages and data --------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_scratch_opens_no_other_task_and_few_images_are_among_more():
    method = made("model.training=scratch", "model.shots=2", "model.fine_tune_steps=null", "model.fine_tune_batch=32",
                  "model.fine_tune_epochs=5")  # fmt: skip
    (stage,) = method.stages()
    assert method.other_tasks == [] and method.further_problems() == {}
    assert (stage.name, stage.steps) == ("fine_tuned", 5) and stage.train().per_step == 2
    assert {c.id for c in method.fine_tuning_cases} < {case.id for case in method.cases["train"]}
    seen = {tuple(np.unique(stage.train().read(k)["label"])) for k in range(4)}
    assert seen <= {(0,), (1,), (0, 1)}
    with pytest.raises(DataError, match=r"model\.shots: 9 are wanted, and there are 3 labelled training images"):
        list(made("model.training=scratch", "model.shots=9").stages())


@pytest.mark.one_stack
def test_crops_follow_the_class_that_is_asked_for():
    """`foreground` 1: the middle of every crop lies on a labelled pixel, as far as borders let it."""
    method = made("model.foreground=1", "model.rotate_degrees=0", "model.scale=[1, 1]", "model.patch=[2, 2]")
    case = method.cases["train"][0]
    crops = [method.crop(method.open(case), (0, k, 0)) for k in range(20)]
    assert all(crop["label"].any() for crop in crops) and crops[0]["image"].shape == (2, 2, 3)


@pytest.mark.parametrize(("overrides", "words"), [
    (["model.tasks={nuclei: null, grades: null}"], ["model.tasks", "is empty"]),
    (["train.batch_size=3"], ["multiple of 2", "episodes"]),
    (["train.gradient_accumulation=2"], ["gradient_accumulation", "set it to 1"]),
    (["model.probabilities={nuclei: 0, grades: 0}"], ["probabilities", "above 0"]),
    (["model.probabilities={glas: 1}"], ["no task 'glas'", "nuclei"]),
    (["model.sources=[nuclei, nuclei]"], ["stands twice"]),
    (["model.scale=[2, 1]"], ["scale", "no range"]),
    (["model.short_side=[9, 5]"], ["short_side", "no range"]),
    (["model.modalities=[red]"], ["images"]),
    (["model.tasks.a-b={source: glas}"], ["model.tasks"]),
])  # fmt: skip
@pytest.mark.one_stack
def test_settings_that_are_refused(overrides, words):
    with pytest.raises(ConfigError) as caught:
        TestHarness.settings(*overrides)
    line = str(caught.value)
    assert "\n" not in line
    for word in words:
        assert word in line, line


@pytest.mark.one_stack
def test_a_task_with_fewer_images_than_an_episode_is_refused():
    with pytest.raises(DataError, match=r"model\.tasks\.nuclei: has 4 images with a label map, and an episode needs 6"):
        made("model.support=3", "model.query=3", "train.batch_size=6").episodes()
