"""From files to label maps and back: grids, inputs and outputs of `tfmed predict`, whoever computes probabilities."""

import pathlib
import shutil

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.test_preprocess import oblique, sampled, world
from tfmed.data import preprocess
from tfmed.data.labels import only_largest
from tfmed.data.preprocess import Crop, CropForeground, Orient, Resample, ZScore
from tfmed.data.trained_on import TrainedOn
from tfmed.engine.terminal import set_up_logging
from tfmed.errors import DataError, UserError
from tfmed.io import Volume, read_volume, write_volume
from tfmed.tasks.prediction import OUTPUTS, TABLES, Ensemble, Segmenter, back, check_grids, inputs

pytestmark = pytest.mark.current

SIZE = (9, 12, 14)


def scan(seed=0, shape=SIZE, affine=None):
    array = np.random.default_rng(seed).integers(1, 900, shape).astype("float32")
    array[0] = 0
    return Volume(array, oblique() if affine is None else affine)


def softmax(stack):
    """A network of three classes that looks at single voxels of the first channel."""
    x = stack[..., 0]
    logits = np.stack([0 * x, x / 200 - 2, 3 - x / 100], -1)
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return (odds / odds.sum(-1, keepdims=True)).astype(np.float32)


def segmenter(steps=(), modalities=("mr",), values=(0, 1, 4)):
    return Segmenter(modalities, values, steps, softmax)


STEPS = {
    "nothing": (),
    "turned": (Orient(to="PIL"),),
    "flipped": (Orient(to="LPS"),),
    "cropped": (Crop(shape=(4, 20, 7)),),
    "turned and cropped": (Orient(to="SRA"), Crop(shape=(6, 30, 8))),
    "foreground": (CropForeground(), Orient(to="RAS")),
}


@pytest.mark.parametrize("name", STEPS)
def test_voxelwise_networks_do_not_mind_moved_voxels(name):
    """Steps that move voxels and interpolate nothing give, back on the grid, what the network says without them."""
    image = scan()
    found = segmenter(STEPS[name])([image])
    wanted = softmax(image.array[..., None])
    reached = _reached(preprocess.run_together(STEPS[name], [image])[0][0], image, 0.1)
    assert found.labels.shape == SIZE and found.labels.array.dtype == np.uint8
    np.testing.assert_array_equal(found.labels.affine, image.affine)
    np.testing.assert_array_equal(found.probabilities.affine, image.affine)
    np.testing.assert_allclose(found.probabilities.array[reached], wanted[reached], atol=1e-4)
    np.testing.assert_array_equal(
        found.probabilities.array[~reached], np.broadcast_to([1, 0, 0], wanted.shape)[~reached]
    )
    np.testing.assert_array_equal(found.labels.array, found.probabilities.array.argmax(-1))
    assert reached.any() and (name in ("nothing", "turned", "flipped")) == reached.all()


def _reached(prepared, image, slack=0.0):
    """Which voxels of an image lie between the outer voxel centres of the prepared one."""
    points = world(image)
    index = (np.linalg.inv(prepared.affine) @ np.c_[points, np.ones(len(points))].T)[2::-1].T
    return ((index >= -slack) & (index <= np.array(prepared.shape) - 1 + slack)).all(-1).reshape(image.shape)


@pytest.mark.parametrize("steps", [
    (Resample(spacing_mm=(1.25, 1.1, 1.1)),), (Resample(shape=(20, 7, 30)),),
    (Orient(to="LAS"), Resample(shape=(12, 18, 8)), Crop(shape=(14, 20, 10))),
], ids=["spacing", "shape", "all"])  # fmt: skip
def test_resampled_probabilities_come_back_by_linear_interpolation(steps):
    """Against scipy; beyond the outer voxel centres SimpleITK continues the border, which scipy does not."""
    image = scan()
    found = segmenter(steps)([image])
    prepared = preprocess.run_together(steps, [image])[0][0]
    probabilities = softmax(prepared.array[..., None])
    points, inner = world(image), _reached(prepared, image)
    assert inner.sum() > 300
    for k in range(3):
        wanted = sampled(prepared.replace(array=probabilities[..., k]), points, order=1).reshape(SIZE)
        np.testing.assert_allclose(found.probabilities.array[..., k][inner], wanted[inner], atol=1e-3)


BOXES = st.tuples(*[st.integers(1, 15)] * 3)


