"""Exports replace what they wrote and nothing else; at no moment neither the old nor the new one is whole."""

import contextlib
import os
import shutil
import threading
import time

import pytest
import tensorflow as tf

from tests.support.alone import in_fresh_process
from tests.support.own_run import SIGNALS, exported, started
from tests.support.refusals import one_line
from tests.test_bad_input import snapshot
from tfmed import cli, export, files

pytestmark = [pytest.mark.current, pytest.mark.usefixtures("nothing_hangs")]


@pytest.mark.parametrize("name", ["prediction.nii.gz", "variables/notes.txt", "assets/mine", "saved_model.pb.bak"])
def test_an_export_does_not_remove_what_a_person_keeps_there(name, run, capsys):
    (run / "export" / name).write_text("mine", encoding="utf-8")
    before = snapshot(run)
    assert exported(run) == 2
    one_line(capsys.readouterr().err, run / "export", name)
    assert snapshot(run) == before


def test_an_export_does_not_replace_the_model_of_another_program(run, capsys):
    other = run.parent / "model"
    tf.saved_model.save(tf.Module(), str(other))
    before = snapshot(other)
    assert cli.run(export.main, [str(run), "--out", str(other)]) == 2
    one_line(capsys.readouterr().err, other, "not a SavedModel of tfmed")
    assert snapshot(other) == before


def test_an_export_renews_its_own_behind_a_link(run):
    shutil.move(run / "export", run.parent / "elsewhere")
    (run / "export").symlink_to(run.parent / "elsewhere")
    before = (run.parent / "elsewhere").stat().st_ino
    assert exported(run) == 0
    assert (run / "export").is_symlink() and (run.parent / "elsewhere").stat().st_ino != before
    assert not list(run.parent.rglob(".tmp-*"))


def test_a_generator_with_random_numbers_is_no_onnx(run, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    assert cli.run(export.main, [str(run), "--format", "onnx", "--out", str(tmp_path / "net.onnx")]) == 2
    one_line(capsys.readouterr().err, "'toy' uses operations that ONNX lacks", "Stateless", "SavedModel")
    assert not (tmp_path / "net.onnx").exists()


def exchanges(folder, count):
    """Put one of two folders in the place of the other again and again."""
    for number in range(count):
        new = folder / f"new{number}"
        new.mkdir()
        (new / "file").write_text("whole", encoding="utf-8")
        files.put_in_place(new, folder / "place", lambda path: files.stranger_in(path, "file"))
        shutil.rmtree(new, ignore_errors=True)


def test_there_is_no_moment_without_a_whole_folder(tmp_path):
    exchanges(tmp_path, 1)
    if not files._exchanged(tmp_path / "place", tmp_path / "place"):
        pytest.skip("this file system does not exchange two folders in one step")
    worker = threading.Thread(target=exchanges, args=(tmp_path, 500))
    worker.start()
    while worker.is_alive():
        assert os.path.exists(tmp_path / "place" / "file")
    worker.join()
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_without_exchange_a_failure_leaves_the_old(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_exchanged", lambda one, other: False)
    exchanges(tmp_path, 3)
    assert (tmp_path / "place" / "file").exists() and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(OSError):
        files.put_in_place(tmp_path / "missing", tmp_path / "place", lambda path: None)
    assert (tmp_path / "place" / "file").exists()


@pytest.mark.long
@pytest.mark.parametrize("signum", SIGNALS)
def test_signals_at_any_moment_of_an_export(signum, run):
    """No traceback, nothing half-written, and the earlier export whole."""
    before = snapshot(run / "export")
    for seconds in (2, 3, 4, 5, 6, 7, 8):
        process = started("export", run)
        time.sleep(seconds)
        process.send_signal(signum)
        _, error = process.communicate(timeout=60)
        assert process.returncode in (0, 128 + signum, -signum)
        assert "Traceback" not in error and "tensorflow" not in error.lower(), error
        assert not list(run.rglob(".tmp-*"))
        assert (run / "export" / "saved_model.pb").exists() and set(snapshot(run / "export")) == set(before)
        with contextlib.suppress(ProcessLookupError):
            process.kill()


def test_exported_models_are_opened_where_there_is_no_tfmed():
    """What the harness's check of exports stands on."""
    assert "ModuleNotFoundError" in in_fresh_process("import tfmed") and "ValueError" in in_fresh_process("int('x')")
    assert in_fresh_process("assert sys.argv[1:] == ['1', 'a']", 1, "a") == ""
