"""CT-SGAN's nodule experiment: harness, the unbiased protocol, injector, eraser and the three regimes."""

import csv

import numpy as np
import pytest
import SimpleITK as sitk
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import tfmed
from tests.support.harness import REPOSITORY, MethodHarness
from tfmed import cli, evaluate
from tfmed.data import splits
from tfmed.data.case import Case
from tfmed.data.phantoms.chest_ct import chest_ct, placed_nodules
from tfmed.data.unbiased import ERASE, INJECT, KEEP, counts_of, deal, mixed, unbiased
from tfmed.engine.exporting import export
from tfmed.engine.lifecycle import fit
from tfmed.errors import DataError, RunError
from tfmed.io import read_volume, write_volume
from tfmed.methods.ctsgan_nodules import METHOD, Classifier, Config, Eraser, Injector, build_network
from tfmed.tasks.nodules import cube_of

CONFIG = REPOSITORY / "configs" / "ctsgan_nodules.yaml"
SMALL = "shape: [24, 24, 24], field_of_view_mm: 290, length_mm: 220"
TINY = (
    f"data.options={{cases: 6, nodules: 2, nodule_radius_mm: [12, 18], {SMALL}}}",
    "data.split={validation: 0.2, test: 0.34}",
    f"model.healthy={{source: phantom_chest_ct, options: {{cases: 6, seed: 1, noise_hu: 40, {SMALL}}}}}",
    f"model.synthetic={{source: phantom_chest_ct, options: {{cases: 4, seed: 2, {SMALL}}}}}",
    "model.volume_shape=[24, 24, 24]",
    "model.voi=8",
    "model.mask_margin=1",
    "model.downs=2",
    "model.generator_first=4",
    "model.critic_layers=1",
    "model.critic_first=4",
    "model.classifier_first=4",
    "model.fires=[[2, 4]]",
    "model.classifier_batch=4",
    "model.classifier_steps=3",
    "model.finetune_steps=2",
    "model.classifier_learning_rate=0.01",
    "model.nodule_sizes_mm=[24]",
    "model.seeds=1",
    "train.batch_size=2",
    "train.validate_every=2",
    "train.early_stopping=null",
)


def settings(*overrides, shared=TINY):
    quick = ("train.steps=2", "train.log_every=1", "train.tensorboard=false")
    return tfmed.load_config(CONFIG, (*quick, *shared, *overrides))


@pytest.mark.current
class TestHarness(MethodHarness):
    """Injector and eraser; the classifiers are those of `run`."""

    config = "configs/ctsgan_nodules.yaml"
    tiny = (*TINY, "model.regimes=[]", "train.preview_every=100")
    bad = ("model.voi=10", "cannot be halved")

    def parity(self, run):
        """Cubes of another size than the trained ones."""
        method = run.restored()
        cubes = [np.random.default_rng(k).uniform(-1100, 500, (8, 12, 8 + 4 * k)).astype("float32") for k in range(2)]
        shown = [method.window.apply(tfmed.io.Volume(cube, np.eye(4))).array[None, ..., None] for cube in cubes]
        made = [method.window.invert(method.models["eraser"](cube).numpy()[0, ..., 0]) for cube in shown]
        return made, [{"cube": cube} for cube in cubes]

    def assert_parity(self, found, expected):
        np.testing.assert_allclose(found, expected, atol=0.02)  # HU


def cases(name, count):
    return [Case(f"{name}{k}", f"{name}{k}", {}) for k in range(count)]


# --- the data that the classifier sees --------------------------------------------------------------------------------


@pytest.mark.current
@given(st.integers(2, 41), st.integers(2, 41), st.integers(0, 9))
def test_neither_scanner_nor_edit_tells_the_class(a, b, seed):
    """Half of each source is edited, so each source has both classes in equal numbers, and so have the edited ones."""
    scans = unbiased(cases("a", a), cases("b", b), seed)
    count = {(o, e): sum(s.origin == o and s.edit == e for s in scans) for o in ("nodules", "healthy")
             for e in (KEEP, ERASE, INJECT)}  # fmt: skip
    assert count == {
        ("nodules", KEEP): a - a // 2, ("nodules", ERASE): a // 2, ("nodules", INJECT): 0,
        ("healthy", KEEP): b - b // 2, ("healthy", ERASE): 0, ("healthy", INJECT): b // 2,
    }  # fmt: skip
    for scan in scans:
        assert scan.label == ((scan.origin == "nodules") != (scan.edit != KEEP))
    assert len({scan.case.id for scan in scans}) == a + b
    assert scans == unbiased(cases("a", a), cases("b", b), seed)


