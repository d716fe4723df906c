"""tfmed compare: runs in processes of their own, done once; tables by hand; what is refused before any training."""

import json
import logging
import subprocess
import sys

import numpy as np
import pandas
import pytest
from scipy.stats import wilcoxon

import tfmed
from tests.support.harness import REPOSITORY
from tfmed import cli, compare, registry
from tfmed.engine import study
from tfmed.engine.study import Comparison
from tfmed.errors import RunError, UserError

CONFIGS = [str(REPOSITORY / "configs" / "equireg" / name) for name in ("supervised.yaml", "lambda_10.yaml")]
TINY = (
    "data.options={cases: 7, shape: [8, 32, 32]}",
    "data.split={validation: 0.15, test: 0.3, seed: 0}",
    "data.labelled_share=1.0",
    "data.preprocess=[{step: zscore, nonzero: true}]",
    "train.steps=2",
    "train.batch_size=4",
    "train.early_stopping=null",
    "train.tensorboard=false",
    "model.patch=[16, 16]",
    "model.network={name: unet, widths: [4, 8]}",
)


def done(found, tables):
    """A Comparison, its runs pretended to be done; `tables` gives the rows of cases of a name and a Repeat."""
    for name, repeat in found.settings:
        folder = found.folder(name, repeat)
        folder.mkdir(parents=True)
        pandas.DataFrame(tables(name, repeat)).to_csv(folder / "cases.csv", index=False)
        (folder / "scored.json").write_text(json.dumps(found._wanted(name, repeat)), encoding="utf-8")
    return found


def pretended(tmp_path, tables):
    """A Comparison whose runs are done; `tables` gives the rows of cases of a name and a seed."""
    found = Comparison(CONFIGS, tmp_path / "out", (0, 1), TINY)
    return done(found, lambda name, repeat: tables(name, repeat.seed))


def test_folds_test_every_case_once_for_each_seed(tmp_path):
    tested = {}

    def of_fold(name, repeat):
        cases = [case.id for case in method(found.settings[name, repeat]).cases["test"]]
        tested.setdefault((name, repeat.seed), []).extend(cases)
        dice = [0.5 + 0.1 * repeat.fold + (name == "lambda_10") * 0.01] * len(cases)
        return {"run": "x", "case": cases, "region": "whole", "Dice": dice}

    def method(settings):
        return registry.method_class(settings.method)(settings)

    words = [word for word in TINY if not word.startswith("data.split")] + ["data.split.validation=0.15"]
    found = Comparison(CONFIGS, tmp_path / "out", (0, 1), words, folds=3)
    done(found, of_fold)
    everybody = sorted(case.id for part in method(next(iter(found.settings.values()))).cases.values() for case in part)
    assert len(everybody) == 7 and all(sorted(cases) == everybody for cases in tested.values()) and len(tested) == 4
    ours, theirs = found.table()
    assert (ours["seeds"], ours["folds"], ours["cases"]) == (2, 3, 7)
    assert ours["Dice mean"] == pytest.approx(0.6) and theirs["Dice mean"] == pytest.approx(0.61)
    assert ours["Dice std"] == pytest.approx(np.std([0.5, 0.6, 0.7] * 2, ddof=1))
    assert str(next(iter(found.repeats))) == "seed 0, fold 0" and (tmp_path / "out/supervised/seed-1-fold-2").is_dir()


def scores(name, seed):
    draw = np.random.default_rng([len(name), seed])
    dice = draw.uniform(0.4, 0.9, 8)
    distance = np.where(np.arange(8) == 3, np.inf, draw.uniform(1, 9, 8))
    both = {"run": f"seed-{seed}", "case": [f"c{i}" for i in range(8)], "region": "whole", "Dice": dice}
    return both | {"HD95 mm": distance}


