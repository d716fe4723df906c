"""The command line: verbs, help, errors as one line, exit status."""

import inspect
import os
import shutil
import subprocess
import sys
import warnings

import pytest

import tfmed
from tfmed import cli, completion, registry
from tfmed.errors import UserError

pytestmark = pytest.mark.current


@pytest.fixture
def tfmed_command(monkeypatch, capsys):
    """Run `tfmed ...` in this process: (exit status, stdout, stderr)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["tfmed", *map(str, words)])
        try:
            status = cli.console_script()
        except SystemExit as stop:
            status = stop.code or 0
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def assert_refused(answer, *words):
    """Exit status 2, nothing on stdout, one line on stderr."""
    status, out, err = answer
    assert (status, out) == (2, "")
    assert err.startswith("tfmed: ") and err.endswith("\n") and err.count("\n") == 1
    for word in words:
        assert word in err


def test_without_a_verb(tfmed_command):
    status, out, _ = tfmed_command()
    assert status == 2 and all(verb in out for verb in cli.VERBS)


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(tfmed_command, flag):
    status, out, err = tfmed_command(flag)
    assert (status, err) == (0, "") and all(verb in out for verb in cli.VERBS)


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_of_each_verb(tfmed_command, verb):
    status, out, err = tfmed_command(verb, "--help")
    assert (status, err) == (0, "") and f"usage: tfmed {verb}" in out


@pytest.mark.parametrize("verb, fix", [
    ("fti", "did you mean 'fit'?"), ("evalute", "did you mean 'evaluate'?"), ("catalogue", "did you mean 'catalog'?"),
    ("zzz", "known: annotate, catalog"), ("", "known: "), ("../fit", "no verb '../fit'"),
])  # fmt: skip
def test_unknown_verb(tfmed_command, verb, fix):
    assert_refused(tfmed_command(verb), f"no verb {verb!r}", fix)


@pytest.mark.parametrize("words, fix", [
    (["fit"], "required: config; see 'tfmed fit --help'"),
    (["fit", "a.yaml", "--frofile", "x"], "--frofile"),
    (["sample", "run"], "--out; see 'tfmed sample --help'"),
    (["sample", "run", "--out", "x", "-n", "many"], "'many' is no whole number; see 'tfmed sample --help'"),
    (["sample", "run", "--out", "x", "-n", "1" * 30], "is more than 2147483647"),
    (["sample", "run", "--out", "x", "--seed", "9" * 300], "is more than 2147483647"),
    (["compare", "a", "b", "--out", "x", "--seeds", "1000000"], "is more than 10000"),
    (["interpolate", "run", "1", "2", "--out", "x", "--psi", "nan"], "'nan' is no number between"),
    (["mix", "run", "--rows", "1", "--columns", "2", "--out", "x", "--psi", "inf"], "'inf' is no number between"),
    (["fit", "scans\udcff.yaml"], "is not UTF-8"),
    (["fit", "~nobody-here/a.yaml"], "there is no such user"),
    (["predict", "run"], "see 'tfmed predict --help'"),
    (["compare"], "see 'tfmed compare --help'"),
    (["export"], "see 'tfmed export --help'"),
    (["prepare"], "see 'tfmed prepare --help'"),
    (["catalog", "more"], "unrecognized arguments: more; see 'tfmed catalog --help'"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")  # fmt: skip
def test_wrong_usage(tfmed_command, words, fix):
    assert_refused(tfmed_command(*words), fix)


@pytest.mark.parametrize("verb", ["fit", "prepare"])
def test_settings_that_cannot_be_used(tfmed_command, verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_refused(tfmed_command(verb, "absent.yaml"), "absent.yaml: no such settings file")
    assert_refused(tfmed_command(verb, "configs/ctsgan.yaml", "train.stepz=3"), "did you mean 'steps'?")
    assert_refused(tfmed_command(verb, "configs/ctsgan.yaml", "--profile", "dmeo"), "did you mean 'demo'?")
    assert_refused(tfmed_command(verb, "configs/ctsgan.yaml", "data.source=nifti_foldr"), "nifti_foldr")
    assert_refused(tfmed_command(verb, "configs/ctsgan.yaml", "data.source=nifti_folder", "data.root=gone"), "gone: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [
    ["evaluate", "RUN"], ["sample", "RUN", "--out", "x"], ["export", "RUN"], ["predict", "RUN", "x.nii", "--out", "x"],
], ids=lambda words: words[0])  # fmt: skip
def test_a_run_that_is_not_there(tfmed_command, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_refused(tfmed_command(*words), "RUN: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options, name", [(["-n", "0"], "--count"),
                                           (["--seed", "-1"], "--seed")], ids=lambda v: v[0])  # fmt: skip
def test_numbers_out_of_range(tfmed_command, options, name):
    assert_refused(tfmed_command("sample", "RUN", "--out", "x", *options), f"{name}: ")


# --- what becomes of errors -------------------------------------------------------------------------------------------


def raising(error):
    def main(argv):
        raise error

    return main


@pytest.mark.parametrize("error, status, line", [
    (UserError("a: wrong;\n  fix it"), 2, "tfmed: a: wrong; fix it\n"),
    (KeyboardInterrupt(), 130, "tfmed: interrupted; repeat the command\n"),
    (MemoryError(), 2, "tfmed: out of memory; lower train.batch_size or the volume's size\n"),
], ids=["user", "interrupt", "memory"])  # fmt: skip
def test_errors_become_one_line_and_a_status(capsys, error, status, line):
    assert cli.run(raising(error), []) == status
    assert capsys.readouterr() == ("", line)


def test_a_defect_of_ours_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        cli.run(raising(ZeroDivisionError()), [])


def test_a_warning_about_a_file_is_one_line(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # put back afterwards
    for _ in range(2):
        cli.run(lambda argv: None, [])
    assert (
        warnings.formatwarning("x.dcm: left\nout", UserWarning, cli.__file__, 7) == "tfmed: warning: x.dcm: left out\n"
    )
    assert "elsewhere.py:7: UserWarning" in warnings.formatwarning("x", UserWarning, "elsewhere.py", 7)


def test_statuses_pass_through():
    assert cli.run(lambda argv: None, []) == 0
    assert cli.run(lambda argv: 143, []) == 143
    assert cli.run(lambda argv: len(argv), ["a", "b"]) == 2


# --- real processes ---------------------------------------------------------------------------------------------------


def python(*words, **environment):
    return subprocess.run(
        [sys.executable, *words], capture_output=True, encoding="utf-8", timeout=120, env=os.environ | environment
    )


def test_both_ways_to_call_a_verb():
    one, other = python("-m", "tfmed", "catalog"), python("-m", "tfmed.catalog")
    assert (one.returncode, other.returncode) == (0, 0)
    assert one.stdout == other.stdout and "ctsgan" in one.stdout
    assert "tensorflow" not in one.stderr.lower()


def test_a_terminal_that_knows_ascii_alone():
    """What it cannot show becomes a question mark; the command itself goes on."""
    shown = python("-m", "tfmed.catalog", PYTHONIOENCODING="ascii")
    assert shown.returncode == 0 and "ctsgan" in shown.stdout and "?" in shown.stdout, shown.stderr


def test_errors_of_a_process_have_no_traceback():
    for words in (("-m", "tfmed", "ft"), ("-m", "tfmed.catalog", "--zzz")):
        assert_refused((lambda r: (r.returncode, r.stdout, r.stderr))(python(*words)))


# --- from Python ------------------------------------------------------------------------------------------------------


def test_thirty_methods_in_the_catalogue():
    rows = tfmed.catalog()
    assert len(rows) == 30 and len({row.name for row in rows}) == 30
    for row in rows:
        assert row.name.isidentifier() and row.title and row.task and row.paper
        assert row.status in ("ready", "planned")
    assert registry.info("ctsgan").status == "ready"
    rows += registry.experiments()
    assert registry.names() == [row.name for row in rows if row.status == "ready"]


@pytest.mark.parametrize("verb", cli.VERBS)
def test_verbs_are_reached_through_the_package(verb):
    module = getattr(tfmed, verb)
    assert inspect.ismodule(module) and callable(module.main)
    assert module.__doc__.startswith(f"python -m tfmed.{verb}")


@pytest.mark.parametrize("verb, parameters", [
    ("fit", ["config", "run_dir", "resume", "overrides", "profile"]), ("catalog", []),
])  # fmt: skip
def test_the_verbs_of_the_api_are_callable_modules(verb, parameters):
    module = getattr(tfmed, verb)
    assert callable(module)
    assert list(inspect.signature(module).parameters) == parameters
    call = type(module).__call__
    assert call.__doc__ and "\n" in call.__doc__ if verb == "fit" else call.__doc__


def test_an_unknown_name_of_the_package():
    with pytest.raises(AttributeError, match="has no attribute 'fitt'"):
        tfmed.fitt  # noqa: B018


@pytest.mark.parametrize("word, wanted", [
    ("~/run", "HOME/run"), ("--out=~/x", "--out=HOME/x"), ("t1=~/a.nii,t2=~/b.nii", "t1=HOME/a.nii,t2=HOME/b.nii"),
    ("~", "HOME"), ("--features=savedmodel:~/net", "--features=savedmodel:HOME/net"), ("./~/x", "./~/x"),
    ("data.root=~", "data.root=~"), ("a~b/c", "a~b/c"), ("x.h5::image", "x.h5::image"),
])  # fmt: skip
def test_home_folder_where_the_shell_leaves_it(word, wanted, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    seen = []
    assert cli.run(seen.extend, [word]) == 0
    assert seen == [wanted.replace("HOME", str(tmp_path))]


@pytest.mark.parametrize("error, said", [
    (PermissionError(13, "Permission denied", "a/b"), "tfmed: a/b: Permission denied; check the path"),
    (OSError(36, "File name too long", "xxx"), "tfmed: xxx: File name too long"),
    (MemoryError(), "out of memory"),
])  # fmt: skip
def test_what_the_system_refuses_is_one_line(error, said, capsys):
    def main(words):
        raise error

    assert cli.run(main, []) == 2
    shown = capsys.readouterr().err
    assert said in shown and shown.count("\n") == 1


def test_errors_of_ours_are_not_hidden():
    def main(words):
        raise OSError("no file was named")

    with pytest.raises(OSError, match="no file"):
        cli.run(main, [])


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_every_verb_and_option(shell, capsys):
    assert cli.run(completion.main, [shell]) == 0
    script = capsys.readouterr().out
    assert all(verb in script for verb in cli.VERBS) and "--run-dir" in script and "--folds" in script
    assert (
        subprocess.run([shell, "-n"], input=script, encoding="utf-8", check=False).returncode == 0
        if (shutil.which(shell))
        else "_tfmed" in script
    )


def test_bash_completes_a_verb_and_an_option(tmp_path):
    script = subprocess.run(
        [sys.executable, "-m", "tfmed.completion", "bash"], capture_output=True, encoding="utf-8", check=True
    ).stdout
    asked = """
COMP_WORDS=(tfmed {words}); COMP_CWORD={last}; COMP_LINE="tfmed {words}"; COMP_POINT=${{#COMP_LINE}}
$(complete -p tfmed | sed 's/.*-F \\([^ ]*\\).*/\\1/') tfmed; echo "${{COMPREPLY[@]}}"
"""
    for words, last, wanted in (("pre", 1, {"predict", "prepare"}), ("compare --fo", 2, {"--folds"})):
        said = subprocess.run(["bash", "-c", script + asked.format(words=words, last=last)], capture_output=True,
                              encoding="utf-8", check=True)  # fmt: skip
        assert wanted <= set(said.stdout.split()), said
