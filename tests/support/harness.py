"""What every method must pass, written once; a test file subclasses `MethodHarness` and adds its card's items."""

import functools
import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfmed
from tests.support.alone import in_fresh_process
from tfmed import compat
from tfmed import config as configuration
from tfmed.engine import memory, placement, saved_model
from tfmed.engine.checkpoint import Checkpoints, state_variables
from tfmed.engine.lifecycle import fit
from tfmed.engine.split_record import SplitRecord
from tfmed.errors import ConfigError

REPOSITORY = pathlib.Path(__file__).parents[2]
_NEWEST: dict[str, object] = {}  # the settings of the latest first stage, and what was made of them; first weights


class MethodHarness:
    """The twelve checks.

    Attributes:
        config: settings file, relative to the repository.
        tiny: overrides that make it run in seconds on the built-in phantom.
        replica_tolerance: relative difference allowed between one device and two.
        bad: an override that must be refused, and a word of the message.
    """

    config: str
    tiny: tuple
    steps = 4
    replica_tolerance = 1e-4
    bad = ("train.batch_size=0", "batch_size")

    @classmethod
    def settings(cls, *overrides):
        shared = (f"train.steps={cls.steps}", "train.log_every=1", "train.tensorboard=false")
        return tfmed.load_config(REPOSITORY / cls.config, (*shared, *cls.tiny, *overrides))

    @classmethod
    def trained(cls, folder):
        """A run of a few steps, which several checks look at; none may change its `restored()`, which is one method."""
        found, usual = [], memory.graph_bytes
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(memory, "graph_bytes", lambda graph: found.append(usual(graph)) or found[-1])
            run = fit(cls.settings("train.checkpoint_every_steps=2"), folder)
        run.step_bytes = found
        run.restored = functools.cache(run.restored)  # building its networks anew for each check took a tenth of all
        return run

    @pytest.fixture(scope="class")
    @classmethod
    def run(cls, tmp_path_factory):
        return cls.trained(tmp_path_factory.mktemp("harness") / "run")

    @pytest.fixture(scope="class")
    @classmethod
    def exported(cls, run, tmp_path_factory):
        """The folder of its SavedModel."""
        from tfmed.engine.exporting import export

        return export(run, tmp_path_factory.mktemp("harness") / "export")

    def stage(self, settings):
        """The first stage's model and a batch for it."""
        keras.utils.set_random_seed(settings.seed)  # as `fit` does
        stage = first_of(settings)
        return stage.model(), batch_of(stage)

    def first_stage(self):
        """As `stage`, and the weights as they were made: made once for checks in a row that need nothing else."""
        settings = self.settings()
        text = settings.model_dump_json()
        if _NEWEST.get("settings") != text:
            model, batch = self.stage(settings)
            weights = [variable.numpy() for variable in model.trainable_variables]
            _NEWEST.update(settings=text, found=(model, batch, weights))
        return _NEWEST["found"]

    def test_builds(self):
        """Every network is built, and every trainable variable belongs to exactly one optimizer."""
        model, _, _ = self.first_stage()
        updated = [
            id(compat.tensor_variable(v))
            for _, networks in model.updaters.values()
            for network in networks
            for v in network.trainable_variables
        ]
        assert updated
        assert len(updated) == len(set(updated))
        assert set(updated) == {id(compat.tensor_variable(v)) for v in model.trainable_variables}

    def test_one_update_lowers_its_loss(self):
        """An update by each optimizer lowers that optimizer's loss on the same phantom batch."""
        model, batch, _ = self.first_stage()
        assert model.objectives.keys() == model.updaters.keys()
        for name, loss in model.objectives.items():
            before = float(loss(batch)[0])
            model.update(name, loss, batch)
            assert float(loss(batch)[0]) < before, name

    def test_what_a_step_needs_is_known_before_it(self, run):
        """More than its batch, and less than this small run can take."""
        batch = next(iter(run.method().stages())).train()
        assert batch.bytes * batch.per_step < max(run.step_bytes) < 2**31

    def test_config_round_trip(self, run):
        """The config.yaml of a run gives its settings back."""
        assert tfmed.load_run(run.path).settings == run.settings
        values, _ = configuration.read_yaml(run.path / "config.yaml")
        assert values == json.loads(run.settings.model_dump_json())

    def test_validations_give_the_numbers_that_are_promised(self, run):
        """Before the first step early stopping knows them by name."""
        rows = run.metrics().query("split == 'validation'").dropna(axis="columns", how="all")
        assert set(rows.columns[3:]) in (set(), set(run.method().validated()))

    def test_save_and_load(self, run):
        """A restored model has bit for bit the weights of the newest checkpoint."""
        method = tfmed.load_run(run.path).restored(best=False)
        name, model = list(method.models.items())[-1]
        path, state = Checkpoints(run.path / "checkpoints").latest(name)
        assert state["finished"]
        before = [v.numpy() for v in state_variables(model)]
        for variable in state_variables(model):
            variable.assign(tf.zeros_like(variable))
        Checkpoints(run.path / "checkpoints").restore(model, path, state)
        assert any(np.any(value != 0) for value in before)
        for value, variable in zip(before, state_variables(model), strict=True):
            np.testing.assert_array_equal(value, variable.numpy())

    def test_exact_resume(self, run, tmp_path):
        """A run that was killed after rows of steps that no checkpoint has goes on to the same rows and the same bits:
        the seed decides every number. (tests/engine/test_lifecycle.py kills runs for real.)"""
        killed, state = killed_before(run, tmp_path / "killed", lambda state: state["finished"])
        assert state["step"] == self.steps - 2
        resumed = fit(run.settings, killed, resume=True)
        assert Checkpoints(killed / "checkpoints").latest()[1]["finished"]
        assert (resumed.path / "metrics.csv").read_bytes() == (run.path / "metrics.csv").read_bytes()
        assert_same_weights(resumed, run)

    def test_mixed_precision(self):
        """bfloat16 arithmetic: finite losses of two steps, and finite float32 weights after them."""
        try:
            logs, model = self.after_steps("train.precision=mixed_bfloat16")
            assert logs and np.isfinite([value for step in logs for value in step.values()]).all()
            weights = [tf.convert_to_tensor(v).numpy() for v in model.trainable_variables]
            assert all(value.dtype == np.float32 and np.isfinite(value).all() for value in weights)
        finally:
            compat.set_precision("float32")

    def test_two_replicas_equal_one(self):
        """The same global batches on two devices give the same losses as on one; the second's tell of the update."""
        (ours, _), (theirs, _) = (
            self.after_steps(f"train.strategy={strategy}", "train.replicas=2") for strategy in ("cpu", "mirrored")
        )
        for one, two in zip(ours, theirs, strict=True):
            assert one.keys() == two.keys()
            for name, value in one.items():
                tolerance = self.replica_tolerance
                np.testing.assert_allclose(two[name], value, rtol=tolerance, atol=tolerance, err_msg=name)

    def after_steps(self, *overrides, steps=2):
        """(what each of the first stage's first steps logs, the model after them), as in a run but without a graph."""
        settings = self.settings(*overrides)
        strategy = placement.strategy(settings.train)
        compat.set_precision(settings.train.precision)
        keras.utils.set_random_seed(settings.seed)
        stage = first_of(settings)
        with strategy.scope():
            model = stage.model()
        if settings.train.strategy == "cpu":
            _NEWEST["begun"] = type(self), [variable.numpy() for variable in model.trainable_variables]
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        dataset, logs = stage.train().batches(0, steps, 0, 1).with_options(options), []
        for step, batch in enumerate(strategy.experimental_distribute_dataset(dataset)):
            for metric in model.metrics:
                metric.reset_state()
            for phase in model.phases_of(step):
                found = strategy.run(model.train_step, args=(batch,) if phase is None else (batch, phase))
            logs.append({name: float(strategy.reduce("MEAN", value, axis=None)) for name, value in found.items()})
        return logs, model

    @pytest.mark.one_stack  # that a run repeats itself on both is what `test_exact_resume` asks
    def test_same_seed_same_numbers(self):
        """One seed gives the same first weights and the same first samples; another seed gives others of both."""
        _, first, weights = self.first_stage()
        kind, repeated = _NEWEST.get("begun", (None, None))  # `test_two_replicas_equal_one` has built it again
        if kind is not type(self):
            repeated = [v.numpy() for v in self.stage(self.settings())[0].trainable_variables]
        same = batch_of(first_of(self.settings()))
        other, others = self.stage(self.settings("seed=5"))
        different = [v.numpy() for v in other.trainable_variables]
        for a, b in zip(weights, repeated, strict=True):
            np.testing.assert_array_equal(a, b)
        assert any((a != b).any() for a, b in zip(weights, different, strict=True))
        for name, value in first.items():
            np.testing.assert_array_equal(value, same[name])
        assert any(value.shape != others[name].shape or (value != others[name]).numpy().any()
                   for name, value in first.items())  # fmt: skip

    def test_export_parity(self, run, exported, tmp_path):
        """The SavedModel gives the same in a fresh process that cannot import tfmed, and bundles would take it."""
        saved_model.check(exported)
        expected, calls = self.parity(run)
        np.savez(tmp_path / "calls.npz", **{f"{i}/{k}": v for i, call in enumerate(calls) for k, v in call.items()})
        result = in_fresh_process(_PARITY, exported, tmp_path / "calls.npz", tmp_path / "out.npz", str(len(calls)))
        assert not result, result
        with np.load(tmp_path / "out.npz") as found:
            for i, values in enumerate(expected):
                self.assert_parity(found[str(i)], values)

    def parity(self, run):
        """(expected outputs, signature arguments) of the exported model: a list each."""
        raise AssertionError("a method's test says what its export must give")

    def assert_parity(self, found, expected):
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_bad_config_is_one_clear_line(self):
        override, word = self.bad
        with pytest.raises(ConfigError) as caught:
            self.settings(override)
        message = str(caught.value)
        assert "\n" not in message and word in message