def test_the_table_is_what_the_runs_say(tmp_path):
    rows = pretended(tmp_path, scores).table()
    assert [(row["method"], row["region"], row["seeds"], row["cases"]) for row in rows] == [
        ("supervised", "whole", 2, 8),
        ("lambda_10", "whole", 2, 8),
    ]
    dice = {name: np.array([scores(name, seed)["Dice"] for seed in (0, 1)]) for name in ("supervised", "lambda_10")}
    for row in rows:
        means = dice[row["method"]].mean(1)
        assert row["Dice mean"] == pytest.approx(means.mean()) and row["Dice std"] == pytest.approx(means.std(ddof=1))
        assert np.isfinite(row["HD95 mm mean"])
    expected = wilcoxon(dice["lambda_10"].mean(0) - dice["supervised"].mean(0)).pvalue
    assert rows[0]["p (Wilcoxon, Dice)"] == "" and rows[1]["p (Wilcoxon, Dice)"] == pytest.approx(expected)


def test_the_table_says_how_much_of_the_gap_to_all_labels_is_closed(tmp_path):
    means = {"supervised": (0.5, 0.6), "lambda_10": (0.6, 0.7), "supervised_100": (0.9, 0.8)}
    configs = [*CONFIGS, str(REPOSITORY / "configs" / "equireg" / "supervised_100.yaml")]

    def of_seed(name, repeat):
        return {"run": "x", "case": ["a", "b"], "region": "whole", "Dice": [means[name][repeat.seed]] * 2}

    found = Comparison(configs, tmp_path / "out", (0, 1), TINY, bridge="supervised_100")
    ours = {row["method"]: row for row in done(found, of_seed).table()}
    assert ours["lambda_10"]["bridging (Dice)"] == pytest.approx((0.65 - 0.55) / (0.85 - 0.55))
    low, high = map(float, ours["lambda_10"]["bridging, 95 % interval"].split(" - "))
    assert low <= 0.33 <= high and low < high
    assert ours["supervised"]["bridging (Dice)"] == ours["supervised_100"]["bridging (Dice)"] == ""
    assert "bridging (Dice)" not in Comparison(configs, tmp_path / "out", (0, 1), TINY).table()[0]
    for wrong in ("supervised", "supervised_1"):
        with pytest.raises(UserError, match="name one of them"):
            Comparison(configs, tmp_path / "out", (0, 1), TINY, bridge=wrong)


def test_methods_without_cases_are_compared_by_their_tables(tmp_path):
    def table(name, seed):
        return {"run": ["seed"] * 2, "model": ["real", "generated"], "distance": [1.0, 2.0 + seed + len(name)]}

    rows = pretended(tmp_path, table).table()
    assert [(row["method"], row["model"], row["distance mean"]) for row in rows] == [
        ("supervised", "real", 1.0), ("supervised", "generated", 12.5),
        ("lambda_10", "real", 1.0), ("lambda_10", "generated", 11.5),
    ]  # fmt: skip


@pytest.mark.parametrize("level, wanted", [(logging.WARNING, ["-q"]), (logging.INFO, []), (logging.DEBUG, ["-v"])])
def test_runs_say_as_much_as_the_comparison(level, wanted, monkeypatch):
    class Process:
        def __init__(self, words, **_):
            self.words = words

        def wait(self):
            said.append(self.words[4:])
            return 0

    said = []
    monkeypatch.setattr(study.subprocess, "Popen", Process)
    monkeypatch.setattr(study.log, "level", level)
    study._process("fit", "a.yaml")
    assert said == [wanted]


def test_a_changed_setting_is_scored_anew(tmp_path):
    found = pretended(tmp_path, scores)
    assert found.scored() == list(found.settings)
    assert Comparison(CONFIGS, tmp_path / "out", (0, 1), (*TINY, "train.steps=3")).scored() == []
    assert Comparison(CONFIGS, tmp_path / "out", (0, 1), TINY, part="validation").scored() == []
    assert Comparison(CONFIGS, tmp_path / "out", (0, 1, 2), TINY).scored() == found.scored()


