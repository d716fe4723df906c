"""Segmentation runs from end to end: exported models, Monte Carlo passes, tables of scores, prediction."""

import json
import shutil

import numpy as np
import pandas
import pytest

import tfmed
from tests.support.alone import in_fresh_process
from tests.support.harness import REPOSITORY, change_split
from tfmed import cli, evaluate, predict
from tfmed import export as export_verb
from tfmed.data.preprocess import class_labels
from tfmed.data.readers import read_address, read_case
from tfmed.engine.checkpoint import state_variables
from tfmed.engine.exporting import export
from tfmed.engine.lifecycle import fit
from tfmed.io import Volume, read_volume, write_volume
from tfmed.metrics import segmentation as overlap
from tfmed.metrics import surface
from tfmed.tasks.segmentation_settings import Classes

pytestmark = pytest.mark.current

CONFIG = REPOSITORY / "configs" / "equireg.yaml"
MODALITIES = ("flair", "t1", "t1ce", "t2")
SHARED = (
    "data.source=phantom_brain_tumour",
    "data.options={cases: 7, shape: [8, 32, 32]}",
    "data.split={validation: 0.15, test: 0.3}",
    "data.labelled_share=0.5",
    "data.cache_dtype=float32",
    "train.steps=2",
    "train.batch_size=2",
    "train.log_every=1",
    "train.validate_every=2",
    "train.early_stopping=null",
    "model.nsd_tolerance_mm=3",
    "train.tensorboard=false",
    "model.labelled_batch=1",
    "model.learning_rate=0.02",
)
KINDS = {
    "slices": (
        "data.preprocess=[{step: crop_foreground, axes: z}, {step: window, window_hu: [0, 700], range: [0, 1]}, "
        "{step: zscore, nonzero: true}]",
        "model.patch=[16, 24]",
        "model.network={name: unet, widths: [4, 8], norm: batch, dropout: 0.3}",
        "model.mc_passes=3",
    ),
    "volumes": (
        "data.preprocess=[{step: orient, to: LPS}, {step: resample, spacing_mm: [16, 7, 4]}, {step: zscore}]",
        "model.patch=[4, 16, 16]",
        "model.network={name: unet, widths: [4, 8], factors: [1, 2, 2], norm: instance}",
        "model.flips=[x]",
    ),
}
SIZES = ((4, 12, 15), (5, 17, 29), (13, 32, 24))  # smaller than the window, no multiple of anything, larger


def settings(kind, *overrides):
    return tfmed.load_config(CONFIG, (*SHARED, *KINDS[kind], *overrides))


ONE_KIND = pytest.mark.parametrize("kind", ["slices"], indirect=True, scope="module")  # tables are the same for both


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def run(kind, tmp_path_factory):
    return fit(settings(kind), tmp_path_factory.mktemp(kind) / "run")


@pytest.fixture(scope="module")
def exported(run):
    return export(run, run.path / "export")


@pytest.fixture(scope="module")
def method(run):
    return run.restored()


def stacks():
    """Images of four channels with a dark surround, as the phantoms have."""
    for size in SIZES:
        draw = np.random.default_rng(sum(size))
        image = draw.integers(1, 700, (*size, 4)).astype("float32")
        image[:, :3] = 0
        yield image


def phantom(part, seed=99):
    return read_address(f"phantom:brain_tumour?seed={seed}&shape=9,30,34&part={part}")


# --- the exported model -----------------------------------------------------------------------------------------------

AFFINE = np.array([[0, -0.9, 0.1, 5], [1.2, 0, 0, -7], [0, -0.2, -2, 40], [0, 0, 0, 1]])  # turned, flipped, askew
_ALONE = """
import numpy as np, tensorflow as tf
folder, calls, out = sys.argv[1:]
model, results = tf.saved_model.load(folder), {}
with np.load(calls) as images:
    for name in (name for name in images.files if name != 'affine'):
        given = {'image': tf.constant(images[name]), 'affine': tf.constant(images['affine'])}
        results['labels' + name] = model.signatures['serving_default'](**given)['labels'].numpy()
        results['probabilities' + name] = model.signatures['probabilities'](**given)['probabilities'].numpy()
np.savez(out, **results)
"""