@given(BOXES, BOXES, st.integers(2, 5), st.floats(-0.6, 0.6), st.integers(0, 99))
def test_back_gives_probabilities_on_any_grid(ours, theirs, classes, angle, seed):
    draw = np.random.default_rng(seed)
    values = draw.dirichlet(np.full(classes, 0.2), ours).astype(np.float32)
    image = Volume(np.zeros(theirs, "int16"), oblique(spacing=(1.5, 1.2, 0.9), angle=angle))
    found = back(Volume(values, oblique()), image)
    assert found.array.shape == (*theirs, classes) and found.array.dtype == np.float32
    np.testing.assert_array_equal(found.affine, image.affine)
    assert found.array.min() >= 0 and found.array.max() <= 1 + 1e-6
    np.testing.assert_allclose(found.array.sum(-1), 1, atol=1e-5)


def test_a_network_of_two_classes_comes_back_too():
    values = np.random.default_rng(0).dirichlet((1, 1), (4, 5, 6)).astype(np.float32)
    image = scan()
    found = back(Volume(values, oblique(angle=0.25)), image)
    assert found.array.shape == (*SIZE, 2)


def test_no_preprocessing_copies_nothing():
    values = softmax(scan().array[..., None])
    assert back(Volume(values, oblique()), scan()).array is values


def test_entropy_in_bits():
    found = segmenter((Resample(shape=(20, 7, 30)),))([scan()])
    p = found.probabilities.array.astype(np.float64)
    wanted = -(p * np.log2(np.maximum(p, 1e-300))).sum(-1)
    np.testing.assert_allclose(found.entropy.array, wanted, atol=1e-5)
    np.testing.assert_array_equal(found.entropy.affine, scan().affine)


def test_intensity_steps_see_each_image_alone():
    images = [scan(0), scan(1)]
    _, stack = segmenter((ZScore(),), ("t1", "t2")).prepared(images)
    for k, image in enumerate(images):
        np.testing.assert_array_equal(stack[..., k], ZScore().apply(image).array)
    assert stack.dtype == np.float32


@pytest.mark.parametrize("lowest, told", [(-900, False), (0, True)])
def test_an_image_unlike_those_of_training_is_told(lowest, told, tmp_path, capsys):
    set_up_logging()
    write_volume(scan().replace(array=scan().array + lowest), tmp_path / "a.nii.gz")
    ct = TrainedOn({"mr": -1024.0}, {"mr": 1500.0}, (scan().spacing, scan().spacing))
    for known in (ct, None):
        one = Segmenter(("mr",), (0, 1, 4), (), softmax, trained_on=known)
        for model in (one, Ensemble([one, one])):
            list(model.predict([str(tmp_path / "a.nii.gz")], tmp_path / "out"))
            lines = [line for line in capsys.readouterr().err.splitlines() if "has no value below 0" in line]
            assert len(lines) == (told and known is not None)
            assert all(line.startswith(str(tmp_path / "a.nii.gz")) and "-1024 to 1500 HU" in line for line in lines)


def test_an_ensemble_is_the_mean_on_the_scans_own_grid():
    """Whatever each member resamples to; a class is one part where most members say so."""
    members = [segmenter(steps) for steps in ((), (Resample(shape=(20, 7, 30)),), (Orient(to="LPS"),))]
    members[0].single = members[1].single = (1,)
    members[2].single = (2,)
    found = Ensemble(members)([scan()])
    wanted = np.mean([member([scan()]).probabilities.array for member in members], axis=0)
    np.testing.assert_allclose(found.probabilities.array, wanted, atol=1e-6)
    np.testing.assert_array_equal(found.labels.array, only_largest(wanted.argmax(-1).astype("u1"), (1,)))
    assert (found.labels.array != wanted.argmax(-1)).any()
    with pytest.raises(UserError, match=r"model 2: its modalities are \['ct'\], those of the first \['mr'\]"):
        Ensemble([segmenter(), segmenter(modalities=("ct",))])


# --- what `predict` writes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values, dtype", [
    ((0, 1, 4), "uint8"), ((0, 255, 300), "uint16"), ((-1, 0, 1), "int8"), ((-200, 0, 200), "int16"),
])  # fmt: skip
def test_files_hold_the_numbers_of_the_classes(tmp_path, values, dtype):
    image = scan(affine=np.diag([-0.8, 0.7, 2.5, 1.0]))
    write_volume(image, tmp_path / "scan.nii.gz")
    image = read_volume(tmp_path / "scan.nii.gz")
    steps = (Orient(to="RAS"), Crop(shape=(8, 12, 14)))
    words = [str(tmp_path / "scan.nii.gz")]
    paths = list(segmenter(steps, values=values).predict(words, tmp_path / "out", OUTPUTS))
    assert [path.name for path in paths] == [f"scan_{k}.nii.gz" for k in ("labels", "probabilities", "entropy")]
    labels, probabilities, entropy = (read_volume(path) for path in paths)
    found = segmenter(steps, values=values)([image])
    np.testing.assert_array_equal(labels.array, np.array(values)[found.labels.array])
    assert labels.array.dtype == dtype and set(np.unique(labels.array)) == set(values)
    np.testing.assert_array_equal(probabilities.array, found.probabilities.array)
    np.testing.assert_array_equal(entropy.array, found.entropy.array)
    for volume in (labels, probabilities, entropy):
        np.testing.assert_array_equal(volume.affine, image.affine)
    np.testing.assert_array_equal(nibabel.load(paths[0]).affine, nibabel.load(tmp_path / "scan.nii.gz").affine)


