"""The verbs on a trained run, as a person calls them."""

import contextlib
import csv
import json
import shutil

import numpy as np
import pytest

import tfmed
from tests.support import toy
from tests.support.view_pages import views_of
from tfmed import catalog, cli, evaluate, export, fit, prepare, sample, view
from tfmed.errors import RunError, UserError
from tfmed.io import read_volume

pytestmark = pytest.mark.current


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run, exported, and one of a smaller network; `said` is what the first one's training printed."""
    folder = tmp_path_factory.mktemp("verbs")
    with open(folder / "said", "w", encoding="utf-8") as out, contextlib.redirect_stdout(out):
        assert cli.run(fit.main, [toy.CONFIG, "--run-dir", str(folder / "ours"), "--export"]) == 0
    assert cli.run(fit.main, [toy.CONFIG, "model.units=1", "--run-dir", str(folder / "small")]) == 0
    return folder


def test_fit_says_where_things_are(runs):
    said = (runs / "said").read_text(encoding="utf-8")
    for name in ("report.html", "previews", "export"):
        assert str(runs / "ours" / name) in said and (runs / "ours" / name).exists()


def test_fit_resumes_from_a_run_directory_alone(runs, tmp_path):
    shutil.copytree(runs / "ours", tmp_path / "run")
    assert cli.run(fit.main, [str(tmp_path / "run"), "--resume", "train.steps=6"]) == 0
    assert tfmed.load_run(tmp_path / "run").metrics()["step"].max() == 6


def test_samples_are_files_in_hu_that_repeat(runs, tmp_path):
    arguments = [str(runs / "ours"), "-n", "2", "--seed", "4"]
    assert cli.run(sample.main, [*arguments, "--out", str(tmp_path / "a")]) == 0
    assert cli.run(sample.main, [*arguments, "--out", str(tmp_path / "b")]) == 0
    assert cli.run(sample.main, [str(runs / "ours"), "--seed", "5", "--out", str(tmp_path / "c")]) == 0
    first, again, other = (read_volume(tmp_path / name / "sample-0000.nii.gz") for name in "abc")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["sample-0000.nii.gz", "sample-0001.nii.gz"]
    assert first.array.dtype == np.int16 and first.array.min() >= -1000 and first.array.max() <= 400
    np.testing.assert_array_equal(first.array, again.array)
    assert (first.array != other.array).any()
    np.testing.assert_allclose(
        np.array(first.spacing) * first.shape, (320, 360, 360), rtol=1e-3
    )  # the phantoms' view, mm


@pytest.mark.parametrize("verb, words, said", [
    (evaluate, ["-n", "many"], "--count: many"), (evaluate, ["-n", "1"], "--count: 1"),
    (evaluate, ["--features", "random:0"], "--features: means nothing for method 'toy'"),
    (evaluate, ["--part", "all"], "--part: all"), (evaluate, ["--seed", "-1"], "--seed: -1"),
    (sample, ["--format", "bmp"], "--format: bmp"), (sample, ["--psi=1"], "--psi: means nothing for method 'toy'"),
])  # fmt: skip
def test_options_are_those_of_the_method(runs, tmp_path, capsys, verb, words, said):
    """In any place among the words, and before any weight is read."""
    out = ["--out", str(tmp_path)] if verb is sample else []
    for order in ([str(runs / "ours"), *words, *out], [*words, str(runs / "ours"), *out]):
        assert cli.run(verb.main, order) == 2
        assert said in capsys.readouterr().err


def test_help_shows_the_options_of_a_run(runs, capsys):
    with pytest.raises(SystemExit):
        cli.run(sample.main, [str(runs / "ours"), "--help"])
    shown = capsys.readouterr().out
    assert "--format" in shown and "--psi" not in shown