@pytest.mark.one_stack
def test_the_exported_model_gives_the_same_without_tfmed(run, method, exported, tmp_path):
    """All preprocessing is part of the graph, for any size of volume and any orientation."""
    images = list(stacks())
    np.savez(tmp_path / "images.npz", *images, affine=AFFINE)
    result = in_fresh_process(_ALONE, exported, tmp_path / "images.npz", tmp_path / "out.npz")
    assert not result, result
    with np.load(tmp_path / "out.npz") as found:
        for k, image in enumerate(images):
            found_here = method.segmenter()([Volume(image[..., c], AFFINE) for c in range(4)])
            wanted = found_here.probabilities.array
            np.testing.assert_allclose(found[f"probabilitiesarr_{k}"], wanted, atol=2e-5)
            best = np.sort(wanted, -1)
            clear = best[..., -1] - best[..., -2] > 1e-4
            assert clear.mean() > 0.9
            labels = np.array(method.config.label_values)[found_here.labels.array]
            np.testing.assert_array_equal(found[f"labelsarr_{k}"][clear], labels[clear])
            assert found[f"labelsarr_{k}"].dtype == np.int32


@pytest.mark.one_stack
@pytest.mark.parametrize("kind", ["slices"], indirect=True, scope="module")
@pytest.mark.parametrize(("slices", "seen"), [(1, 1), (3, 3), (7, 7), (8, 8), (11, 16)])
def test_few_slices_are_not_filled_up(method, monkeypatch, slices, seen):
    """A picture is one slice: a network of slices computes no others for it."""
    counts = []

    def of_windows(windows):
        counts.append(windows.shape[0] * windows.shape[1])
        return np.zeros((*windows.shape[:-1], method.config.classes), np.float32)

    monkeypatch.setattr(type(method), "_window_fn", property(lambda self: of_windows))
    found = method.probabilities(np.zeros((slices, 16, 24, 4), np.float32))
    assert found.shape == (slices, 16, 24, method.config.classes) and sum(counts) == seen


@pytest.mark.one_stack
def test_the_network_as_onnx(run, kind, method, tmp_path, capsys):
    """It gives the network's probabilities; Monte Carlo passes and random numbers are refused in a line."""
    onnxruntime = pytest.importorskip("onnxruntime")
    words = [str(run.path), "--format", "onnx", "--out", str(tmp_path / "net.onnx")]
    if kind == "slices":
        assert cli.run(export_verb.main, words) == 2
        assert "mc_passes" in capsys.readouterr().err and not list(tmp_path.iterdir())
        return
    for _ in range(2):  # it replaces its own
        assert cli.run(export_verb.main, words) == 0
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    patches = np.random.default_rng(0).normal(size=(3, *method.config.patch, 4)).astype("float32")
    (found,) = session.run(["probabilities"], {"image": patches})
    wanted = np.stack([method._window_fn(patch[None])[0] for patch in patches])
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["modalities"]) == list(MODALITIES) and said["axes"] == "(n, z, y, x, channel)"
    assert [step["step"] for step in json.loads(said["steps"])] == ["orient", "resample", "zscore"]
    (tmp_path / "mine").write_text("mine", encoding="utf-8")
    for out, line in (("mine", "is no ONNX file of tfmed"), (".", "is a folder; name the file")):
        assert cli.run(export_verb.main, [*words[:-1], str(tmp_path / out)]) == 2
        assert line in capsys.readouterr().err


