"""A run's own files, damaged, foreign, without rights or half-written: one line, or a word and on; nothing is lost."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

import tfmed
from tests.support import toy
from tests.support.harness import REPOSITORY
from tests.support.own_run import NEWEST, reported, resumed, sampled
from tests.support.refusals import one_line
from tests.test_bad_input import snapshot
from tfmed import cli, files, fit
from tfmed.engine import log, report
from tfmed.engine.checkpoint import Checkpoints
from tfmed.engine.records import Records
from tfmed.engine.split_record import SplitRecord
from tfmed.errors import RunError, UserError
from tfmed.tasks.exported import open_model

pytestmark = [pytest.mark.current, pytest.mark.usefixtures("nothing_hangs")]


# --- what can befall a file ------------------------------------------------------------------------------------------


def written(data):
    return lambda path: path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_zeros(path):
    path.write_bytes(path.read_bytes() + b"\0" * 40)


def instead(make):
    def damage(path):
        path.unlink()
        make(path)

    return damage


def own_folder(path):
    path.mkdir()
    (path / "notes.txt").write_text("mine", encoding="utf-8")


def huge(path):
    os.truncate(path, 1 << 29)  # without a byte on the disk


DAMAGE = {
    "empty": written(b""),
    "a list": written(b"[1, 2]\n"),
    "text": written(b'remember\nthe milk,"\n'),
    "not UTF-8": written(b"\x93\xff\xfe{}\n"),
    "deep": written(b"[" * 100_000),
    "zeros behind it": with_zeros,
    "huge": huge,
    "a folder": instead(own_folder),
    "a FIFO": instead(os.mkfifo),
    "a link to nothing": instead(lambda path: path.symlink_to("nowhere")),
}

# --- who reads it ----------------------------------------------------------------------------------------------------


GOES_ON, REFUSED = 0, 2
FILES = [  # file, who reads it, what comes of it
    (f"{NEWEST}/state.json", sampled, GOES_ON),
    (f"{NEWEST}/variables.index", sampled, GOES_ON),
    ("metrics.csv", resumed, REFUSED),
    ("metrics.csv", reported, GOES_ON),
    ("timing.csv", resumed, GOES_ON),
    ("timing.csv", reported, GOES_ON),
    ("environment.json", reported, GOES_ON),
    ("evaluation.csv", reported, GOES_ON),
    ("previews/volumes-00000002.png", reported, GOES_ON),
    ("split.json", sampled, REFUSED),
    ("config.yaml", resumed, REFUSED),
]
MOST = ("empty", "text", "not UTF-8", "a folder", "a FIFO")  # the others are left to what reads them
CASES = [(*row, kind) for row in FILES for kind in MOST]
RENEWED = {"report.html", "evaluation.csv", "cases.csv", "previews/volumes.png"}


def kept(run, before, *gone):
    """Nothing that lay in a run is lost or other than before, but what is written anew each time."""
    if not before:
        return
    after = snapshot(run)
    names = {name for name in before if str(pathlib.Path(name).relative_to(run)) not in RENEWED | set(gone)}
    assert {name: after.get(name) for name in names} == {name: before[name] for name in names}


@pytest.mark.parametrize(
    ("name", "reader", "outcome", "kind"), CASES, ids=lambda value: getattr(value, "__name__", str(value))
)
def test_damage(name, reader, outcome, kind, run, capsys):
    DAMAGE[kind](run / name)
    before = snapshot(run) if kind != "huge" else {}
    capsys.readouterr()
    assert reader(run) == outcome
    error = capsys.readouterr().err
    assert "Traceback" not in error
    if outcome == REFUSED:
        one_line(error, run)
        kept(run, before)
    elif reader is resumed:
        assert f"{name}.aside" in error and os.path.lexists(run / f"{name}.aside")
        kept(run, before, name, f"{name}/notes.txt")
    else:
        as_it_is = name == "environment.json" and kind in ("empty", "text")
        assert as_it_is or str((run / name).parent if "checkpoints" in name else run / name) in error
        assert os.path.lexists(run / name)
        kept(run, before)


STATES = {  # fields of state.json, and what they become
    "no stage": lambda state: state.pop("stage"),
    "no step": lambda state: state.pop("step"),
    "no variables": lambda state: state.pop("variables"),
    "no best": lambda state: state.pop("best_so_far"),
    "a step in words": lambda state: state.update(step="four"),
    "a step before the first": lambda state: state.update(step=-4),
    "another step": lambda state: state.update(step=5),
    "an endless step": lambda state: state.update(step=float("inf")),
    "a truth as a step": lambda state: state.update(step=True),
    "a stage that is a number": lambda state: state.update(stage=3),
    "half a best": lambda state: state.update(best_so_far={"step": 1}),
    "files as a list": lambda state: state.update(sha256=list(state["sha256"])),
    "no files": lambda state: state.update(sha256={}),
    "files elsewhere": lambda state: state.update(sha256={"../../config.yaml": "0" * 64}),
    "shapes as text": lambda state: state.update(variables="many"),
    "weights as text": lambda state: state.update(weights=["first"]),
    "of another method": lambda state: state.update(method="ctsgan"),
}


@pytest.mark.parametrize("kind", STATES)
def test_a_state_of_another_form_is_skipped_with_a_word(kind, run, caplog, monkeypatch):
    path = run / NEWEST / "state.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    STATES[kind](state)
    path.write_text(json.dumps(state), encoding="utf-8")
    monkeypatch.setattr(files.log, "propagate", True)
    found, state = Checkpoints(run / "checkpoints", method="toy").latest()
    assert found.name == "gan-00000003" and state["step"] == 3
    assert str(run / NEWEST) in caplog.text


ROWS = {  # a row of metrics.csv, and what the line says
    "text for a number": ("gan,2,train,abc,1,1", "2: 'abc' in column 'critic_loss' is no number"),
    "a step in words": ("gan,two,train,1,1,1", "2: its step, 'two', is no whole number"),
    "too few": ("gan,2,train,1", "2: has 4 fields, and there are 6 columns"),
    "too many": ("gan,2,train,1,1,1,1", "2: has 7 fields"),
    "an open quote": ('"gan,2,train,1,1,1', "2: "),
}


@pytest.mark.parametrize("kind", ROWS)
def test_a_damaged_row_is_named(kind, run, capsys):
    row, line = ROWS[kind]
    path = run / "metrics.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([lines[0], row, *lines[2:], ""]), encoding="utf-8")
    before = snapshot(run)
    assert resumed(run) == 2
    one_line(capsys.readouterr().err, f"{path}:{'' if kind == 'an open quote' else line}", "put a copy back")
    kept(run, before)
    with pytest.raises(RunError, match=r"metrics\.csv"):
        tfmed.load_run(run).metrics()


@pytest.mark.parametrize("name", ["metrics.csv", "timing.csv"])
def test_a_missing_column_is_named(name, run, capsys):
    path = run / name
    path.write_text(path.read_text(encoding="utf-8").replace("step", "stp", 1), encoding="utf-8")
    assert resumed(run) == (2 if name == "metrics.csv" else 0)
    assert f"{path}:1: has no column 'step'" in capsys.readouterr().err


READERS = {
    "metrics.csv": log.read_metrics,
    "timing.csv": lambda path: log.Table(path, log.TIMING),
    "previews/volumes.png": report._picture,
    "split.json": lambda path: SplitRecord.read(path.parent),
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("name", READERS)
def test_readers_tell_what_is_wrong(name, kind, run):
    """An error of those that their callers expect, with the file's name; never another, and none waits."""
    if (name, kind) == ("previews/volumes.png", "zeros behind it"):
        return  # a whole picture all the same
    DAMAGE[kind](run / name)
    with pytest.raises((UserError, ValueError, OSError)) as caught:
        READERS[name](run / name)
    assert str(run / name) in str(caught.value)


