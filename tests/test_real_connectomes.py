"""Connectomes of people: read or refused as they are stored, and a BrainNetGAN trained on two data sets of them."""

import numpy as np
import pytest

from benchmarks.peers import graph_measures as peers
from tests.methods.test_brainnetgan import TINY
from tfmed import cli, fit, sample
from tfmed.data import connectomes, sources
from tfmed.errors import DataError
from tfmed.io.connectome import read_connectome
from tfmed.metrics import graph

pytestmark = [pytest.mark.realdata]


@pytest.fixture
def stored(real_data):
    """`stored(name, file)`: the arrays of a data set."""

    def load(name, file):
        if not (real_data / name).is_dir():
            pytest.skip(f"{name} is not among the real data sets beside this checkout")
        return np.load(real_data / name / file, allow_pickle=False)

    return load


def cases_of(matrices, folder, name="people"):
    """Cases of matrices written as files."""
    (folder / name).mkdir(parents=True)
    for number, matrix in enumerate(matrices):
        np.save(folder / name / f"{number}.npy", matrix)
    return sources.open("connectome_folder", str(folder))


def test_one_triangle_of_231_regions(stored, tmp_path):
    """As stored, each connection stands in the upper triangle; the refusal says how to use it."""
    matrices = stored("connectomes_hcp", "sc_train.npz")["sc"][:2]
    cases = cases_of(matrices, tmp_path)
    with pytest.raises(DataError, match=r"not symmetric .* set model.one_triangle: true"):
        connectomes.checked(cases[0])
    found = connectomes.read_all(cases, ["people"], one_triangle=True, log_counts=True).matrices
    assert found.shape == (2, 231, 231) and found.max() == 1
    upper = np.log1p(np.triu(matrices[0], 1).astype(float))
    np.testing.assert_allclose(found[0], (upper + upper.T) / upper.max(), rtol=1e-6)
    ours = graph.global_efficiency(found[:1])[0]
    assert ours == pytest.approx(peers.networkx_global(found[0]), rel=1e-5)


def test_correlations_are_no_connections(stored, tmp_path):
    with pytest.raises(DataError, match="entries are negative; give counts or other strengths from 0"):
        connectomes.checked(cases_of(stored("connectomes_sc_fc", "sc_fc_train.npz")["fc"][:1], tmp_path)[0])


def test_trained_on_two_data_sets_of_94_regions(stored, tmp_path):
    """Data set by data set as classes; one of them stores connections of both directions, which add up."""
    arrays = stored("connectomes_sc_fc", "sc_fc_train.npz")
    data, run = tmp_path / "data", tmp_path / "run"
    for name in ("hcp", "gw"):
        cases_of(arrays["sc"][arrays["dataset"] == name], data, name)
    words = [*TINY[1:], "data.source=connectome_folder", f"data.root={data}", "data.options={}", "train.steps=2",
             "model.classes=[hcp, gw]", "model.regions=94", "model.one_triangle=true", "model.log_counts=true",
             "data.split={folds: null, validation: 0, test: 0.25}", "train.tensorboard=false"]  # fmt: skip
    assert cli.run(fit.main, ["configs/brainnetgan.yaml", *words, "--run-dir", str(run)]) == 0
    assert cli.run(sample.main, [str(run), "-n", "2", "--out", str(tmp_path / "made")]) == 0
    made = [read_connectome(path) for path in sorted((tmp_path / "made").rglob("*.csv"))]
    assert len(made) == 2
    for matrix in made:
        assert matrix.shape == (94, 94) and (matrix == matrix.T).all() and not np.diag(matrix).any()
        assert matrix.min() >= 0