@pytest.mark.current
def test_1200_scans_make_the_paper_s_halves():
    scans = unbiased(cases("lidc", 600), cases("nlst", 600), 0)
    positive = [scan.origin for scan in scans if scan.label]
    assert (positive.count("nodules"), positive.count("healthy")) == (300, 300)
    synthetic = mixed(cases("s", 10_000), "synthetic", 0)
    assert sum(scan.label for scan in synthetic) == 5000
    assert {(scan.edit, scan.label) for scan in synthetic} == {(KEEP, 0), (INJECT, 1)}


@pytest.mark.current
def test_samples_are_balanced_and_each_epoch_shows_every_scan():
    scans = unbiased(cases("a", 6), cases("b", 4), 0)
    dealt = [deal(scans, 3, k) for k in range(20)]
    assert [scan.label for scan in dealt] == [0, 1] * 10
    for first in (0, 10):
        assert {s.case.id for s in dealt[first : first + 10]} == {scan.case.id for scan in scans}
    assert dealt[:10] != dealt[10:]
    assert dealt == [deal(scans, 3, k) for k in range(20)]


@pytest.mark.current
def test_the_numbers_of_nodules_are_those_of_the_scans_that_have_some():
    assert list(counts_of([[1, 2, 3], [], [1], [1, 2, 3]])) == [3, 1, 3]
    assert counts_of([[1]]).dtype == np.int64


# --- settings ---------------------------------------------------------------------------------------------------------


def test_the_paper_settings_are_the_stated_ones():
    loaded = tfmed.load_config(CONFIG)
    c = loaded.model
    assert (c.volume_shape, c.classifier_learning_rate, c.seeds, c.voi) == ((224, 224, 224), 1e-4, 3, 64)
    assert len(c.nodule_sizes_mm) == 6 and {14, 16} <= set(c.nodule_sizes_mm)
    assert c.regimes == ("real", "synthetic", "finetuned") and c.synthetic.options["cases"] == 10_000
    scans = [loaded.data.options["cases"], c.healthy.options["cases"]]
    parts = [{p: len(found) for p, found in splits.split(cases("a", n), loaded.data.split, 0).items()} for n in scans]
    assert parts == [{"train": 450, "validation": 75, "test": 75}] * 2
    assert build_network(c, "classifier").count_params() == pytest.approx(1.84e6, rel=0.01)


@pytest.mark.parametrize("changes, said", [
    ({"voi": 60}, "cannot be halved"), ({"critic_layers": 5}, "too many"), ({"window_hu": (5, 5)}, "window_hu"),
    ({"l1_weight": 0, "mask_l1_weight": 0}, "nothing says what to fill in"), ({"regimes": ("finetuned",)}, "add synth"),
    ({"regimes": ("real", "real")}, "each once"), ({"nodule_sizes_mm": (6, 6)}, "each size once"),
])  # fmt: skip
def test_settings_that_make_no_sense(changes, said):
    with pytest.raises(ValueError, match=said):
        Config(**changes)


@pytest.mark.current
@pytest.mark.parametrize("words, said", [
    (("data.options.nodules=0",), "no scan of source phantom_chest_ct has a nodule"),
    (("model.healthy=null",), "every scan has a nodule; name a source"),
    (("model.healthy.options.seed=0",), "is in data.source and in model.healthy"),
    (("data.split={validation: 0.5, test: 0.45}",), "nodules: "),
    (("model.synthetic.source=luna17",), "no data source 'luna17'"),
])  # fmt: skip
def test_bad_data_is_one_clear_line(words, said):
    with pytest.raises(DataError) as caught:
        METHOD(settings(*words)).prepared("train")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_source_that_tells_no_nodules():
    with pytest.raises(DataError, match="tells no nodules; use lidc_idri"):
        METHOD(tfmed.load_config(CONFIG, ["data.source=phantom_liver_ct"])).prepared("train")