@pytest.mark.parametrize("kind", DAMAGE)
def test_records(kind, tmp_path):
    records = Records(tmp_path / "records")
    records.recall("white", lambda: 3.5)
    DAMAGE[kind](tmp_path / "records" / "white.json")
    kind_of = lambda value: isinstance(value, float)  # noqa: E731
    if kind == "a link to nothing":
        assert Records(tmp_path / "records").recall("white", lambda: 4.5, kind_of) == 4.5
        return
    with pytest.raises(RunError, match=r"white\.json: is damaged.*; remove it, and --resume decides it again"):
        Records(tmp_path / "records").recall("white", lambda: 4.5, kind_of)


@pytest.mark.parametrize("kind", DAMAGE)
def test_the_note_of_an_export(kind, run):
    DAMAGE[kind](run / "export" / "tfmed.json")
    with pytest.raises(UserError, match=r"tfmed\.json: missing or damaged"):
        open_model(run / "export")


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_a_comparison_has_scored(kind, tmp_path):
    from tests.test_compare import pretended, scores

    found = pretended(tmp_path, scores)
    first, second = list(found.settings)[:2]
    DAMAGE[kind](found.folder(*first) / "scored.json")
    assert found.scored() == list(found.settings)[1:]
    table = found.folder(*second) / "cases.csv"
    DAMAGE[kind](table)
    if kind == "zeros behind it":
        table.write_text(table.read_text(encoding="utf-8").replace("\0", ""), encoding="utf-8")
        text = pathlib.Path(table).read_text(encoding="utf-8")
        table.write_text(text.replace(",0.", ",about 0."), encoding="utf-8")
    with pytest.raises(RunError, match=r"cases\.csv.*remove .*scored\.json, and the same command scores"):
        found.table()