def test_only_the_maps_that_were_asked_for(tmp_path):
    """Without a word labels alone: probabilities of many classes are large."""
    write_volume(scan(), tmp_path / "scan.nii")
    assert [path.name for path in segmenter().predict([str(tmp_path / "scan.nii")], tmp_path / "usual")] == [
        "scan_labels.nii.gz"
    ]
    shutil.rmtree(tmp_path / "usual")
    (path,) = segmenter().predict([str(tmp_path / "scan.nii")], tmp_path, ["entropy"])
    assert path == tmp_path / "scan_entropy.nii.gz" and {p.name for p in tmp_path.iterdir()} == {"scan.nii", path.name}


def test_names_lie_beside_label_maps(tmp_path):
    """Written once, where classes have names and labels were asked for."""
    write_volume(scan(), tmp_path / "a.nii")
    named = segmenter()
    named.names = {1: "left atrium", 4: "scar"}
    paths = list(named.predict([str(tmp_path / "a.nii")], tmp_path / "out"))
    assert [path.name for path in paths] == ["a_labels.nii.gz", *TABLES]
    assert "\n4 scar " in (tmp_path / "out" / TABLES[0]).read_text(encoding="utf-8")
    assert [path.name for path in named.predict([str(tmp_path / "a.nii")], tmp_path / "more", ["entropy"])] == [
        "a_entropy.nii.gz"
    ]


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """Cases a and b in folders, and b's images in one file of two channels; the working folder is theirs."""
    for name in "ab":
        for k, modality in enumerate(("t1", "t1ce")):
            write_volume(scan(ord(name) + k), tmp_path / name / f"{name}_{modality}.nii.gz")
    write_volume(Volume(np.stack([scan(1).array, scan(2).array], -1), oblique()), tmp_path / "both.nii.gz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


PAIR = ("t1", "t1ce")


def test_inputs_of_several_images(scans):
    a, b = ({m: str(scans / n / f"{n}_{m}.nii.gz") for m in PAIR} for n in "ab")
    assert inputs([str(scans / "a"), "b/"], PAIR) == [("a", a), ("b", b)]
    (scans / "a" / "._a_t1.nii.gz").write_bytes(b"a shadow file")
    (scans / "a" / "notes.txt").touch()
    assert inputs(["a"], PAIR) == [("a", a)]
    word = ",".join(f"{m}={a[m]}" for m in PAIR[::-1])
    assert inputs([word], PAIR) == [("a", a)]
    assert inputs(["t1=both.nii.gz::0,t1ce=both.nii.gz::1"], PAIR)[0][0] == "both"


def test_files_named_as_the_images_alone(scans):
    for modality in PAIR:
        write_volume(scan(), scans / "c" / f"{modality}.nrrd")
    assert inputs(["c"], PAIR) == [("c", {m: str(scans / "c" / f"{m}.nrrd") for m in PAIR})]


def test_files_are_called_by_the_patient(scans):
    """Folders as scanners and BIDS have them, where files say what they show and folders of whom."""
    paths = []
    for place in ("s1/PRE", "s2/PRE", "s2/POST", "x"):
        write_volume(scan(), scans / place / "FLAIR.nii.gz")
        paths.append(str(scans / place / "FLAIR.nii.gz"))
    wanted = ["s1_PRE_FLAIR", "s2_PRE_FLAIR", "s2_POST_FLAIR", f"{scans.name}_x_FLAIR"]
    assert [name for name, _ in inputs(paths, ("flair",))] == wanted
    assert inputs(paths[:1], ("flair",))[0][0] == "FLAIR"  # nobody to take it for
    write_volume(scan(), scans / "x" / "t1.nii.gz")
    assert inputs(["x"], ("flair", "t1")) == [("x", {m: str(scans / "x" / f) for m, f in
                                                     (("flair", "FLAIR.nii.gz"), ("t1", "t1.nii.gz"))})]  # fmt: skip
    for place in ("v1/s1", "v2/s1", "s3"):
        write_volume(scan(), scans / place / "knee.nii.gz")
    words = [f"{place}/knee.nii.gz" for place in ("v1/s1", "v2/s1", "s3")]
    assert [name for name, _ in inputs(words, ("mr",))] == ["v1_s1_knee", "v2_s1_knee", f"{scans.name}_s3_knee"]


def test_inputs_of_one_image(scans):
    assert inputs(["both.nii.gz", "a"], ("mr",)) == [("both", {"mr": "both.nii.gz"}), ("a", {"mr": "a"})]
    assert inputs(["mr=both.nii.gz"], ("mr",)) == [("both", {"mr": "both.nii.gz"})]
    assert inputs(["both.nii.gz::1"], ("mr",)) == [("both", {"mr": "both.nii.gz::1"})]
    assert inputs(["."], ("mr",)) == [(scans.name, {"mr": "."})]


BAD = {
    "missing file": (["c.nii.gz"], PAIR, r"^c\.nii\.gz: no such file; give t1=FILE,t1ce=FILE"),
    "missing file of one image": (["c.nii.gz"], ("mr",), "no such file; give a volume"),
    "one of two": (["t1=a/a_t1.nii.gz"], PAIR, "has no 't1ce' image; this network needs t1, t1ce"),
    "one image": (["both.nii.gz"], PAIR, "is one image where 2 are needed; give"),
    "twice": (["t1=a/a_t1.nii.gz,t1=b/b_t1.nii.gz,t1ce=a/a_t1ce.nii.gz"], PAIR, "names an image twice; give"),
    "folder without one": (["a"], (*PAIR, "t2"), "has 0 files for 't2'; give"),
    "folder with several": (["."], PAIR, "has 0 files for 't1'"),
    "the same name": (["a", "b/../a"], PAIR, "^a: two inputs have this name; predict them into"),
    "the same stem": (["both.nii.gz::0", "both.nii.gz::1"], ("mr",), "^both: two inputs have this name"),
    "a misspelt image": (["t1=a/a_t1.nii.gz,t1c=a/a_t1ce.nii.gz"], PAIR, "no such file; give t1=FILE"),
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_inputs_are_refused_at_once(scans, name):
    """Before the network has seen any of them, and with nothing written."""
    words, modalities, line = BAD[name]
    with pytest.raises(UserError, match=line):
        segmenter(modalities=modalities).predict(words, scans / "out")
    assert not (scans / "out").exists()


def test_two_files_for_one_image(scans):
    write_volume(scan(), scans / "a" / "other_t1.nii")
    with pytest.raises(UserError, match="a: has 2 files for 't1'; give"):
        inputs(["a"], PAIR)


def test_no_input_is_overwritten(scans):
    write_volume(scan(), scans / "both_labels.nii.gz")
    words = ["both_labels.nii.gz", "both.nii.gz::0"]
    with pytest.raises(UserError, match=r"^both_labels\.nii\.gz: is an input that a result would overwrite; choose"):
        segmenter().predict(words, pathlib.Path("."))
    assert len(list(segmenter().predict(words, pathlib.Path("out")))) == 2


def test_a_damaged_second_input_leaves_the_first_result(scans):
    (scans / "bad.nii.gz").write_bytes(b"nothing")
    found = segmenter().predict(["both.nii.gz::0", "bad.nii.gz"], scans / "out", ["labels"])
    assert read_volume(next(found)).shape == SIZE
    with pytest.raises(UserError, match=r"bad\.nii\.gz"):
        next(found)
    assert [path.name for path in (scans / "out").iterdir()] == ["both_labels.nii.gz"]


def test_a_step_that_cannot_be_done_names_the_file(scans):
    with pytest.raises(DataError, match=r"^both\.nii\.gz::0: crop_foreground: no voxel is above 1000"):
        list(segmenter((CropForeground(above=1000),)).predict(["both.nii.gz::0"], scans / "out"))


def test_images_that_cannot_be_segmented_together():
    nan, channels = scan(), scan(shape=(*SIZE, 2))
    nan.array[1, 2, 3] = np.nan
    for other, line in (
        (scan(shape=(9, 12, 13)), "b: its shape"),
        (scan(affine=oblique(angle=0.31)), "b: its corners lie up to"),
        (nan, "b: some voxels are NaN or infinite"),
        (channels, "b: has 2 channels where one is needed"),
    ):
        with pytest.raises(DataError, match=f"^{line}"):
            check_grids([scan(), other], ["a", "b"])
