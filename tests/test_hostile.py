"""Hostile files through every door: a clear line or the true voxels; no traceback, no hang, nothing silent."""

import contextlib
import faulthandler
import functools
import itertools
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import types
import warnings

import h5py
import networkx
import nibabel
import numpy as np
import pytest
import scipy.io
import SimpleITK as sitk
from PIL import Image, UnidentifiedImageError

from tests.support import hostile
from tests.test_bad_input_segmentation import QUICK
from tfmed.data import sources
from tfmed.data.cache import Cache
from tfmed.data.checks import CaseSpec, check_case, fill
from tfmed.data.connectomes import read_all
from tfmed.data.preprocess import Orient, Resample
from tfmed.data.sources import lidc_xml
from tfmed.errors import UserError
from tfmed.io import read_geometry, read_volume
from tfmed.io.connectome import read_connectome
from tfmed.tasks.prediction import Segmenter

pytestmark = pytest.mark.current
SECONDS = 10
REPOSITORY = pathlib.Path(__file__).parents[1]
STEPS = (Orient(to="RAS"), Resample(spacing_mm=(3.0, 2.0, 1.0)))


@contextlib.contextmanager
def watched(what):
    """Whatever takes longer than SECONDS fails; a library that does not come back ends the process with a traceback."""

    def late(*_):
        raise AssertionError(f"{what}: takes more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    faulthandler.dump_traceback_later(3 * SECONDS, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def outcome(door, address):
    """What a door gives; None where it refuses, which it does in one line that begins with the file."""
    with watched(address), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            return door(address)
        except UserError as error:
            line = str(error)
            assert "\n" not in line and line.isprintable(), repr(line)
            assert len(line) < 8000, line
            assert os.path.basename(str(address).partition("::")[0]) in line, line
            return None


def assert_none_fails(inputs, check):
    """All that is wrong with any of the inputs, in one failure."""
    failed = []
    for name, make in inputs:
        try:
            check(name, make)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            failed.append(f"{name}: {type(error).__name__}: {str(error)[:300]} ({place.filename}:{place.lineno})")
    assert not failed, "\n".join(failed)


def made(make, folder, name):
    """The path of a generated file, in a folder of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    make(folder / name)
    return folder / name


# --- doors ------------------------------------------------------------------------------------------------------------


def checked(folder, address):
    """The image as training takes it: from a table of cases through the checks and the cache; None where refused."""
    table = folder / "table.csv"
    table.write_text(f'id,ct\nx,"{address}"\n', encoding="utf-8")
    case = next(iter(sources.open("csv_list", str(table))))
    spec = CaseSpec(minimum_shape=(1, 1, 1))
    problems = check_case(case, spec)
    cache = Cache(folder / "cache", STEPS)
    problems = problems or fill(case, cache, spec)
    if problems:
        raise UserError(problems[0])
    return cache.get(case.images["ct"]).array


def predicted(folder, address):
    """What a network was given, in the stead of whose answer it is."""
    seen = []

    def probabilities(stack):
        seen.append(stack)
        bright = (stack[..., 0] > stack.mean()).astype(np.float32)
        return np.stack([1 - bright, bright], -1)

    list(Segmenter(["ct"], [0, 1], STEPS, probabilities).predict([address], folder / "out", ["labels"]))
    return seen[0]


def listed(folder, path):
    """The cases of the source that looks through folders for such files, and what it finds wrong with them."""
    source = "image_folder" if path.suffix in (".png", ".jpg", ".tif") else "nifti_folder"
    source = "dicom_folder" if path.suffix == ".dcm" else source
    cases = sources.open(source, str(folder))
    return [check_case(case, CaseSpec(images=tuple(case.images))) for case in cases]


# --- other readers ----------------------------------------------------------------------------------------------------


def by_nibabel(path):
    image = nibabel.load(path)
    array = np.asanyarray(image.dataobj)
    return array.reshape(array.shape[:3]).T, image.affine


def by_itk(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path))), None


def by_h5py(path):
    with h5py.File(path) as file:
        return file["image"][()].T, None


def by_pillow(path):
    try:
        image = Image.open(path)
    except UnidentifiedImageError:
        return None, None
    with image:
        if image.mode not in ("L", "I;16", "F", "1"):
            return None, None  # colour, which becomes grey
        array = np.asarray(image)
        return (255 * array.astype(np.uint8) if image.mode == "1" else array)[None], None


OTHERS = {".nii": by_nibabel, ".gz": by_nibabel, ".nrrd": by_itk, ".mha": by_itk, ".mhd": by_itk, ".h5": by_h5py,
          ".png": by_pillow, ".tif": by_pillow}  # fmt: skip


def assert_true(volume, path):
    """The voxels are those that another reader finds."""
    array, affine = OTHERS.get(path.suffix, lambda path: (None, None))(path)
    if array is not None:
        np.testing.assert_allclose(volume.array.astype(np.float64), array.astype(np.float64), rtol=1e-6, atol=1e-44)
    if affine is not None:
        np.testing.assert_allclose(volume.affine, affine)


def through_all_doors(make, folder, name):
    path = made(make, folder, name)
    address = hostile.address(path)
    volume, geometry = outcome(read_volume, address), outcome(read_geometry, address)
    if volume is not None:
        assert (geometry.shape, geometry.dtype) == (volume.array.shape, volume.array.dtype)
        np.testing.assert_array_equal(geometry.affine, volume.affine)
        assert_true(volume, path)
    for door in (checked, predicted):
        image = outcome(functools.partial(door, folder), address)
        if image is not None:
            assert volume is not None and np.isfinite(image).all() and image.min() < image.max()
    with watched(address), contextlib.suppress(UserError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for problems in listed(folder, path):
            assert all("\n" not in problem for problem in problems)
    return volume is not None


def matrix_through_all_doors(make, folder, name):
    path = made(make, folder / "control", name)
    with watched(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        matrix = outcome(read_connectome, path)
        if matrix is not None:
            assert matrix.dtype == np.float64 and np.isfinite(matrix).all()
            np.testing.assert_array_equal(matrix, by_another(path))
        try:
            found = read_all(sources.open("connectome_folder", str(folder)), ["control"])
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert np.isfinite(found.matrices).all() and found.matrices.any((1, 2)).all()


def by_another(path):
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    if path.suffix == ".mat":
        return scipy.io.loadmat(path)["sc"]
    if path.suffix == ".graphml":
        return networkx.to_numpy_array(networkx.read_graphml(path), weight="weight")
    return np.loadtxt(path, delimiter={".csv": ",", ".tsv": "\t"}.get(path.suffix), ndmin=2)


def test_connectomes(tmp_path):
    inputs = [*hostile.special(hostile.MATRICES), *hostile.matrices()]
    assert_none_fails(inputs, lambda name, make: matrix_through_all_doors(make, tmp_path / "d", name))


VOLUMES = {
    "special": functools.partial(hostile.special, hostile.VOLUMES),
    "nifti": hostile.nifti,
    "text headed": hostile.text_headed,
    "hdf5": hostile.hdf5,
    "pictures": hostile.pictures,
}


@pytest.mark.parametrize("kind", VOLUMES)
def test_volumes(kind, tmp_path, capfd):
    assert_none_fails(VOLUMES[kind](), lambda name, make: through_all_doors(make, tmp_path / "d", name))


# --- commands, of a trained run ---------------------------------------------------------------------------------------

COMMANDS = (
    "fifo.nii.gz", "zero.mha", "sparse.dcm", "bomb.nii.gz", "f8 one 1e+39.nii", "f4 all 1e-45.nii", "offset nan.mha",
    "next self.tif", "empty chunks 1000000000.h5",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A network of one step for one image, `ct`."""
    from tfmed import load_config
    from tfmed.engine.lifecycle import fit

    words = "model.modalities=[ct]", "model.label_values=[0, 1, 2]", "model.regions={all: [1, 2]}"
    source = "data.source=phantom_liver_ct", "data.options={cases: 4, shape: [8, 32, 32]}"
    split = "data.split={validation: 0, test: 0.4}"
    config = str(REPOSITORY / "configs" / "equireg.yaml")
    return fit(load_config(config, [*QUICK, *words, *source, split]), tmp_path_factory.mktemp("run") / "run").path


def test_commands(run, tmp_path, capsys):
    """`tfmed predict` and `tfmed prepare` end with status 2 and one line."""
    from tfmed import cli, predict, prepare

    makers = dict(itertools.chain.from_iterable(kind() for kind in VOLUMES.values()))

    def check(name, _):
        address = hostile.address(made(makers[name], tmp_path / "d", name))
        table = tmp_path / "d" / "table.csv"
        table.write_text(f'id,ct\nx,"{address}"\ny,"{address}"\n', encoding="utf-8")
        prepared = [str(run / "config.yaml"), "data.source=csv_list", f"data.root={table}", "data.options={}"]
        for main, words in ((predict.main, [str(run), address, "--out", str(tmp_path / "out")]),
                            (prepare.main, prepared)):  # fmt: skip
            capsys.readouterr()
            with watched(address):
                status = cli.run(main, words)
            lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tfmed: ")]
            assert status == 2 and len(lines) == 1, lines

    assert_none_fails([(name, None) for name in COMMANDS], check)


# --- texts, notes and settings ----------------------------------------------------------------------------------------


def xml_door(path):
    return lidc_xml.readings(path)


def yaml_door(path):
    from tfmed.config import load_config

    return load_config(path)


def table_door(path):
    return sources.open("csv_list", str(path))


def json_door(path):
    """What `tfmed export` writes beside a SavedModel."""
    from tfmed.tasks.exported import open_model

    path.rename(path.with_name("tfmed.json"))
    return open_model(path.parent)


def split_door(path):
    from tfmed.engine.split_record import SplitRecord

    path.rename(path.with_name("split.json"))
    return SplitRecord.read(path.parent)


TEXTS = {".xml": xml_door, ".yaml": yaml_door, ".csv": table_door}
NOTES = {"note": json_door, "split": split_door}


@pytest.mark.parametrize("suffix", TEXTS)
def test_texts(suffix, tmp_path):
    """None of these is what it should be: every one is refused, but for XML in which nobody marked anything."""

    def check(name, make):
        found = outcome(TEXTS[suffix], made(make, tmp_path / "d", name))
        assert found is None or (suffix == ".xml" and found == [])

    assert_none_fails(hostile.texts(suffix), check)


@pytest.mark.parametrize("door", NOTES)
def test_notes(door, tmp_path):
    def check(name, make):
        path = made(make, tmp_path / "d", name)
        with watched(path), pytest.raises(UserError) as error:
            NOTES[door](path)
        assert "\n" not in str(error.value)

    assert_none_fails(hostile.texts(".json"), check)


@pytest.mark.parametrize("name", hostile.LATENTS)
def test_latents(name, tmp_path):
    from tfmed.tasks import latents

    class Networks:
        layers_w = 2
        config = types.SimpleNamespace(noise=True, latent_size=3)
        synthesis = types.SimpleNamespace(noise_shapes=[(2, 2, 2, 1)])

    path = made(hostile.LATENTS[name], tmp_path / "d", "x.npz")
    found = outcome(functools.partial(latents.of_word, Networks()), path)
    assert (found is not None) == (name == "true")
    for word in ("9" * 5000, "9" * 12, "x" * 5000, "a\0b", "~nobody-of-this-name"):
        with contextlib.suppress(OSError), pytest.raises(UserError):
            latents.of_word(Networks(), word)


# --- names and rights -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", hostile.NAMES)
def test_names(name, tmp_path):
    """What the file system takes as a name is read, predicted and written; the rest is a line."""
    legal = hostile.NAMES[name]
    try:
        made(hostile.written(hostile.nifti_bytes()), tmp_path / "d", legal)
    except (OSError, ValueError):
        legal = None
    path = tmp_path / "d" / hostile.NAMES[name]
    with watched(path):
        try:
            volume = read_volume(path)
            image = predicted(tmp_path, str(path))
        except UserError as error:
            assert "\n" not in str(error) and (legal is None or not legal.isascii() or len(legal) > 230)
            return
    np.testing.assert_array_equal(volume.array, hostile.voxels())
    assert image.size and [one.name for one in (tmp_path / "out").iterdir()] == [f"{legal[:-4]}_labels.nii.gz"]


UNPRIVILEGED = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]