def test_a_comparison_leaves_the_files_of_a_person(tmp_path):
    from tests.test_compare import CONFIGS, TINY
    from tfmed.engine.study import Comparison

    (tmp_path / "cases.csv").write_text("mine", encoding="utf-8")
    with pytest.raises(RunError, match=r"cases\.csv: is of no comparison"):
        Comparison(CONFIGS, tmp_path, (0,), TINY).train_and_score()
    assert (tmp_path / "cases.csv").read_text(encoding="utf-8") == "mine"


# --- what a person keeps in a run ------------------------------------------------------------------------------------


def test_what_a_person_lays_into_a_run_stays(run, capsys):
    """Copies of checkpoints, notes in them, pictures of any name, and names that look like ours."""
    shutil.copytree(run / NEWEST, run / f"{NEWEST}-backup")
    shutil.copytree(run / NEWEST, run / "checkpoints" / "gan-00000099")
    (run / "checkpoints" / "gan-00000002" / "notes.txt").write_text("the good one", encoding="utf-8")
    for name in ("new\nline.png", "holiday-00000002.png", "holiday.png"):
        (run / "previews" / name).write_bytes(b"\x89PNG mine")
    (run / ".tmp-notes").write_text("mine", encoding="utf-8")
    (run / "mine").mkdir()
    (run / "mine" / ".tmp-2024-report.txt").write_text("mine", encoding="utf-8")
    before = snapshot(run)
    assert cli.run(fit.main, [str(run), "--resume", "train.steps=6"]) == 0
    assert "Traceback" not in capsys.readouterr().err
    kept(run, before, "metrics.csv", "timing.csv", "config.yaml",
         *(f"checkpoints/gan-00000003/{name.name}" for name in (run / NEWEST).iterdir()))  # fmt: skip
    assert not (run / "checkpoints" / "gan-00000003").exists()