def test_scans_of_one_source_are_told_apart_by_their_nodules(monkeypatch):
    """LUNA16 has scans with and without nodules: the latter are the healthy ones."""
    method = METHOD(settings("model.healthy=null"))
    known = method.nodules
    monkeypatch.setattr(method, "nodules", lambda case: known(case) if case.meta["seed"] % 2 else [])
    for origin, odd in (("nodules", 1), ("healthy", 0)):
        assert {case.meta["seed"] % 2 for cases in method.origins[origin].values() for case in cases} == {odd}


# --- injector and eraser ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def method():
    return METHOD(settings())


def batch(method, cubes="real_cubes"):
    return {name: tf.constant(value) for name, value in getattr(method, cubes)().batch(0).items()}


def test_cubes_hold_the_nodule_and_its_mask(method):
    for index in range(4):
        sample = method.real_cubes().read(index)
        voi, mask, weight = (sample[name][..., 0] for name in ("voi", "mask", "weight"))
        assert voi.shape == mask.shape == weight.shape == (8, 8, 8)
        assert set(np.unique(mask)) == {0, 1} and weight.max() > 0.9 and (weight[mask == 0] == 0).all()
        assert not mask[0].any() and not mask[:, 0].any() and not mask[..., -1].any()
        core = voi[weight > 0.9]
        assert core.mean() > -0.4  # soft tissue; lung is at -0.8