@pytest.mark.one_stack
def test_predicting_with_the_run_and_with_the_exported_model(run, exported, tmp_path, capsys):
    for part in MODALITIES:
        write_volume(phantom(part), tmp_path / "case" / f"case_{part}.nii.gz")
    for name, model in (("run", run.path), ("model", exported)):
        words = [str(model), str(tmp_path / "case"), "--out", str(tmp_path / name)]
        assert cli.run(predict.main, [*words, "--outputs", "labels,probabilities,entropy"]) == 0
        printed = capsys.readouterr().out.split()
        assert printed == [str(tmp_path / name / f"case_{k}.nii.gz") for k in ("labels", "probabilities", "entropy")]
    ours, theirs = ([read_volume(tmp_path / n / f"case_{k}.nii.gz") for k in ("labels", "probabilities", "entropy")]
                    for n in ("run", "model"))  # fmt: skip
    np.testing.assert_allclose(ours[1].array, theirs[1].array, atol=2e-5)
    np.testing.assert_allclose(ours[2].array, theirs[2].array, atol=2e-4)
    best = np.sort(ours[1].array, -1)
    clear = best[..., -1] - best[..., -2] > 1e-4
    np.testing.assert_array_equal(ours[0].array[clear], theirs[0].array[clear])
    image = read_volume(tmp_path / "case" / "case_t1.nii.gz")
    for volume in (*ours, *theirs):
        assert volume.shape == image.shape
        np.testing.assert_array_equal(volume.affine, image.affine)
    assert set(np.unique(ours[0].array)) <= {0, 1, 2, 4}


# --- Monte Carlo passes -----------------------------------------------------------------------------------------------


def test_the_same_image_gives_the_same_numbers_and_leaves_no_trace(method, kind):
    image = next(stacks())
    variables = state_variables(next(iter(method.models.values())))
    before = [np.array(variable) for variable in variables]
    first = method.probabilities(image)
    method.probabilities(image[:, ::-1])
    second = method.probabilities(image)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(method.labels(image), first.argmax(-1))
    np.testing.assert_allclose(first.sum(-1), 1, atol=1e-5)
    for value, variable in zip(before, variables, strict=True):
        np.testing.assert_array_equal(value, np.array(variable))


def test_monte_carlo_passes_differ_from_one_pass(run, method, kind):
    if kind == "slices":
        image = next(stacks())
        once = method.config.model_copy(update={"mc_passes": 0})
        plain = type(method)(run.settings.model_copy(update={"model": once}))
        plain.models = method.models
        assert np.abs(plain.probabilities(image) - method.probabilities(image)).max() > 1e-3
    else:
        assert method.config.mc_passes == 0


def test_inference_sees_flips_alike(method, kind):
    """With flips along x, a mirrored image gives a mirrored answer."""
    if kind == "volumes":
        image = list(stacks())[2]
        mirrored = method.probabilities(np.ascontiguousarray(image[:, :, ::-1]))
        np.testing.assert_allclose(mirrored[:, :, ::-1], method.probabilities(image), atol=1e-5)
    else:
        assert method.config.flips == ()


# --- validation and evaluation ----------------------------------------------------------------------------------------


def test_validation_equals_direct_computation(method):
    found = method.validation(next(iter(method.models.values())))
    (case,) = method.cases["validation"]
    prepared = method.open(case)
    probabilities = method.probabilities(prepared.image)
    picked = np.take_along_axis(probabilities, np.asarray(prepared.label, int)[..., None], -1)
    assert found["cross_entropy"] == pytest.approx(-np.log(np.maximum(picked, 1e-12)).mean(), rel=1e-4)
    labels = np.array([0, 1, 2, 4])
    ours, theirs = labels[probabilities.argmax(-1)], labels[prepared.label]
    for name, values in {"whole": (1, 2, 4), "core": (1, 4), "enhancing": (4,)}.items():
        assert found[f"dice_{name}"] == pytest.approx(
            overlap.dice(np.isin(ours, values), np.isin(theirs, values)), abs=1e-12
        )
    assert found["dice"] == pytest.approx(np.mean([found[f"dice_{n}"] for n in ("whole", "core", "enhancing")]))
    assert list(found) and set(found) == set(method.validated()), "early stopping must know what there is"


@pytest.fixture(scope="module")
def evaluated(run):
    """The run's two tables, after `tfmed evaluate`."""
    assert cli.run(evaluate.main, [str(run.path)]) == 0
    return [pandas.read_csv(run.path / f"{name}.csv") for name in ("evaluation", "cases")]