def test_evaluation_stands_beside_another_run(runs, capsys):
    arguments = [str(runs / "ours"), "--compare", str(runs / "small"), "-n", "3"]
    assert cli.run(evaluate.main, arguments) == 0
    with open(runs / "ours" / "evaluation.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["source"] for row in rows] == ["ours", "small"] and rows[0]["HU mean"] != rows[1]["HU mean"]
    assert "small" in (runs / "ours" / "report.html").read_text(encoding="utf-8")
    before = (runs / "ours" / "evaluation.csv").read_bytes()
    assert cli.run(evaluate.main, arguments) == 0
    assert (runs / "ours" / "evaluation.csv").read_bytes() == before


def test_export_twice_and_prepare(runs, tmp_path, capsys):
    for _ in range(2):
        assert cli.run(export.main, [str(runs / "ours"), "--out", str(tmp_path / "model")]) == 0
    assert (tmp_path / "model" / "saved_model.pb").exists()
    assert cli.run(prepare.main, [toy.CONFIG]) == 0
    assert "6 cases" in capsys.readouterr().out


def test_verbs_are_functions_too(runs, tmp_path):
    """They write what the commands write, and give back what these print."""
    shutil.copytree(runs / "ours", tmp_path / "run")
    run = tfmed.load_run(tmp_path / "run")
    found = tfmed.evaluate(run, compare=[runs / "small"], count=3)
    assert [row["source"] for row in found["evaluation"]] == ["run", "small"]
    assert run.evaluate(count=3)["evaluation"][0]["HU mean"] == found["evaluation"][0]["HU mean"]
    with open(tmp_path / "run" / "evaluation.csv", newline="", encoding="utf-8") as stream:
        assert [row["source"] for row in csv.DictReader(stream)] == ["run"]
    first, second = tfmed.sample(tmp_path / "run", 2, tmp_path / "samples", seed=4)
    assert [path.name for path in (first, second)] == ["sample-0000.nii.gz", "sample-0001.nii.gz"]
    np.testing.assert_array_equal(read_volume(first).array, next(run.sample(1, seed=4)).array)
    assert tfmed.export(run) == run.path / "export" == run.export()
    with pytest.raises(RunError, match="takes no input volumes; use 'tfmed sample'"):
        tfmed.predict(run, first, tmp_path / "out")
    with pytest.raises(RunError, match="takes no input volumes"):
        run.predict([first], tmp_path / "out")


def test_json_is_one_document(runs, capsys):
    capsys.readouterr()
    assert cli.run(evaluate.main, [str(runs / "ours"), "-n", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["evaluation"][0]["source"] == "ours" and found["report"] == str(runs / "ours" / "report.html")
    assert cli.run(catalog.main, ["--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)[:2]] == ["gbdl", "uss"]
    cli.print_json({"a": [np.float32(0.5), float("nan"), (1, None)], 2: runs})
    assert json.loads(capsys.readouterr().out) == {"a": [0.5, None, [1, None]], "2": str(runs)}


def test_quiet_and_verbose(runs, tmp_path, capsys):
    assert cli.run(fit.main, ["-q", toy.CONFIG, "--run-dir", str(tmp_path / "run")]) == 0
    said = capsys.readouterr()
    assert said.err == "" and "report:" in said.out
    assert cli.run(evaluate.main, ["-v", str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err
    assert "Traceback" in said and said.splitlines()[-1].startswith("tfmed: ")
    assert cli.run(evaluate.main, [str(tmp_path / "none")]) == 2
    assert "Traceback" not in capsys.readouterr().err
    with pytest.raises(UserError, match="not allowed with"):
        cli.parser("fit", "").parse_args(["-q", "-v"])


def test_from_python(runs):
    run = tfmed.load_run(runs / "ours")
    (volume,) = run.sample(1, seed=2)
    assert volume.shape == (8, 8, 8)
    assert list(run.metrics().columns[:3]) == ["stage", "step", "split"]


def test_samples_of_a_generator_are_viewed_beside_those_of_another_run(runs, tmp_path):
    arguments = [str(runs / "ours"), str(runs / "small"), "-n", "2", "--out", str(tmp_path / "page.html")]
    assert cli.run(view.main, arguments) == 0
    shown = views_of(tmp_path / "page.html")
    assert [one["title"] for one in shown] == ["sample 0", "sample 1"]
    assert [panel["title"] for panel in shown[0]["panels"]] == ["ours", "small"]
    assert not (runs / "ours" / "view.html").exists()


def test_runs_that_cannot_be_viewed_are_told(runs, tmp_path, capsys):
    settings = tfmed.load_config("deepmcat")
    (tmp_path / "config.yaml").write_text(json.dumps(settings.model_dump(mode="json")), encoding="utf-8")
    for words, said in (([str(tmp_path)], "no cases to look at"), ([str(runs / "ours"), __file__], "not both"),
                        ([str(runs / "ours"), str(tmp_path)], "like with like")):  # fmt: skip
        assert cli.run(view.main, words) == 2
        line = capsys.readouterr().err
        assert said in line and line.count("\n") == 1