def test_a_larger_nodule_has_a_larger_mask(method):
    case = method.origins["nodules"]["train"][0]
    place = method.places(case).draw([5.0], 1)[0]
    sizes = [cube_of(method.config, type(place)(place.centre_mm, r), method.volume(case))[1].sum() for r in (5, 9, 13)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[2]


def test_the_injector_never_sees_what_it_is_to_paint(method):
    model, b = Injector(method.config, per_step=2), batch(method)
    shown = model.shown(b).numpy()
    other = model.shown(b | {"voi": b["voi"] + 5.0 * b["mask"]}).numpy()
    np.testing.assert_array_equal(shown, other)
    np.testing.assert_array_equal(shown[b["mask"].numpy() == 0], b["voi"].numpy()[b["mask"].numpy() == 0])


@pytest.mark.current
def test_l1_losses_are_those_of_cube_and_mask(method):
    model, b = Injector(method.config, per_step=2), batch(method)
    model.generator = lambda x, training: tf.zeros_like(x)
    total, logs = model.generator_loss(b, model.made(b))
    error, mask = np.abs(b["voi"].numpy()), b["mask"].numpy()
    inside = np.mean([(e * m).sum() / m.sum() for e, m in zip(error, mask, strict=True)])
    assert float(logs["l1"]) == pytest.approx(error.mean(), rel=1e-5)
    assert float(logs["l1_mask"]) == pytest.approx(inside, rel=1e-5)
    expected = float(logs["generator_critic"]) + 100 * error.mean() + 100 * inside
    assert float(total) == pytest.approx(expected, rel=1e-5)


def test_the_eraser_is_shown_pasted_nodules_and_learns_the_healthy_cube(method):
    b = batch(method, "healthy_cubes")
    model = Eraser(method.config, per_step=2, inject=lambda cubes: tf.ones_like(cubes) * 0.25)
    shown, voi, weight = (x.numpy() for x in (model.shown(b), b["voi"], b["weight"]))
    np.testing.assert_array_equal(shown[weight == 0], voi[weight == 0])
    np.testing.assert_allclose(shown[weight == 1], 0.25, atol=1e-6)
    model.generator = lambda x, training: b["voi"]
    assert float(model.generator_loss(b, model.made(b))[1]["l1"]) == 0


def test_the_eraser_leaves_the_injector_alone(method):
    injector = Injector(method.config, per_step=2)
    before = [v.numpy() for v in injector.generator.weights]
    eraser = Eraser(method.config, per_step=2, inject=lambda cubes: injector.generator(cubes, training=False))
    eraser.train_step(batch(method, "healthy_cubes"))
    for old, v in zip(before, injector.generator.weights, strict=True):
        np.testing.assert_array_equal(old, v.numpy())
    ours = {id(v) for v in eraser.variables}
    assert not ours & {id(v) for v in injector.generator.weights}


# --- classifier -------------------------------------------------------------------------------------------------------


@pytest.mark.current
def test_an_undecided_classifier_costs_log_2(method):
    model = Classifier(method.config, per_step=4)
    last = model.network.get_layer("last")
    for v in last.trainable_variables:
        v.assign(tf.zeros_like(v))
    b = {"volume": tf.random.uniform((4, 24, 24, 24, 1)), "label": tf.constant([0.0, 1.0, 0.0, 1.0])}
    loss, logs = model.network_loss(b)
    assert float(loss) == pytest.approx(np.log(2), rel=1e-6) and float(logs["accuracy"]) == 0.5
    last.bias.assign([20.0])
    assert float(model.network_loss(b)[0]) == pytest.approx(10.0, rel=1e-4)


# --- the whole experiment ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """All three regimes."""
    return fit(settings(), tmp_path_factory.mktemp("nodules") / "run")


@pytest.mark.current
def test_stages_of_the_experiment(run):
    stages = list(dict.fromkeys(run.metrics()["stage"]))
    assert stages == ["injector", "eraser"] + [f"{regime}-24mm-0" for regime in ("real", "synthetic", "finetuned")]
    assert set(run.metrics().query("split == 'validation'")["stage"]) == set(stages[2:])


@pytest.mark.current
def test_finetuning_begins_with_what_synthetic_scans_taught(run):
    method = run.restored()
    stages = {stage.name: stage for stage in method.stages()}
    start = stages["finetuned-24mm-0"].model().network.get_weights()
    for one, other in zip(start, method.models["synthetic-24mm-0"].network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    fresh = stages["real-24mm-0"].model().network.get_weights()
    assert any((a != b).any() for a, b in zip(start, fresh, strict=True))


def test_edits_touch_what_they_should_and_repeat(run):
    """Kept scans stay bit for bit, edited ones change in the lungs alone; another seed only moves synthetic nodules."""
    method = run.restored()
    scans = method.scans("train") + method.synthetic_scans(0)
    edits, again, moved = (method.edits(method.editor, scans, 24.0, seed) for seed in (0, 0, 1))
    for scan in scans:
        plain, shown = method.shown(scan, []), method.shown(scan, edits[scan.case.id])
        assert shown.shape == (24, 24, 24, 1) and shown.min() >= 0 and shown.max() <= 1
        np.testing.assert_array_equal(shown, method.shown(scan, again[scan.case.id]))
        assert bool((plain != shown).any()) == (scan.edit != KEEP)
        same = [p.start for p in edits[scan.case.id]] == [p.start for p in moved[scan.case.id]]
        assert same or scan.origin == "synthetic"
        if scan.edit == ERASE:
            assert len(edits[scan.case.id]) == len(method.nodules(scan.case))
    assert any([p.start for p in edits[s.case.id]] != [p.start for p in moved[s.case.id]] for s in scans)


def test_the_command_writes_table_and_bar_chart(run):
    assert cli.run(evaluate.main, [str(run.path)]) == 0
    with open(run.path / "evaluation.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["training data"] for row in rows] == ["real only", "synthetic only", "synthetic, then real"]
    method = run.restored()
    for row, regime in zip(rows, ("real", "synthetic", "finetuned"), strict=True):
        logits, labels, _ = method.judged(method.models[f"{regime}-24mm-0"], "test", 24.0)
        assert float(row["accuracy mean"]) == pytest.approx(np.mean((logits > 0) == labels))
        assert (row["seeds"], row["accuracy std"]) == ("1", "nan")
    assert (run.path / "previews" / "accuracy.png").stat().st_size > 5000
    with open(run.path / "vois.csv", encoding="utf-8") as stream:
        assert len(list(csv.DictReader(stream))) == 3


@pytest.mark.current
def test_the_exported_classifier_takes_hu(run, tmp_path):
    method, volume = run.restored(), np.random.default_rng(0).uniform(-1100, 500, (24, 20, 28)).astype("float32")
    shown = method.window.apply(tfmed.io.Volume(volume, np.eye(4))).array * 0.5 + 0.5
    logit = method.models["finetuned-24mm-0"](shown[None, ..., None]).numpy()[0, 0]
    module = tf.saved_model.load(str(export(run, tmp_path / "export")))
    found = module.signatures["classify"](volume=tf.constant(volume))["probability"]
    assert float(found) == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)
    assert module.signatures["inject"](cube=tf.zeros((8, 8, 8)), mask=tf.ones((8, 8, 8)))["cube"].shape == (8, 8, 8)


def test_synthetic_scans_of_a_generator_are_made_once(tmp_path):
    tiny = ("data.options={cases: 6, shape: [24, 24, 24]}", "model.volume_shape=[24, 24, 24]", "model.base_size=3",
            "model.generator_channels=[4, 4, 4]", "model.slice_critic_channels=[4]", "model.slab_critic_channels=[4]",
            "model.slab_length=7", "model.slices_per_slab=2", "model.architecture=3dgan", "model.baseline_size=8",
            "train.steps=1", "train.tensorboard=false", "train.batch_size=1",
            "model.window_hu=[-30000, 30000]")  # fmt: skip
    generator = fit(tfmed.load_config(REPOSITORY / "configs" / "ctsgan.yaml", tiny), tmp_path / "gan")
    cache = f"data.cache_dir={tmp_path / 'cache'}"
    words = (f"model.synthetic_run={generator.path}", "model.synthetic_volumes=3", cache)
    method = METHOD(settings(*words))
    first = [read_volume(case.images["ct"]).array for case in method.synthetic]
    assert len(first) == 3 and (first[0] != first[1]).any()
    files = sorted((tmp_path / "cache" / "synthetic").rglob("*.nii.gz"))
    times = [file.stat().st_mtime_ns for file in files]
    assert len(METHOD(settings(*words)).synthetic) == 3 and [file.stat().st_mtime_ns for file in files] == times
    expected = next(iter(generator.sample(1, seed=2))).array
    np.testing.assert_array_equal(read_volume(files[2]).array, expected)


def test_a_run_that_makes_no_volumes_is_refused(run):
    with pytest.raises(RunError, match="generates nothing; give the run of a ctsgan"):
        _ = METHOD(settings(f"model.synthetic_run={run.path}")).synthetic
    with pytest.raises(RunError, match="no such run directory"):
        _ = METHOD(settings("model.synthetic_run=nowhere")).synthetic


# --- real layouts -----------------------------------------------------------------------------------------------------


def luna16_tree(root):
    """Chest phantoms as LUNA16 keeps scans: MetaImage in subsets, nodules in a table (LPS); every second is healthy."""
    rows, options = [], dict(shape=(24, 24, 24), field_of_view_mm=290, length_mm=220)
    for number in range(12):
        own = dict(options, seed=number, nodules=2 * (number % 2), nodule_radius_mm=(12, 18))
        volume = chest_ct(**own).volume
        uid, folder = f"1.3.6.1.4.1.14519.5.2.1.{number}", root / f"subset{number % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        image = sitk.GetImageFromArray(volume.array)
        lps = np.diag([-1, -1, 1, 1]) @ volume.affine
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetOrigin(lps[:3, 3].tolist())
        image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
        sitk.WriteImage(image, str(folder / f"{uid}.mhd"))
        for nodule in placed_nodules(**own):
            x, y, z = nodule["centre_mm"]
            rows.append(f"{uid},{-x},{-y},{z},{2 * nodule['radius_mm']}")
    (root / "annotations.csv").write_text("\n".join(["seriesuid,coordX,coordY,coordZ,diameter_mm", *rows, ""]), "utf-8")
    return root


def lidc_tree(root):
    """The same phantoms as LIDC-IDRI keeps scans: DICOM series, with XML in which two readers outline each nodule."""
    for number in range(12):
        own = dict(shape=(24, 24, 24), field_of_view_mm=290, length_mm=220, seed=number, nodules=2 * (number % 2),
                   nodule_radius_mm=(12, 18))  # fmt: skip
        volume, series = chest_ct(**own).volume, root / f"LIDC-IDRI-{number:04d}" / "study" / "series"
        write_volume(volume.replace(array=volume.array.astype(np.int16)), series)
        written = read_volume(series)
        marks = [outlines(nodule, written, f"{number}-{k}") for k, nodule in enumerate(placed_nodules(**own))]
        sessions = f"<readingSession>{''.join(marks)}</readingSession>" * 2
        (series / "readers.xml").write_text(
            f'<LidcReadMessage xmlns="http://www.nih.gov">{sessions}</LidcReadMessage>', encoding="utf-8"
        )
    return root


def outlines(nodule, volume, name):
    """A sphere as a reader's XML: a circle, in pixels, on each slice that it meets."""
    centre, radius, rois = np.array(nodule["centre_mm"]), nodule["radius_mm"], ""
    for z in volume.affine[2, 3] + volume.affine[2, 2] * np.arange(volume.shape[0]):
        if abs(z - centre[2]) < radius:
            angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
            wide = np.sqrt(radius**2 - (z - centre[2]) ** 2)
            ring = centre[:2] + wide * np.column_stack([np.cos(angle), np.sin(angle)])
            points = np.column_stack([ring, np.full(32, z), np.ones(32)])
            pixels = (np.linalg.inv(volume.affine) @ points.T)[:2].T
            edges = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in pixels)
            rois += f"<roi><imageZposition>{z}</imageZposition><inclusion>TRUE</inclusion>{edges}</roi>"
    return f"<unblindedReadNodule><noduleID>{name}</noduleID>{rois}</unblindedReadNodule>"


@pytest.mark.one_stack
def test_a_tree_of_lidc_gives_the_nodules_that_its_readers_outlined(tmp_path):
    """Through DICOM and XML: each is where the phantom has it and as large, once though two readers marked it."""
    root = lidc_tree(tmp_path / "LIDC-IDRI")
    words = ("data.source=lidc_idri", f"data.root={root}", "data.options={}", "model.healthy=null")
    method = METHOD(settings(*words, shared=TINY[1:]))
    with_nodules = [case for part in method.origins["nodules"].values() for case in part]
    healthy = [case for part in method.origins["healthy"].values() for case in part]
    assert {len(method.nodules(case)) for case in healthy} == {0}
    assert {case.group for case in with_nodules} == {f"LIDC-IDRI-{number:04d}" for number in range(1, 12, 2)}
    for case in with_nodules:
        placed = placed_nodules(seed=int(case.group[-4:]), nodules=2, nodule_radius_mm=(12, 18), shape=(24, 24, 24),
                                field_of_view_mm=290, length_mm=220)  # fmt: skip
        found = sorted((nodule.centre_mm, nodule.radius_mm) for nodule in method.nodules(case))
        assert len(found) == len(placed)
        for (centre, radius), one in zip(found, sorted(placed, key=lambda one: one["centre_mm"]), strict=True):
            np.testing.assert_allclose(centre[:2], one["centre_mm"][:2], atol=0.1)
            assert abs(centre[2] - one["centre_mm"][2]) < 220 / 24 / 2  # half a slice
            assert radius == pytest.approx(one["radius_mm"], rel=0.2)


@pytest.mark.long
def test_a_tree_of_luna16_goes_through_the_whole_experiment(tmp_path):
    """Its scans without nodules are the healthy ones; nodules lie where the phantoms have them."""
    root = luna16_tree(tmp_path / "LUNA16")
    words = ("data.source=luna16", f"data.root={root}", "data.options={}", "model.healthy=null")
    run = fit(settings(*words, shared=TINY[1:]), tmp_path / "run")  # but for the phantoms' options
    method = run.restored()
    assert not any(method.nodules(case) for part in method.origins["healthy"].values() for case in part)
    case = method.origins["nodules"]["train"][0]
    number = int(case.id.rpartition(".")[2])
    placed = placed_nodules(seed=number, nodules=2, nodule_radius_mm=(12, 18), shape=(24, 24, 24),
                            field_of_view_mm=290, length_mm=220)  # fmt: skip
    centres = sorted(nodule.centre_mm for nodule in method.nodules(case))
    np.testing.assert_allclose(centres, sorted(one["centre_mm"] for one in placed), atol=1e-3)
    rows = method.evaluate({"run": method})["evaluation"]
    assert [row["seeds"] for row in rows] == [1, 1, 1] and {row["nodules mm"] for row in rows} == {24}