@pytest.mark.one_stack
@ONE_KIND
def test_the_table_of_cases_equals_direct_computation(run, method, evaluated):
    cases = evaluated[1]
    tested = {case.id: case for case in method.cases["test"]}
    assert len(cases) == 4 * len(tested) == 8
    segmenter = method.segmenter()
    for case_id, rows in cases.groupby("case"):
        images, label = read_case(tested[case_id], method.case_spec)
        found = segmenter(images)
        values = np.array([0, 1, 2, 4])[found.labels.array]
        np.testing.assert_array_equal(found.labels.affine, images[0].affine)
        assert class_labels(label, (0, 1, 2, 4)).shape == found.labels.shape
        *regions, mean = (row for _, row in rows.iterrows())
        assert mean["region"] == "mean of regions" and np.isnan(mean["HD95 mm"])
        assert mean["Dice"] == pytest.approx(np.mean([row["Dice"] for row in regions]))
        for row in regions:
            region = {"whole": (1, 2, 4), "core": (1, 4), "enhancing": (4,)}[row["region"]]
            ours, theirs = np.isin(values, region), np.isin(label.array, region)
            both, total = (ours & theirs).sum(), ours.sum() + theirs.sum()
            assert row["Dice"] == pytest.approx(2 * both / total if total else 1)
            assert row["Jaccard"] == pytest.approx(both / (total - both) if total else 1)
            distances = surface.distances(ours, theirs, images[0].spacing)
            assert row["HD95 mm"] == pytest.approx(distances.hd95)
            assert row["ASSD mm"] == pytest.approx(distances.assd)
            assert row["MSD mm"] == pytest.approx(distances.msd)
            assert row["NSD 3 mm"] == pytest.approx(distances.nsd(3.0))


@pytest.mark.one_stack
@ONE_KIND
def test_tables_and_reports_name_the_definition_of_each_distance(run, evaluated, capsys):
    capsys.readouterr()
    assert cli.run(evaluate.main, [str(run.path)]) == 0
    printed, report = capsys.readouterr().out, (run.path / "report.html").read_text(encoding="utf-8")
    for text in (printed, report):
        for words in ("HD95 mm: 95th percentile of both", "ASSD mm: mean of the two directed", "NSD 3 mm: share of"):
            assert words in text
        assert "standard deviation of the sample" in text
    assert {"MSD mm mean", "NSD 3 mm std"} <= set(evaluated[0].columns)


@ONE_KIND
def test_the_table_of_regions_is_the_mean_over_cases(evaluated):
    table, cases = evaluated
    assert list(table["region"]) == ["whole", "core", "enhancing", "mean of regions"]
    for _, line in table.iterrows():
        values = cases[cases["region"] == line["region"]]["Dice"]
        assert line["cases"] == len(values)
        assert line["Dice mean"] == pytest.approx(values.mean()) and line["Dice std"] == pytest.approx(values.std())


@pytest.fixture
def other(run, tmp_path):
    """Copies the run to a folder of another name, with some settings changed, as another person may have trained it."""

    def copy(name, *changes):
        shutil.copytree(run.path, tmp_path / name)
        text = (tmp_path / name / "config.yaml").read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / name / "config.yaml").write_text(text, encoding="utf-8")
        return tmp_path / name

    return copy


@pytest.mark.one_stack
@ONE_KIND
def test_comparing_runs_of_one_name(run, evaluated, other):
    """The same weights score the same: no difference. Both are in the table, told apart by their paths."""
    twin = other("elsewhere/run")
    assert cli.run(evaluate.main, [str(run.path), "--compare", str(twin)]) == 0
    table = pandas.read_csv(run.path / "evaluation.csv")
    assert list(table["run"]) == [str(run.path.resolve())] * 4 + [str(twin.resolve())] * 4
    assert list(table["Dice mean"][:4]) == list(table["Dice mean"][4:]) == list(evaluated[0]["Dice mean"])
    assert list(table["p (Wilcoxon, Dice)"][4:]) == [1] * 4


