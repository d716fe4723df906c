"""What is wrong is told in one line, with exit status 2."""

from tfmed import cli
from tfmed import fit as fit_verb


def one_line(error, *words):
    """The one line of an error that is tfmed's; it holds all of the words, and no traceback stands around it."""
    lines = [line for line in error.splitlines() if line.startswith("tfmed: ")]
    assert len(lines) == 1 and "Traceback" not in error, error
    for word in words:
        assert str(word) in lines[0], lines[0]
    return lines[0]


def refused(capsys, main, argv, *words):
    """The line with which a verb's `main` refuses its words."""
    capsys.readouterr()
    status = cli.run(main, [str(word) for word in argv])
    error = capsys.readouterr().err
    assert status == 2, error
    return one_line(error, *words)


def refused_fit(capsys, folder, config, tiny, overrides, *words):
    """The line with which `tfmed fit` refuses settings: a config, what makes its run tiny, and what is wrong in it."""
    given = [config, "--run-dir", folder / "run", *tiny, "train.steps=1", *overrides]
    return refused(capsys, fit_verb.main, given, *words)
