"""`make release-check` says what is wrong, and never passes in silence what it could not try."""

import importlib.util
import pathlib

import pytest

pytestmark = pytest.mark.one_stack
FILE = pathlib.Path(__file__).parents[1] / ".ci" / "release_check.py"
if not FILE.is_file():
    pytest.skip("a source distribution has no .ci/", allow_module_level=True)


@pytest.fixture
def check(tmp_path, monkeypatch):
    """The script, as of a checkout of version 1.2.0 whose changelog is `tmp_path/CHANGELOG.md`."""
    spec = importlib.util.spec_from_file_location("release_check", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "tfmed").mkdir()
    (tmp_path / "tfmed" / "startup.py").write_text('VERSION = "1.2.0"\n', encoding="utf-8")
    (tmp_path / "CHANGELOG.md").write_text("# Changes\n\n## 1.2.0\n\n- This.\n", encoding="utf-8")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module


def test_a_release_that_names_itself(check):
    assert check.said_of_itself(None) == check.said_of_itself("v1.2.0") == []


@pytest.mark.parametrize(
    "changes, tag, words",
    [
        ("## 1.1.0\n\n- That.\n", None, "begins with '1.1.0'"),
        ("## Unreleased\n\n- This.\n", "v1.2.0", "has to name itself"),
        ("## 1.2.0\n\n## 1.1.0\n\n- That.\n", None, "says of no change"),
        ("## 1.2.0\n\n- This.\n", "v1.3.0", "tag v1.3.0"),
        ("", None, "begins with ''"),
    ],
)
def test_what_does_not_fit(check, tmp_path, changes, tag, words):
    (tmp_path / "CHANGELOG.md").write_text(f"# Changes\n\n{changes}", encoding="utf-8")
    assert any(words in problem for problem in check.said_of_itself(tag))


def test_an_odd_version(check, tmp_path):
    (tmp_path / "tfmed" / "startup.py").write_text('VERSION = "next"\n', encoding="utf-8")
    assert "not of the form" in check.said_of_itself(None)[0]


def test_a_python_that_is_not_there_is_not_passed(check, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(check, "build", lambda folder, kinds: dict.fromkeys(kinds, folder))
    assert check.main(["--pythons", "3.12", "--kinds", "wheel"]) == 1
    out = capsys.readouterr().out
    assert "no python3.12 on this machine" in out and "0 of 1 passed; 3.12 wheel not checked" in out


def test_what_fails_is_said(check, tmp_path, monkeypatch):
    """By a Python that makes no environments."""
    python = tmp_path / "python3.12"
    python.write_text('#!/bin/sh\n[ "$1" = -c ] && echo 3.12 && exit 0\necho no room >&2\nexit 3\n', encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    status, said = check.outcome("3.12", tmp_path / "tfmed.whl", tmp_path / "work")
    assert status == "failed" and "exit status 3" in said and "no room" in said and not (tmp_path / "work").exists()