def refused(capsys, *argv):
    capsys.readouterr()
    assert cli.run(evaluate.main, [str(word) for word in argv]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.one_stack
@ONE_KIND
def test_a_leak_between_runs_is_refused(run, evaluated, other, capsys):
    before = (run.path / "evaluation.csv").read_bytes()
    leaky = other("leaky")
    change_split(leaky, lambda parts: parts | {"train": parts["test"], "test": parts["train"]})
    line = refused(capsys, run.path, "--compare", leaky)
    assert "leaky: was trained on patient" in line and "data.split.seed" in line
    assert (run.path / "evaluation.csv").read_bytes() == before


@pytest.mark.one_stack
@ONE_KIND
def test_comparisons_that_mean_nothing_are_refused(run, other, capsys):
    assert "there twice" in refused(capsys, run.path, "--compare", run.path)
    regions = other("regions", ("    enhancing:", "    bright:"))
    line = refused(capsys, run.path, "--compare", regions)
    assert "scores the regions whole, core, bright, not whole, core, enhancing" in line and "model.regions" in line


@ONE_KIND
def test_nothing_to_score(run, other, capsys):
    untested = other("untested")
    change_split(untested, lambda parts: parts | {"train": parts["train"] + parts["test"], "test": []})
    assert "no labelled case is in the part 'test'" in refused(capsys, untested)


# --- settings of networks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overrides", [
    ("model.network.name=unet", "model.network.widths=[4, 8]"),
    ("model.network.widths=[4, 8]", "model.network.name=unet"),
    ("model.network={name: unet, widths: [4, 8]}",),
], ids=["name first", "name last", "at once"])  # fmt: skip
def test_another_network_brings_its_own_numbers(overrides):
    """The old network's are dropped; those given with the new one count in any order."""
    network = tfmed.load_config(CONFIG, overrides).model.network
    assert network.name == "unet" and network.widths == (4, 8)


def test_a_number_of_the_same_network_changes_it_alone():
    network = tfmed.load_config(CONFIG, ["model.network.growth=7"]).model.network
    assert (network.name, network.growth, network.dropout) == ("fc_densenet", 7, 0.2)


def test_regions_are_replaced_as_a_whole():
    assert tfmed.load_config(CONFIG, ["model.regions={all: [1, 2, 4]}"]).model.regions == {"all": (1, 2, 4)}


def test_inference_runs_in_one_graph(method):
    """Windows of one shape are traced once, whatever the volume's size."""
    for image in stacks():
        method.labels(image)
    count = method._window_fn.experimental_get_tracing_count()
    for image in stacks():
        method.labels(np.concatenate([image, image]))
    assert method._window_fn.experimental_get_tracing_count() == count <= 2


def test_settings_that_name_no_images_have_those_of_the_cases(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("method: equireg\ndata: {source: phantom_left_atrium, options: {cases: 3}}\n", encoding="utf-8")
    kind = tfmed.registry.method_class("equireg")
    assert kind.planned(tfmed.load_config(str(path))).model.modalities == ("mr",)
    said = tfmed.load_config(str(path), ["model.modalities=[t2]"])
    assert kind.planned(said).model.modalities == ("t2",)
    own = tfmed.load_config(str(path), ["data={source: phantom_brain_tumour, options: {cases: 3}}"])
    assert kind.planned(own).model.modalities == MODALITIES


@pytest.mark.one_stack
def test_classes_keep_their_order_in_a_file_that_a_program_sorted():
    """`label_values` beside `labels` tell it; numbers that are not theirs are refused."""
    given = Classes(labels={"malignant": 1, "normal": [2, 5], "lymphocyte": 3})
    again = Classes(**json.loads(json.dumps(given.model_dump(mode="json"), sort_keys=True)))
    assert again == given and again.label_values == (0, 1, 2, 3)
    assert list(again.labels) == ["malignant", "normal", "lymphocyte"]
    for values in ([0, 1, 2], [0, 1, 2, 5], [1, 0, 2, 3], "0123"):
        with pytest.raises(ValueError, match="labels make them"):
            Classes(labels={"malignant": 1, "normal": [2, 5], "lymphocyte": 3}, label_values=values)
