"""Losses also go to MLflow and Weights & Biases: for real, in their offline modes."""

import struct
import sys

import pytest

from tests.support import toy
from tests.support.own_run import SETTINGS
from tfmed import cli, fit
from tfmed.engine import lifecycle, loggers

pytestmark = pytest.mark.current


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    found = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return found


def test_mlflow_has_what_the_table_has(mlflow, tmp_path):
    """Also after a resume, in the same run."""
    words = (*SETTINGS, "train.loggers=[mlflow]")
    run = lifecycle.fit(toy.settings(*words, "train.steps=2"), tmp_path / "run")
    lifecycle.fit(toy.settings(*words, "train.steps=4"), tmp_path / "run", resume=True)
    client = mlflow.MlflowClient()
    (found,) = client.search_runs([client.get_experiment_by_name("tfmed").experiment_id])
    assert found.info.run_name == "run" and found.info.status == "FINISHED"
    assert found.data.params["train.batch_size"] == str(run.settings.train.batch_size)
    table = run.metrics()
    for name in table.columns[3:]:
        rows = table[(table["split"] == "train") & table[name].notna()]
        history = {one.step: one.value for one in client.get_metric_history(found.info.run_id, f"train/{name}")}
        assert history == pytest.approx(dict(zip(rows["step"], rows[name], strict=True))) and len(history) == 4
    assert [file.path for file in client.list_artifacts(found.info.run_id, "previews")]


def test_an_interrupted_run_is_said_to_be(mlflow, tmp_path):
    with loggers.opened(lifecycle.runs.Run(tmp_path, toy.settings("train.loggers=[mlflow]")), {}) as (logger,):
        logger("row", 1, {"loss": 1.0})
    with (
        pytest.raises(KeyboardInterrupt),
        loggers.opened(lifecycle.runs.Run(tmp_path, toy.settings("train.loggers=[mlflow]")), {}) as (logger,),
    ):
        logger("row", 2, {"loss": 1.0})
        raise KeyboardInterrupt
    client = mlflow.MlflowClient()
    (found,) = client.search_runs([client.get_experiment_by_name("tfmed").experiment_id])
    assert found.info.status == "KILLED"


def records(data):
    """The records of a log file in LevelDB's format, which offline files of Weights & Biases have."""
    place, found = 7, b""
    while place + 7 <= len(data):
        left = 2**15 - place % 2**15  # of a block; what is too short for a header is padding
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        if left < 7 or kind == 0:
            place += left
            continue
        found += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield found
            found = b""


def test_weights_and_biases_offline(tmp_path, monkeypatch):
    """What its offline file holds is what was logged."""
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    run = lifecycle.fit(toy.settings(*SETTINGS, "train.loggers=[wandb]"), tmp_path / "run")
    (file,) = (tmp_path / "run").rglob("run-*.wandb")
    logged = {}
    for data in records(file.read_bytes()):
        for item in wandb_internal_pb2.Record.FromString(data).history.item:
            logged.setdefault(item.key or "/".join(item.nested_key), []).append(item.value_json)
    table = run.metrics()
    rows = table[table["split"] == "train"]
    names = [name for name in table.columns[3:] if rows[name].notna().any()]
    assert names
    for name in names:
        assert [float(value) for value in logged[f"train/{name}"]] == pytest.approx(list(rows[name].dropna()))


def test_trouble_there_is_told_once_and_ends_nothing(mlflow, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mlflow.MlflowClient, "log_metric", lambda *_, **__: 1 / 0)
    words = [toy.CONFIG, "--run-dir", str(tmp_path / "run"), *SETTINGS, "train.loggers=[mlflow]"]
    assert cli.run(fit.main, words) == 0
    said = capsys.readouterr().err
    assert said.count("mlflow: division by zero; nothing more is logged there, the training goes on") == 1


def test_a_missing_package_is_told_before_any_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    words = [toy.CONFIG, "--run-dir", str(tmp_path / "run"), *SETTINGS, "train.loggers=[wandb]"]
    assert cli.run(fit.main, words) == 2
    assert "train.loggers: wandb needs a further package; pip install" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
