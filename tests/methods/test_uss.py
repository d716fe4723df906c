"""Uncertainty slice sampling: the harness, and every item of its card's "What must hold"."""

import gzip
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import tfmed
from tests.support.harness import REPOSITORY, MethodHarness, assert_same_weights
from tfmed.compat import tensor_variable
from tfmed.data.acquisition import slices as acquisition
from tfmed.engine.lifecycle import fit
from tfmed.errors import ConfigError, DataError, RunError
from tfmed.io import ImageIntegrityError, read_volume, write_volume
from tfmed.losses.segmentation import batch_dice, soft_dice
from tfmed.methods.uss import METHOD, SMOOTH, USS, Config, build_network
from tfmed.metrics import surface
from tfmed.metrics.segmentation import dice, relative_volume_error
from tfmed.metrics.uncertainty import expected_entropy, predictive_entropy
from tfmed.tasks import active_learning as tables

pytestmark = pytest.mark.current

TINY = (
    "data.options={cases: 5, shape: [16, 24, 24], length_mm: 240.0}",
    "data.split={validation: 0.2, test: 0.2}",
    "data.preprocess=[{step: window, window_hu: [-200, 250], range: [0, 1]}]",
    "train.batch_size=2",
    "train.validate_every=4",
    "train.steps=4",
    "train.log_every=1",
    "train.tensorboard=false",
    "train.early_stopping.patience=3",
    "model.patch=[4, 24, 24]",
    "model.network={name: aunet, widths: [4, 6], dropout: 0.25}",
    "model.learning_rate=0.003",
    "model.initial_volumes=1",
    "model.rounds=1",
    "model.slices=3",
    "model.volumes=1",
    "model.distance=2",
    "model.query_passes=2",
)