def first_of(settings):
    """The first stage of a method of its own."""
    return next(iter(tfmed.registry.method_class(settings.method)(settings).stages()))


def batch_of(stage):
    """The first batch that it trains on."""
    return {name: tf.constant(value) for name, value in stage.train().batch(0).items()}


def class_pictures_parity(run):
    """`parity` of methods that generate pictures of two classes."""
    method = run.restored()
    expected = [np.stack([method.generate(3, k, seed) for k in range(2)]) for seed in (3, 7)]
    return expected, [{"seed": np.int64(seed), "count": np.int32(3)} for seed in (3, 7)]


def change_split(folder, change):
    """Give a run another split, as if it had been trained on that."""
    record = SplitRecord.read(folder)
    SplitRecord({kind: change(parts) for kind, parts in record.kinds.items()}).write(folder)


def killed_before(run, folder, lost):
    """(a copy of a run, the state of its newest checkpoint): without those before that are `lost(state)`."""
    shutil.copytree(run.path, folder)
    checkpoints = Checkpoints(folder / "checkpoints")
    while lost(checkpoints.latest()[1]):
        shutil.rmtree(checkpoints.latest()[0])
    return folder, checkpoints.latest()[1]


def assert_same_weights(one, other):
    """Bit for bit the same state in the newest checkpoints of two runs."""
    names = [run.path / "checkpoints" for run in (one, other)]
    states = [Checkpoints(name).latest() for name in names]
    assert states[0][1]["step"] == states[1][1]["step"]
    readers = [tf.train.load_checkpoint(str(path / "variables")) for path, _ in states]
    keys = [key for key in readers[0].get_variable_to_shape_map() if key.startswith("v")]
    assert keys
    for key in keys:
        np.testing.assert_array_equal(readers[0].get_tensor(key), readers[1].get_tensor(key), err_msg=key)


_PARITY = """
import numpy as np, tensorflow as tf
model, calls, out, count = tf.saved_model.load(sys.argv[1]), np.load(sys.argv[2]), sys.argv[3], int(sys.argv[4])
results = {}
for i in range(count):
    arguments = {k.split('/')[1]: tf.constant(calls[k]) for k in calls.files if k.split('/')[0] == str(i)}
    answer = model.signatures['serving_default'](**arguments)
    results[str(i)] = answer[sorted(answer)[-1]].numpy()
np.savez(out, **results)
"""