def test_what_is_refused_before_any_training(tmp_path):
    with pytest.raises(RunError, match=r"lambda_10.yaml: its 1 test cases are not the 2 of .*supervised.yaml"):
        other = tmp_path / "lambda_10.yaml"
        other.write_text(f"base: {CONFIGS[1]}\ndata: {{split: {{test: 0.1}}}}\n", encoding="utf-8")
        few = [word for word in TINY if not word.startswith("data.split")]
        first = tmp_path / "supervised.yaml"
        first.write_text(f"base: {CONFIGS[0]}\ndata: {{split: {{test: 0.3}}}}\n", encoding="utf-8")
        Comparison([first, other], tmp_path / "out", (0,), few)
    with pytest.raises(UserError, match="stands twice"):
        Comparison([CONFIGS[0], CONFIGS[0]], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words, message", [
    ([CONFIGS[0], "--out", "x"], "two settings files, or one and --folds, got 1"),
    ([*CONFIGS, "--out", "x", "--seeds", "0"], "0 is less than 1"),
    ([CONFIGS[0], "nowhere.yaml", "--out", "x"], "nowhere.yaml: no such settings file"),
    ([*CONFIGS, "--out", "x", "train.stepz=3"], "did you mean 'steps'"),
])  # fmt: skip
def test_wrong_words_are_one_line(words, message, capsys):
    assert cli.run(compare.main, words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.long
def test_runs_are_done_once_and_one_that_fails_leaves_the_others(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text(f"base: {CONFIGS[1]}\nmodel: {{learning_rate: 1.0e+30}}\n", encoding="utf-8")
    words = [sys.executable, "-m", "tfmed.compare", CONFIGS[0], str(bad), "--out", "out", "--seeds", "1", *TINY]
    first = subprocess.run(words, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=300)
    assert first.returncode == 2 and "Traceback" not in first.stderr
    last = first.stderr.strip().splitlines()[-1]
    assert last.startswith("tfmed: 1 of 2 runs failed (bad, seed 0: exit status 2") and "NaN" in first.stderr
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "bad, seed 0" in report and report.count("data:image/png") == 2 and 'src="http' not in report
    rows = pandas.read_csv(tmp_path / "out" / "comparison.csv")
    assert set(rows["method"]) == {"supervised"} and set(rows["region"]) == {"whole", "core", "enhancing"}
    written = (tmp_path / "out" / "supervised" / "seed-0" / "cases.csv").stat().st_mtime_ns
    again = tfmed.compare(CONFIGS[:1], tmp_path / "out", seeds=1, overrides=TINY)
    assert [row["region"] for row in again] == rows["region"].tolist()
    assert (tmp_path / "out" / "supervised" / "seed-0" / "cases.csv").stat().st_mtime_ns == written


def test_what_failed_is_tried_again_and_what_is_done_is_not(monkeypatch, tmp_path):
    found = Comparison(CONFIGS, tmp_path / "out", (0,), TINY)
    monkeypatch.setattr(study.sys, "executable", "/bin/false")
    for _ in range(2):
        assert len(found.train_and_score()) == 2
    done(found, lambda name, repeat: scores(name, repeat.seed))
    (found.folder(*list(found.settings)[1]) / "scored.json").unlink()
    assert found.train_and_score() == ["lambda_10, seed 0: exit status 1, see above"]


def test_a_signal_in_a_run_breaks_the_comparison_off(monkeypatch, tmp_path):
    found = Comparison(CONFIGS, tmp_path / "out", (0,), TINY)
    # A process that a signal ended, in place of a training of minutes.
    monkeypatch.setattr(study.sys, "executable", "/bin/false")
    assert found.train_and_score() == [f"{name}, seed 0: exit status 1, see above" for name, _ in found.settings]
    script = tmp_path / "killed"
    script.write_text("#!/bin/sh\nkill -TERM $$\n", encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setattr(study.sys, "executable", str(script))
    with pytest.raises(KeyboardInterrupt):
        found.train_and_score()