def test_rights(tmp_path):
    """As a user who may read neither the files nor the folders."""
    if os.getuid() or not shutil.which("setpriv"):
        pytest.skip("needs root and setpriv, to become a user without rights")
    start = [*UNPRIVILEGED, sys.executable, "-c"]
    if subprocess.run([*start, "import tfmed.io"], capture_output=True, cwd=REPOSITORY).returncode:
        pytest.skip("another user cannot import tfmed from here")
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        for suffix in hostile.VOLUMES + hostile.MATRICES + (".xml", ".yaml"):
            for mode in (0o000, 0o200):
                (folder / f"{mode:o}{suffix}").write_bytes(hostile.nifti_bytes())
                (folder / f"{mode:o}{suffix}").chmod(mode)
        for mode in (0o000, 0o444, 0o111):
            (folder / f"folder{mode:o}" / "below").mkdir(parents=True)
            (folder / f"folder{mode:o}" / "x.nii").write_bytes(hostile.nifti_bytes())
            (folder / f"folder{mode:o}").chmod(mode)
        done = subprocess.run([*start, RIGHTS, str(folder)], capture_output=True, text=True, cwd=REPOSITORY, timeout=60)
    finally:
        shutil.rmtree(folder)
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr


RIGHTS = """
import pathlib, sys
from tests.support import hostile
from tests.test_bad_input_segmentation import QUICK
from tfmed.data import sources
from tfmed.data.sources import lidc_xml
from tfmed.errors import UserError
from tfmed.io import read_geometry, read_volume
from tfmed.io.connectome import read_connectome
from tfmed.settings_text import read_yaml
root = pathlib.Path(sys.argv[1])
doors = {".xml": [lidc_xml.readings], ".yaml": [read_yaml]}
doors |= dict.fromkeys(hostile.MATRICES, [read_connectome])
doors |= dict.fromkeys(hostile.VOLUMES, [read_volume, read_geometry])
for path in sorted(root.iterdir()):
    if path.name.startswith("folder"):
        inside = path, path / "x.nii", path / "y.nii"
        calls = [(door, inner) for door in (read_volume, read_geometry) for inner in inside]
        names = ("nifti_folder", "dicom_folder", "image_folder", "connectome_folder", "paired_folder", "chaos")
        calls += [(lambda at, name=name: sources.open(name, str(at)), at) for name in names for at in (path, root)]
    else:
        suffix = ".nii.gz" if path.name.endswith(".gz") else path.suffix
        calls = [(door, hostile.address(path)) for door in doors[suffix]]
    for door, address in calls:
        try:
            door(address)
        except UserError as error:
            if chr(10) in str(error) or str(root) not in str(error):
                print(address, repr(str(error)))
        except Exception as error:
            print(address, door, repr(error))
        else:
            if not str(address).endswith("folder111/x.nii"):
                print(address, door, "is read")
"""


def test_weights_beyond_memory():
    import keras

    from tfmed.engine.memory import bounded_weights

    with pytest.raises(Exception, match=r"lower the sizes|OOM when allocating"), bounded_weights("x"):
        keras.layers.Dense(10**7).build((None, 10**7))