def test_a_folder_with_the_name_of_a_checkpoint_is_set_aside(run, capsys):
    shutil.rmtree(run / NEWEST)
    own_folder(run / NEWEST)
    assert resumed(run) == 0
    assert f"{NEWEST}.aside" in capsys.readouterr().err
    assert (run / f"{NEWEST}.aside" / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert Checkpoints(run / "checkpoints").latest()[1]["step"] == 4


def test_what_lies_behind_a_damaged_checkpoint_does_not_crowd_out_the_new_ones(run):
    (run / NEWEST / "variables.index").write_bytes(b"")
    os.rename(run / NEWEST, run / "checkpoints" / "gan-00000009")
    state = run / "checkpoints" / "gan-00000009" / "state.json"
    state.write_text(state.read_text(encoding="utf-8").replace('"step": 4', '"step": 9', 1), encoding="utf-8")
    assert cli.run(fit.main, [str(run), "--resume", "train.steps=6", "train.keep_checkpoints=1"]) == 0
    names = {path.name for path in (run / "checkpoints").iterdir()}
    assert names == {"gan-00000006", "gan-00000009"}


def test_checkpoints_that_are_gone_are_no_reason_to_begin_anew(run, capsys):
    shutil.rmtree(run / "checkpoints")
    before = snapshot(run)
    assert resumed(run) == 2
    one_line(capsys.readouterr().err, run / "checkpoints", "put the checkpoints back")
    kept(run, before)
    assert sampled(run) == 2
    one_line(capsys.readouterr().err, run, "no checkpoint")


def test_checkpoints_that_are_all_damaged_are_kept(run, capsys):
    for path in run.glob("checkpoints/*/state.json"):
        path.write_text("{", encoding="utf-8")
    before = snapshot(run)
    assert resumed(run) == 2
    one_line(capsys.readouterr().err, run / "checkpoints", "no whole checkpoint")
    kept(run, before)


CONFIGS = {
    "nonsense": ("remember the milk", "config.yaml"),
    "of another program": ("service: web\nports: [80]\n", "config.yaml"),
    "of another method": (lambda text: text.replace("method: toy", "method: ctsgan"), "config.yaml"),
    "another model": (lambda text: text.replace("units: 3", "units: 5"), "another model"),
    "a learning rate below 0": (lambda text: text.replace("learning_rate: 0.001", "learning_rate: -1"), "config.yaml"),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_an_edited_config(kind, run, capsys):
    change, word = CONFIGS[kind]
    path = run / "config.yaml"
    path.write_text(change if isinstance(change, str) else change(path.read_text(encoding="utf-8")), encoding="utf-8")
    before = snapshot(run)
    assert resumed(run) == 2
    one_line(capsys.readouterr().err, run, word)
    kept(run, before)


@pytest.mark.parametrize("names", [["notes.txt"], ["config.yml", "main.py"], ["environment.json"]], ids=str)
def test_a_folder_of_another_program_is_left_alone(names, tmp_path, capsys):
    for name in names:
        (tmp_path / name).write_text("mine", encoding="utf-8")
    before = snapshot(tmp_path)
    for words in ([toy.CONFIG, "--run-dir", str(tmp_path), "--resume"], [toy.CONFIG, "--run-dir", str(tmp_path)]):
        assert cli.run(fit.main, words) == 2
        one_line(capsys.readouterr().err, tmp_path, "no run", names[0])
    assert snapshot(tmp_path) == before


# --- rights ----------------------------------------------------------------------------------------------------------

RIGHTS = [  # what loses its rights, who meets it
    ("config.yaml", 0, "sample"),
    ("split.json", 0, "sample"),
    ("metrics.csv", 0, "fit"),
    (f"{NEWEST}/state.json", 0, "fit"),
    (f"{NEWEST}/variables.index", 0, "sample"),
    (NEWEST, 0, "sample"),
    ("checkpoints", 0, "fit"),
    ("checkpoints", 0, "sample"),
    ("checkpoints", 0o500, "fit"),
    ("previews", 0o500, "fit"),
    ("previews", 0, "fit"),
    ("tensorboard", 0o500, "fit"),
    ("", 0o500, "fit"),
    ("", 0o500, "evaluate"),
    ("", 0o500, "export"),
    ("", 0, "sample"),
    ("export", 0o300, "export"),
    ("export/variables", 0, "export"),
    ("../out", 0o500, "sample"),
]
_WITHOUT = [
    "setpriv",
    "--bounding-set",
    "-dac_override,-dac_read_search",
    "--inh-caps",
    "-dac_override,-dac_read_search",
]
_CHILD = """
import contextlib, io, json, os, sys
from tests.support import toy
from tfmed import cli, evaluate, export, fit, sample
verbs = {"fit": (fit.main, ["--resume", "train.steps=6", "train.tensorboard=true"]), "sample": (sample.main, ["--out"]),
         "evaluate": (evaluate.main, []), "export": (export.main, [])}
found = []
for run, name, mode, verb in json.loads(sys.argv[1]):
    main, words = verbs[verb]
    place, error = os.path.join(run, name), io.StringIO()
    before = os.stat(place).st_mode
    os.chmod(place, mode)
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
        words = [*words, *([os.path.join(run, "..", "out", "new")] if verb == "sample" else [])]
        try:
            status = cli.run(main, [run, *words])
        except BaseException as caught:
            status = repr(caught)
    os.chmod(place, before)
    found.append([status, error.getvalue()])
print(json.dumps(found))
"""


@pytest.mark.one_stack
def test_rights(unbroken, tmp_path):
    """In one process, which is not almighty even where the tests are."""
    start = _WITHOUT if os.geteuid() == 0 else []
    (tmp_path / "closed").mkdir(mode=0)
    if subprocess.run([*start, "ls", str(tmp_path / "closed")], capture_output=True).returncode == 0 or (
        start and shutil.which("setpriv") is None
    ):
        pytest.skip("this user may read everything, and setpriv cannot take that away")
    cases = []
    for number, (name, mode, verb) in enumerate(RIGHTS):
        run = tmp_path / str(number) / "run"
        shutil.copytree(unbroken.path, run)
        (run / "tensorboard").mkdir()
        (run.parent / "out").mkdir()
        cases.append([str(run), name, mode, verb])
    before = snapshot(tmp_path)
    words = [*start, sys.executable, "-c", _CHILD, json.dumps(cases)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(words, env=environment, cwd=REPOSITORY, capture_output=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    for (run, name, _, _), (status, error) in zip(cases, json.loads(done.stdout.splitlines()[-1]), strict=True):
        assert status == 2, (name, status, error)
        one_line(error, os.path.dirname(run))
    assert snapshot(tmp_path) == before
