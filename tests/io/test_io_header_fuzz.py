"""Two thousand NIfTI headers with 1 to 3 random bytes: a volume that agrees with its header, or ImageIntegrityError."""

import gzip
import json
import subprocess
import sys

import nibabel
import numpy as np
import pytest

from tests.support.volumes import ct_like
from tfmed.io import ImageIntegrityError, read_geometry, read_volume, write_volume

pytestmark = pytest.mark.current
MUTATIONS = 2000


def mutated(tmp_path, seed):
    """Mutated files, one after the other under the same names; .nii and .nii.gz in turn."""
    write_volume(ct_like((16, 24, 32)), tmp_path / "v.nii")
    intact = (tmp_path / "v.nii").read_bytes()
    rng = np.random.default_rng(seed)
    for index in range(MUTATIONS):
        raw = bytearray(intact)
        for _ in range(rng.integers(1, 4)):
            raw[rng.integers(352)] = rng.integers(256)
        path = tmp_path / ("v.nii", "m.nii.gz")[index % 2]
        path.write_bytes(gzip.compress(raw, 1) if index % 2 else raw)
        yield path, bytes(raw[:348])


def agrees(volume, header):
    """Whether a volume is what nibabel reads out of the raw header."""
    header = nibabel.Nifti1Header(header, check=False)
    if header["pixdim"][0] == 0:
        header["pixdim"][0] = 1
    sizes = [int(size) for size in header["dim"][1 : header["dim"][0] + 1]]
    shape = tuple(sizes[2::-1]) + tuple(size for size in sizes[3:] if size != 1)
    scaled = header.get_slope_inter() not in ((None, None), (1.0, 0.0))
    dtype = np.dtype("f4") if scaled else header.get_data_dtype().newbyteorder("=")
    return (volume.array.shape == shape and volume.array.dtype == dtype and np.isfinite(volume.affine).all()
            and np.isfinite(np.linalg.inv(volume.affine)).all()
            and np.allclose(volume.affine, header.get_best_affine()))  # fmt: skip


def test_two_thousand_mutated_headers(tmp_path):
    read = 0
    for path, header in mutated(tmp_path, seed=5):
        try:
            volume = read_volume(path)
        except ImageIntegrityError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
            continue
        read += 1
        assert agrees(volume, header)
        told = read_geometry(path)
        assert (told.shape, told.dtype) == (volume.array.shape, volume.array.dtype)
    assert 0 < read < MUTATIONS


def test_mutated_headers_cost_neither_time_nor_memory(tmp_path):
    """Measured in a process of its own: at most 200 MB beyond what the imports take, and no file hangs."""
    program = """
import json, pathlib, resource, sys, time
from tests.io.test_io_header_fuzz import mutated
from tfmed.io import ImageIntegrityError, read_volume
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, slowest = peak(), 0.0
for path, _ in mutated(pathlib.Path(sys.argv[1]), seed=6):
    start = time.process_time()
    try:
        read_volume(path)
    except ImageIntegrityError:
        pass
    slowest = max(slowest, time.process_time() - start)
print(json.dumps({"grown": peak() - before, "slowest": slowest}))
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    print(figures)
    assert figures["grown"] < 200


def test_reading_needs_no_tensorflow():
    program = "import sys, tfmed.io; raise SystemExit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