def settings(*overrides, config="configs/uss.yaml"):
    return tfmed.load_config(REPOSITORY / config, (*TINY, *overrides))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two rounds; the one class is scored by two names, as several classes would be."""
    return TestHarness.trained(tmp_path_factory.mktemp("uss") / "run")


class TestHarness(MethodHarness):
    config = "configs/uss.yaml"
    tiny = (*TINY, "model.rounds=2", "model.regions={liver: [1], organ: [1]}")
    bad = ("model.patch=[4, 24, 15]", "multiple of 2")

    @pytest.fixture(scope="class")
    @classmethod
    def run(cls, run):
        return run

    @pytest.mark.one_stack
    def test_a_run_exports_its_last_network(self, run, exported):
        model = tf.saved_model.load(str(exported))
        image = np.random.default_rng(5).uniform(-200, 250, (6, 20, 24, 1)).astype("float32")
        found = model.signatures["probabilities"](image=tf.constant(image))["probabilities"].numpy()
        expected = run.restored().probabilities((image + 200) / 450)
        np.testing.assert_allclose(found, expected, atol=1e-4)

    def parity(self, run):
        """Odd shapes: smaller than a window, larger, and neither a multiple of anything."""
        method = run.restored()
        images, expected = [], []
        for shape in ((3, 10, 27), (9, 33, 40)):
            image = np.random.default_rng(sum(shape)).uniform(-300, 400, (*shape, 1)).astype("float32")
            images.append({"image": image})
            expected.append(np.array(method.config.label_values)[method.labels(np.clip((image + 200) / 450, 0, 1))])
        return expected, images

    def assert_parity(self, found, expected):
        assert (found != expected).mean() < 1e-3  # equally probable classes may be told apart by the last digit


# --- network and loss -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unfilled_weights")
def test_default_network():
    network = build_network(Config())
    assert sum(int(np.prod(w.shape)) for w in network.trainable_weights) == 5_125_702
    assert Config().network.margin == (20, 92, 92) and Config().patch == (4, 180, 180)


PROBABILITIES = st.lists(st.floats(0.0, 1.0), min_size=24, max_size=24)


def logits_of(p):
    p = np.clip(np.asarray(p, np.float32).reshape(2, 3, 2, 2), 1e-7, 1 - 1e-7)
    return np.log(np.stack([1 - p, p], -1))


def masked(p, y, w):
    return float(batch_dice(logits_of(p), np.reshape(y, (2, 3, 2, 2)), np.reshape(w, (2, 3, 2, 2)), smooth=SMOOTH))


@pytest.mark.one_stack
@given(PROBABILITIES, st.integers(0, 2**24 - 1), st.integers(0, 2**24 - 1))
def test_masked_dice_is_equation_2(p, y_bits, w_bits):
    y, w = (np.array([bits >> i & 1 for i in range(24)]) for bits in (y_bits, w_bits))
    q = np.clip(np.asarray(p, np.float32), 1e-7, 1 - 1e-7).astype(np.float64)
    expected = 1 - (2 * (w * y * q).sum() + SMOOTH) / ((w * y).sum() + (w * q).sum() + SMOOTH)
    found = masked(p, y, w)
    assert found == pytest.approx(expected, abs=2e-5) and -1e-6 <= found <= 1
    rest = 1 - w
    changed = masked(np.where(rest, 1 - np.asarray(p), p), np.where(rest, 1 - y, y), w)
    assert changed == pytest.approx(found, abs=1e-6)


def test_masked_dice_of_all_voxels_is_the_plain_one_and_perfect_is_0():
    rng = np.random.default_rng(0)
    p, y = rng.random(24), rng.integers(0, 2, 24)
    one = soft_dice(logits_of(p).reshape(1, 6, 2, 2, 2), y.reshape(1, 6, 2, 2), smooth=SMOOTH)
    assert masked(p, y, np.ones(24, int)) == pytest.approx(float(one[0]), abs=1e-6)
    assert masked(y, y, rng.integers(0, 2, 24)) == pytest.approx(0, abs=1e-6)
    assert masked(p, 1 - y, y) > 0.999  # no annotated voxel shows the organ


def test_slices_that_are_not_annotated_have_no_gradient():
    model = USS(settings().model, seed=0, per_step=2)
    rng = np.random.default_rng(1)
    batch = {
        "index": tf.range(2, dtype=tf.int64),
        "image": tf.constant(rng.random((2, 4, 40, 40, 1), np.float32)),
        "label": tf.constant(rng.integers(0, 2, (2, 4, 24, 24)).astype("int32")),
        "annotated": tf.constant([[0, 1, 0, 0], [1, 1, 0, 0]], tf.float32),
    }
    known = batch["annotated"][:, :, None, None]
    other = batch | {"label": tf.where(known > 0, batch["label"], 1 - batch["label"])}
    logits = tf.Variable(rng.normal(size=(2, 4, 24, 24, 2)).astype("float32"))
    model.network = lambda images, training: tf.identity(logits)
    with tf.GradientTape() as tape:
        loss = model.network_loss(batch)[0]
    gradient = np.abs(tape.gradient(loss, logits).numpy()).max(axis=(2, 3, 4))
    np.testing.assert_array_equal(gradient > 0, batch["annotated"].numpy() > 0)
    assert float(model.network_loss(other)[0]) == float(loss)


# --- uncertainty ------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.randoms())
def test_predictive_entropy(passes, random):
    p = np.array([[1 - q, q] for q in passes])
    found = predictive_entropy(p, math.e, samples=0)
    mean = np.mean(passes)
    assert found == pytest.approx(-sum(q * math.log(q) for q in (mean, 1 - mean) if q > 0), abs=1e-9)
    random.shuffle(passes)
    again = predictive_entropy(np.array([[1 - q, q] for q in passes]), math.e, samples=0)
    assert again == pytest.approx(float(found), abs=1e-12)
    assert found >= expected_entropy(p, math.e) - 1e-12
    assert predictive_entropy(np.array([0.0, 1.0]), math.e) == 0
    assert predictive_entropy(np.array([0.5, 0.5]), math.e) == pytest.approx(math.log(2))


def test_uncertainty_of_a_volume_is_that_of_its_passes():
    """The graph, window by window, against passes one by one."""
    method = METHOD(settings("model.query_passes=3"))
    model = method.models["initial"] = USS(method.config, seed=0, per_step=2)
    image = np.random.default_rng(2).random((4, 24, 24, 1), np.float32)  # one window
    entropy, organ = method.uncertainty(image)
    again, _ = method.uncertainty(image)
    np.testing.assert_array_equal(entropy, again)
    context = np.pad(image, [(0, 0), (8, 8), (8, 8), (0, 0)], mode="reflect")[None]
    drop = model.network.get_layer("decoder").get_layer("up0_dropout")
    tensor_variable(drop.calls).assign(0)
    passes = [tf.nn.softmax(model.network(context, training=False)) for _ in range(1)]  # without dropout
    drop.always = True
    passes = np.stack([tf.nn.softmax(model.network(context, training=False))[0] for _ in range(3)])
    drop.always = False
    assert np.abs(np.diff(passes, axis=0)).max() > 1e-3
    np.testing.assert_allclose(entropy, predictive_entropy(passes, math.e, samples=0), atol=1e-5)
    assert (organ == (passes.mean(0)[..., 1] > 0.5)).mean() > 0.999


# --- queries ----------------------------------------------------------------------------------------------------------


def free(count):
    return np.zeros(count, bool)


def test_candidates_of_known_profiles():
    assert len(acquisition.candidates(np.full(30, 0.3), free(30))) == 0
    profile = np.zeros(30)
    profile[10], profile[13] = 0.5, 0.6
    assert acquisition.candidates(profile, free(30)).tolist() == [13]
    profile[13], profile[15] = 0, 0.6
    assert acquisition.candidates(profile, free(30)).tolist() == [10, 15]
    profile[20:23] = 0.2
    assert 21 in acquisition.candidates(profile, free(30))  # the middle of a plateau
    annotated = free(30)
    annotated[15] = True
    assert 15 not in acquisition.candidates(profile, annotated)


PROFILES = st.lists(st.lists(st.floats(0, 0.69), min_size=1, max_size=40), min_size=1, max_size=5)


@given(PROFILES, st.integers(1, 12), st.integers(1, 6), st.integers(0, 2**31))
def test_uss_picks_the_best_candidates(profiles, count, distance, seed):
    rng = np.random.default_rng(seed)
    profiles = {f"case{k}": profile for k, profile in enumerate(profiles)}
    pool = {name: rng.random(len(profile)) < 0.3 for name, profile in profiles.items()}
    asked = acquisition.uncertain_slices(pool, profiles, count, distance)
    every = {name: acquisition.candidates(profile, pool[name], distance) for name, profile in profiles.items()}
    pairs = [(name, z) for name, slices in asked.items() for z in slices]
    assert len(pairs) == min(count, sum(map(len, every.values())))
    assert all(not pool[name][z] and 0 < z < len(pool[name]) - 1 for name, z in pairs)
    assert all(min(np.diff(slices), default=distance) >= distance for slices in asked.values())
    worst = min((profiles[name][z] for name, z in pairs), default=1)
    left = [profiles[name][z] for name in every for z in every[name] if z not in asked.get(name, [])]
    assert max(left, default=0) <= worst


@given(st.integers(1, 30), st.integers(0, 2**31))
def test_rss_stops_at_so_many_slices_with_organ(count, seed):
    rng = np.random.default_rng(seed)
    pool = {f"case{k}": rng.random(15) < 0.2 for k in range(4)}
    shown = {name: rng.random(15) < 0.4 for name in pool}
    asked = acquisition.random_slices(pool, shown, count, np.random.default_rng(seed))
    available = sum(int((shown[name] & ~pool[name]).sum()) for name in pool)
    found = sum(int(shown[name][z]) for name, slices in asked.items() for z in slices)
    assert found == min(count, available)
    assert all(not pool[name][z] for name, slices in asked.items() for z in slices)


def test_volumes_are_asked_for_whole_and_once():
    pool = {f"case{k}": np.full(6 + k, k == 2) for k in range(7)}
    pool["case4"][3] = True
    scores = {"case0": 0.1, "case1": 0.5, "case3": 0.3, "case5": 0.4, "case6": 0.2}
    asked = acquisition.uncertain_volumes(pool, scores, 3)
    assert asked == {"case1": list(range(7)), "case3": list(range(9)), "case5": list(range(11))}
    drawn = acquisition.random_volumes(pool, 3, np.random.default_rng(0))
    assert len(drawn) == 3 and not {"case2", "case4"} & set(drawn)
    assert all(slices == list(range(len(pool[name]))) for name, slices in drawn.items())


def test_air_does_not_change_the_score_of_a_volume():
    rng = np.random.default_rng(3)
    entropy, mask = rng.random((20, 24, 24)), np.zeros((20, 24, 24), bool)
    mask[8:12, 9:14, 9:14] = True
    score, plain = acquisition.volume_score(entropy, mask), acquisition.volume_score(entropy)
    assert score == pytest.approx(entropy[3:17, 4:19, 4:19].mean())  # an 11 x 11 x 11 box around each voxel
    air = [(0, 30), (0, 0), (0, 0)]
    longer = np.pad(entropy, air), np.pad(mask, air)
    assert acquisition.volume_score(*longer) == pytest.approx(score)
    assert acquisition.volume_score(longer[0]) == pytest.approx(plain * 20 / 50)
    assert acquisition.volume_score(entropy, np.zeros_like(mask)) == pytest.approx(plain)


def test_budget_as_in_the_papers_table_2():
    """From 1410 / 501 / 5, rounds of 200 slices: 1610 .. 2410 (USS); 501 + 200 k with liver (RSS)."""
    rng = np.random.default_rng(4)
    shown = {f"case{k:02d}": np.arange(282) < 282 * 0.44 for k in range(45)}
    shown |= {f"case{k:02d}": np.arange(282) < n for k, n in enumerate((100, 100, 100, 100, 101))}
    for strategy in ("uss", "rss"):
        pool = {name: np.full(282, name < "case05") for name in shown}
        assert acquisition.effort(pool, shown) == {"slices": 1410, "liver slices": 501, "patients": 5, "effort": 167.0}
        for number in range(1, 6):
            if strategy == "uss":
                profiles = {name: rng.random(282) for name in pool}
                asked = acquisition.uncertain_slices(pool, profiles, 200)
            else:
                asked = acquisition.random_slices(pool, shown, 200, rng)
            for name, slices in asked.items():
                pool[name][slices] = True
            found = acquisition.effort(pool, shown)
            if strategy == "uss":
                assert found["slices"] == 1410 + 200 * number
            else:
                assert found["liver slices"] == 501 + 200 * number
                assert found["effort"] == pytest.approx(167 + 200 * number)


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 6))
def test_tiles_cover_the_annotated_slices(annotated, depth):
    """No fewer windows would do."""
    places = np.flatnonzero(annotated).tolist()
    count, left = 0, places
    while left:
        count, left = count + 1, [z for z in left if z >= left[0] + depth]
    assert acquisition.tiles(np.array(annotated), depth) == count


def test_scores_of_two_shifted_cubes():
    """4^3 cubes, 1 voxel apart along x, voxels of (3, 2, 1) mm: by hand."""
    ours, theirs = (np.zeros((8, 8, 10), bool) for _ in range(2))
    ours[2:6, 2:6, 2:6], theirs[2:6, 2:6, 3:7] = True, True
    assert dice(ours, theirs) == 0.75 and relative_volume_error(ours, theirs) == 0
    found = surface.distances(ours, theirs, (3, 2, 1))
    assert found.hd == 1.0
    # Each surface has 56 voxels; 16 of a face lie 1 mm outside; the other 40 lie on the other surface, except the 2 x 2
    # inner ones of the far face, 1 mm inside it.
    assert found.assd == pytest.approx((16 + 4) * 2 / 112)
    smaller = ours.copy()
    smaller[2:6, 2:6, 2:4] = False
    assert relative_volume_error(smaller, ours) == 50 and relative_volume_error(ours, smaller) == 100
    assert surface.distances(smaller, ours, 1).hd == surface.distances(ours, smaller, 1).hd == 2


# --- samples ----------------------------------------------------------------------------------------------------------


def test_patches_hold_annotated_slices_and_every_second_one_the_organ():
    method = METHOD(settings("data.options={cases: 5, shape: [30, 24, 24], length_mm: 240.0}"))
    names = sorted(method.pool_cases)
    asked = [{names[0]: list(range(30))}, {names[1]: [3, 15], names[2]: [16]}]
    pool = method.pool(asked)
    samples = method.samples(pool)
    seen = set()
    for index in range(60):
        sample = samples.read(index)
        assert sample["image"].shape == (4, 40, 40, 1) and sum(sample["annotated"]) >= 1
        known = sample["label"][np.array(sample["annotated"], bool)]
        if index % 2 == 0:
            assert known.any()
        seen.add(sum(sample["annotated"]))
    assert seen == {1, 4}
    again = method.samples(pool).read(7)
    np.testing.assert_array_equal(again["image"], samples.read(7)["image"])


def test_tumours_count_as_liver_unless_they_are_kept_apart():
    options = "data.options={cases: 5, shape: [24, 48, 48], tumours: [3, 4], length_mm: 240.0}"
    method = METHOD(settings(options))
    assert set(np.unique(method.open(method.cases["train"][0]).label)) == {0, 1}
    apart = METHOD(settings(options, "model.merge=[]", "model.label_values=[0, 1, 2]"))
    assert set(np.unique(apart.open(apart.cases["train"][0]).label)) == {0, 1, 2}


# --- rounds -----------------------------------------------------------------------------------------------------------


def asked_of(run, number):
    return run.restored().records.recall(f"query{number}")["asked"]


@pytest.mark.one_stack
def test_rounds_add_what_was_asked_for(run):
    method = run.restored()
    assert list(method.models) == ["initial", "round1", "round2"]
    sizes = [method.records.recall(f"effort_{name}") for name in method.models]
    assert [one["slices"] for one in sizes] == [16, 19, 22]
    assert sum(map(len, asked_of(run, 1).values())) == 3
    first, second = asked_of(run, 1), asked_of(run, 2)
    assert not {(n, z) for n in first for z in first[n]} & {(n, z) for n in second for z in second[n]}


class BrokenOff(Exception):
    """Ends a training as a kill would: nothing is saved."""


@pytest.mark.one_stack
@pytest.mark.long
def test_a_run_broken_off_in_a_round_goes_on_with_the_same_slices(run, tmp_path):
    """Broken off without any saving: while the first round trains, and again after its end."""
    broken = tmp_path / "run"
    for stage in ("round1", "round2"):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(BrokenOff):

            def check(self, logs, stage=stage):
                if self.stage.name == stage and self.step == 3:
                    raise BrokenOff

            patch.setattr("tfmed.engine.loop.Loop._check_finite", check)
            fit(settings("model.rounds=2"), broken, resume=(broken / "config.yaml").exists())
    resumed = fit(settings("model.rounds=2"), broken, resume=True)
    assert (resumed.path / "metrics.csv").read_bytes() == (run.path / "metrics.csv").read_bytes()
    assert_same_weights(resumed, run)
    for name in ("query1", "query2", "effort_round2"):
        file = f"records/{name}.json"
        assert (resumed.path / file).read_bytes() == (run.path / file).read_bytes()


def test_a_query_that_was_lost_is_decided_alike(run, tmp_path):
    """The record is a function of settings and of the best model before it."""
    method = tfmed.load_run(run.path).restored()
    del method.models["round1"], method.models["round2"]
    found = method.query(1, [method.first_volumes()])
    assert found == method.records.recall("query1")


@pytest.mark.one_stack
def test_later_stages_see_the_best_weights(tmp_path):
    """The metric is made so that the first validation is the best one."""
    falling, found = iter(range(100, 0, -1)), []

    def query(self, number, asked):
        found.extend(v.numpy() for v in self.network.weights)
        return {"asked": {}}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(METHOD, "validation", lambda self, model: {"jaccard_liver": next(falling)})
        patch.setattr(METHOD, "query", query)
        trained = fit(settings("train.validate_every=2", "model.rounds=1"), tmp_path / "run")
    best = trained.restored().models["initial"].network.weights
    for value, weight in zip(found, best, strict=True):
        np.testing.assert_array_equal(value, weight.numpy())
    last = trained.restored(best=False).models["initial"].network.weights
    assert any((a.numpy() != b.numpy()).any() for a, b in zip(best, last, strict=True))


@pytest.mark.parametrize("strategy", ["uvs", "rvs", "rss"])
def test_other_strategies_ask_within_their_budget(strategy):
    method = METHOD(settings(f"model.strategy={strategy}"))
    method.models["initial"] = USS(method.config, seed=0, per_step=2)
    asked = method.query(1, [method.first_volumes()])["asked"]
    if strategy == "rss":
        shown = sum(int(method.shown(method.pool_cases[name], slices).sum()) for name, slices in asked.items())
        assert shown == 3
    else:
        assert [len(slices) for slices in asked.values()] == [16]
        assert not set(asked) & set(method.first_volumes())


def test_stages_of_converged_training_and_of_the_whole_pool():
    converged = METHOD(settings("model.rounds=0", config="configs/uss/rss_converged.yaml"))
    assert [(s.name, s.steps) for s in converged.stages()] == [("initial", 4), ("converged", 1_000_000)]
    whole = METHOD(settings("model.rounds=0", "model.initial_volumes=null", config="configs/uss/whole_pool.yaml"))
    assert sorted(whole.first_volumes()) == sorted(whole.pool_cases)
    (stage,) = METHOD(settings("model.rounds=0", "train.steps=100000", "model.epochs=3")).stages()
    assert stage.steps == 6  # 16 slices make 4 patches, times 3 epochs, 2 in a batch


@pytest.mark.one_stack
def test_number_of_slices_from_a_run_of_uvs(run, tmp_path):
    """Mean liver slices per round / 3."""
    method = METHOD(settings(f"model.slices_from={run.path}"))
    efforts = [run.restored().records.recall(f"effort_{name}")["liver slices"] for name in ("initial", "round2")]
    assert method.budget() == max(1, round((efforts[1] - efforts[0]) / 2 / 3))
    with pytest.raises(RunError, match="no finished round"):
        METHOD(settings(f"model.slices_from={tmp_path}")).budget()


@pytest.mark.parametrize(("overrides", "words"), [
    (["model.strategy=rss", "model.annotations=desk"], "rss"), (["data.labelled_share=0.5"], "initial_volumes"),
    (["train.gradient_accumulation=2"], "gradient_accumulation"), (["model.strategy=best"], "strategy"),
    (["model.patch=[24, 24]"], "3-D"),
])  # fmt: skip
def test_settings_that_mean_nothing_are_refused(overrides, words):
    with pytest.raises(ConfigError) as caught:
        settings(*overrides)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_too_few_labelled_volumes_are_told():
    with pytest.raises(DataError, match="initial_volumes"):
        next(METHOD(settings("model.initial_volumes=9")).stages())


# --- a person annotates -----------------------------------------------------------------------------------------------


UNLABELLED = (
    "data.options={cases: 6, shape: [12, 24, 24], length_mm: 240.0, unlabelled: 3}",
    "data.split={validation: 0.34, test: 0.34}",
)


def annotated(desk, number=1):
    """Finished labels of all drafts, as bytes by name: what a person would save."""
    return {path.name: path.read_bytes() for path in sorted((desk / f"round{number}" / "todo").glob("*_label.nii.gz"))}


@pytest.mark.one_stack
def test_a_person_annotates_and_a_half_saved_file_costs_nothing(tmp_path):
    desk, folder = tmp_path / "desk", tmp_path / "run"
    mine = settings(*UNLABELLED, f"model.annotations={desk}", "model.slices=2")
    with pytest.raises(RunError) as caught:
        fit(mine, folder)
    assert "0 of 2 annotations of round 1" in str(caught.value) and "\n" not in str(caught.value)
    drafts = annotated(desk)
    asked = tfmed.load_run(folder).restored().records.recall("query1")["asked"]
    assert sorted(drafts) == [f"{name}_z{z:04d}_label.nii.gz" for name in sorted(asked) for z in asked[name]]
    image = read_volume(desk / "round1" / "todo" / next(iter(drafts)).replace("label", "ct"))
    assert image.shape == (1, 24, 24)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    done = desk / "round1" / "done"
    done.mkdir()
    names = list(drafts)
    (done / names[0]).write_bytes(drafts[names[0]])
    (done / names[1]).write_bytes(drafts[names[1]][:-20])  # half saved
    with pytest.raises(ImageIntegrityError) as caught:
        fit(mine, folder, resume=True)
    assert names[1] in str(caught.value) and "\n" not in str(caught.value)
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {path: data for path, data in after.items() if path in before} == before

    label = read_volume(desk / "round1" / "todo" / names[1])
    drawn = label.array.copy()
    drawn[:, 5:9, 5:9] = 1
    (done / names[1]).unlink()
    write_volume(label.replace(array=drawn), done / names[1].replace(".nii.gz", ".nrrd"))  # of another program
    finished = fit(mine, folder, resume=True)
    method = finished.restored()
    assert list(method.models) == ["initial", "round1"]
    assert method.records.recall("effort_round1")["slices"] == 12 + 2
    assert gzip.decompress(drafts[names[0]])  # the drafts stay


def test_answers_of_a_person_are_what_is_trained_on(tmp_path):
    method = METHOD(settings(*UNLABELLED, f"model.annotations={tmp_path}"))
    case = next(case for case in method.pool_cases.values() if case.label is None)
    prepared = method.open(case)
    assert prepared.label is None
    method.desk.ask(1, case, [4, 7], prepared, lambda: np.zeros((12, 24, 24), np.uint8))
    todo, done = tmp_path / "round1" / "todo", tmp_path / "round1" / "done"
    truth = np.random.default_rng(0).integers(0, 2, (12, 24, 24)).astype(np.uint8)
    for z in (4, 7):
        draft = read_volume(todo / f"{case.id}_z{z:04d}_label.nii.gz")
        place = np.array([0, 0, z, 1.0])
        np.testing.assert_allclose(draft.affine @ [0, 0, 0, 1], prepared.affine @ place, atol=1e-3)
        write_volume(draft.replace(array=truth[z : z + 1]), done / f"{case.id}_z{z:04d}_label.nii.gz")
    method.collect([method.first_volumes(), {case.id: [4, 7]}])
    label = method.open(case).label
    expected = truth[4:8, 2:9].copy()
    expected[1:3] = 0
    np.testing.assert_array_equal(label[4:8, 2:9], expected)
    np.testing.assert_array_equal(np.asarray(label)[7], truth[7])
    assert method.pool([{case.id: [4, 7]}])[case.id].sum() == 2
    sample = method.samples(method.pool([{case.id: [4, 7]}])).read(0)
    known = np.array(sample["annotated"], bool)
    assert known.any() and sample["label"][known].any()


@pytest.mark.parametrize("wrong, words", [("value", "7"), ("place", "its corners lie"), ("shape", "its shape")])
def test_files_that_are_no_label_of_their_slice_are_named(tmp_path, wrong, words):
    method = METHOD(settings(*UNLABELLED, f"model.annotations={tmp_path}"))
    case = next(iter(method.pool_cases.values()))
    prepared = method.open(case)
    method.desk.ask(1, case, [5], prepared, lambda: np.zeros((12, 24, 24), np.uint8))
    label = read_volume(tmp_path / "round1" / "todo" / f"{case.id}_z0005_label.nii.gz")
    label = {
        "value": label.replace(array=np.full_like(label.array, 7)),
        "place": label.replace(affine=label.affine + 5 * np.eye(4, k=3)),
        "shape": label.replace(array=label.array[:, :-1]),
    }[wrong]
    path = tmp_path / "round1" / "done" / f"{case.id}_z0005_label.nii.gz"
    write_volume(label, path)
    with pytest.raises(DataError) as caught:
        method.collect([{}, {case.id: [5]}])
    assert words in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.one_stack
def test_evaluation_tells_rounds_tests_and_quantiles(run, tmp_path):
    method = run.restored()
    found = method.evaluate({"one": method, "two": method})
    told = [(row["stage"], row["region"]) for row in found["rounds"]]
    assert told == 2 * [(s, r) for s in ("initial", "round1", "round2") for r in ("liver", "organ")]
    assert [row["slices"] for row in found["rounds"]][:6:2] == [16, 19, 22]
    for row in found["rounds"]:
        assert 0 <= row["Dice"] <= 1 and "HD mm, 95 %" in row and "effort" in row
    assert {row["p"] for row in found["wilcoxon"]} == {1.0}  # a run equals itself
    assert "quantile_regression" not in found  # one strategy alone


def test_wilcoxon_and_quantiles_of_known_scores():
    rng = np.random.default_rng(0)
    strategies = {name: name for name in ("uvs", "rvs", "uss", "rss")}
    rows = []
    for run_name in strategies:
        uncertain, sliced = tables.FACTORS[run_name]
        for case in range(80):
            noise = rng.normal(0, 0.002)
            rows.append({"run": run_name, "stage": "round5", "region": "liver", "case": str(case)} | {
                "Dice": 0.92 + 0.012 * uncertain + 0.02 * sliced + noise, "volume error %": 5 - uncertain + noise,
                "ASSD mm": 2 - sliced * 0.5 + noise, "HD mm": math.inf if case == 0 else 40 + noise,
            })  # fmt: skip
    found = {(row["score"], row["factor"]): row for row in tables.regression_rows(rows, strategies)}
    assert found["Dice", "uncertainty"]["value"] == pytest.approx(0.012, abs=2e-3)
    assert found["Dice", "slice"]["value"] == pytest.approx(0.02, abs=2e-3) and found["Dice", "slice"]["p"] < 1e-3
    assert found["ASSD mm", "slice"]["value"] == pytest.approx(-0.5, abs=5e-3)
    assert found["ASSD mm", "slice"]["quantile"] == 0.95 and found["Dice", "slice"]["quantile"] == 0.05
    tests = {(row["score"], row["run"]): row for row in tables.wilcoxon_rows(rows)}
    assert all(row["best"] == "uss" for (score, _), row in tests.items() if score == "Dice")
    assert tests["Dice", "rvs"]["p"] < 1e-6 and ("Dice", "uss") not in tests
    assert len(tables.regression_rows([row for row in rows if row["run"] in ("uss", "rss")], strategies)) == 0


@pytest.mark.one_stack
def test_profiles_show_what_was_chosen(run):
    shown = tables.profiles(run.restored())["profiles"]
    asked = asked_of(run, 2)
    assert shown.asked == 3 and {row[0]: row[2] for row in shown.rows} == asked
    assert shown.figure().axes and "nats" in shown.caption
    assert (run.path / "previews" / "profiles.png").stat().st_size > 1000
