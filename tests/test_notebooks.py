"""Every notebook runs from top to bottom, in an empty folder, with the packages of the Python that runs the tests."""

import os
import pathlib
import re
import runpy
import subprocess
import sys

import pytest

pytestmark = pytest.mark.current
REPOSITORY = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").rglob("*.ipynb"))


def opened(path):
    nbformat = pytest.importorskip("nbformat", reason="needs the extra 'notebooks' (stack current has it)")
    return nbformat.read(path, as_version=4)


def executed(path, folder, monkeypatch, steps=4):
    """The notebook with its outputs, run in `folder`."""
    nbclient = pytest.importorskip("nbclient", reason="needs the extra 'notebooks' (stack current has it)")
    pytest.importorskip("ipykernel", reason="needs the extra 'notebooks' (stack current has it)")
    notebook = opened(path)
    monkeypatch.setenv("TFMED_NOTEBOOK_STEPS", str(steps))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])))
    monkeypatch.setenv("IPYTHONDIR", str(folder / ".ipython"))
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def printed(notebook):
    """All text that the cells gave."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "".join(o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in outputs)


def pictures(notebook):
    shown = [o.get("data", {}) for cell in notebook.cells for o in cell.get("outputs", ())]
    return sum("image/png" in data or "image/jpeg" in data for data in shown)


def test_there_are_notebooks():
    assert "quickstart.ipynb" in [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_with_what_they_showed(path):
    """Valid, run once from top to bottom, small, and free of the place where that was."""
    notebook = opened(path)
    pytest.importorskip("nbformat").validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(output.get("name") != "stderr" and output.output_type != "error" for c in code for output in c.outputs)
    assert not re.search(r"/(tmp|home|root|work|Users|content)/", printed(notebook))
    assert pictures(notebook) > 0 and path.stat().st_size < 600_000


def test_an_address_is_written_into_every_notebook_and_its_badge(tmp_path, monkeypatch):
    """The same address twice leaves the same file; another one takes the first one's place."""
    pytest.importorskip("nbclient", reason="needs the extra 'notebooks' (stack current has it)")
    monkeypatch.syspath_prepend(REPOSITORY / "docs")
    script = runpy.run_path(str(REPOSITORY / "docs" / "notebooks.py"))
    notebook = opened(REPOSITORY / "notebooks" / "quickstart.ipynb")
    said = []
    for owner in ("someone", "another", "another"):
        script["lead_to"](notebook, f"https://github.com/{owner}/tfmed", "quickstart")
        said.append("\n".join(cell.source for cell in notebook.cells))
    assert said[1] == said[2] and "someone" not in said[1]
    assert 'PACKAGE = "git+https://github.com/another/tfmed"' in said[1]
    title, badge = notebook.cells[0].source.split("\n\n")[:2]
    assert title.startswith("# ")
    assert badge.endswith(
        "(https://colab.research.google.com/github/another/tfmed/blob/main/notebooks/quickstart.ipynb)"
    )
    with pytest.raises(SystemExit):
        script["main"](["--address", "git@example.org:tfmed"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path, tmp_path, monkeypatch):
    """Without an error; and it leaves what it promises."""
    notebook = executed(path, tmp_path, monkeypatch)
    assert "Traceback" not in printed(notebook)
    assert pictures(notebook) == pictures(opened(path))  # what is stored is of this notebook
    if path.stem in PROMISES:
        PROMISES[path.stem](tmp_path, notebook)


def quickstart(folder, notebook):
    """A resumed run, its report, two volumes and a SavedModel."""
    from tfmed.io import read_volume

    (run,) = (folder / "runs").iterdir()
    assert (run / "report.html").stat().st_size > 10_000
    assert (run / "export" / "saved_model.pb").is_file()
    assert [read_volume(path).shape for path in sorted((run / "volumes").iterdir())] == [(64, 56, 56)] * 2
    last = (run / "metrics.csv").read_text(encoding="utf-8").splitlines()[-1]
    assert last.startswith("gan,14,train")  # 4 steps, and 10 more
    assert pictures(notebook) == 3  # curves, phantoms, generated
    assert "(2, 64, 56, 56)" in printed(notebook)


def few_labels(folder, notebook):
    """Two runs, predictions of both kinds on the scan's grid, a SavedModel."""
    from tfmed.io import read_volume

    assert len(list((folder / "runs").iterdir())) == 2
    shapes = {read_volume(path).shape for path in (folder / "predicted").iterdir()}
    assert shapes == {(24, 64, 64)} and len(list((folder / "predicted").iterdir())) == 2
    assert (folder / "exported" / "saved_model.pb").is_file()
    assert pictures(notebook) == 4  # planes, curves, contours, comparison
    assert "SavedModel: (24, 64, 64, 4) -> labels (24, 64, 64)" in printed(notebook)


def connectomes(folder, notebook):
    """A run, two samples in the folders of their classes."""
    from tfmed.io.connectome import read_connectome

    (run,) = (folder / "runs").iterdir()
    files = sorted((run / "samples").rglob("*.csv"))
    assert [file.parent.name for file in files] == ["AD", "CN"]
    assert [read_connectome(file).shape for file in files] == [(20, 20)] * 2
    assert pictures(notebook) == 2 and "real + BrainNetGAN" in printed(notebook)


def generative_3d(folder, notebook):
    """A run; curves, samples, mixtures, the way between two, a projection."""
    (run,) = (folder / "runs").iterdir()
    assert (run / "report.html").stat().st_size > 10_000
    assert pictures(notebook) == 5 and "[(" in printed(notebook)


def translation(folder, notebook):
    """Two runs, a translated volume in HU, tables and pictures of both."""
    from tfmed.io import read_volume

    assert sorted(run.name for run in (folder / "runs").iterdir()) == ["m2c", "pix2pix"]
    assert read_volume(folder / "translated" / "mr_ct.nii.gz").shape == read_volume(folder / "scan" / "mr.nii.gz").shape
    assert pictures(notebook) == 4 and "dice_bone" in printed(notebook)


def weak_and_noisy_labels(folder, notebook):
    """Masks with errors, kernels, boxes and planes; a run and its scores."""
    (run,) = (folder / "runs").iterdir()
    assert (run / "evaluation.csv").is_file() and pictures(notebook) == 5
    said = printed(notebook)
    assert "tight box: 0 of" in said and "wide box: 0 of" not in said and "tumour" in said


def landmarks(folder, notebook):
    """A run and its scores; points of a frame as JSON, CSV and markups."""
    (run,) = (folder / "runs").iterdir()
    assert (run / "evaluation.csv").is_file() and pictures(notebook) == 4  # looks, heatmaps, hands, preview
    assert {path.name for path in (folder / "found").iterdir()} == {
        "frame_points.json", "frame_points.png", "points.csv", "frame.mrk.json"}  # fmt: skip
    said = printed(notebook)
    assert "within 3 px: Counts(true_positives=1, " in said and "within 6 px: Counts(true_positives=2, " in said


def detection(folder, notebook):
    """A run and its scores; boxes of a figure, and its panels."""
    (run,) = (folder / "runs").iterdir()
    assert (run / "evaluation.csv").is_file() and pictures(
        notebook
    ) == 5  # frames, changed, side loss, figures, preview
    assert {"boxes.json", "boxes.csv", "figure_boxes.png"} < {path.name for path in (folder / "panels").iterdir()}
    said = printed(notebook)
    assert "shifted, IoU 0.6: AP50 1.00, AP50:95 0.30" in said and "less sure: AP50 1.00" in said


def latent_spaces(folder, notebook):
    """Two runs; planes, pictures and hybrids; six samples in the folders of their classes."""
    assert sorted(run.name for run in (folder / "runs").iterdir()) == ["bars", "shapes"]
    assert {path.parent.name for path in folder.rglob("samples/*/*.png")} == {"red", "green", "blue"}
    assert pictures(notebook) == 4 and "relative cifc: " in printed(notebook)


def choices(folder, notebook):
    """Four runs: two strategies, an archive and a new task; their tables and pictures."""
    assert sorted(run.name for run in (folder / "runs").iterdir()) == ["archive", "core_set", "glands", "random"]
    assert (folder / "runs" / "archive" / "clusters.csv").is_file() and pictures(notebook) == 6
    said = printed(notebook)
    assert "trained: purity" in said and "random: purity" in said and "mIoU" in said


PROMISES = {
    "quickstart": quickstart, "segmentation_few_labels": few_labels, "connectomes": connectomes,
    "generative_3d": generative_3d, "translation": translation, "weak_and_noisy_labels": weak_and_noisy_labels,
    "landmarks": landmarks, "detection": detection,
    "latent_spaces": latent_spaces, "choices": choices,
}  # fmt: skip


def test_quickstart_says_what_is_missing_where_tfmed_is_not_installed(tmp_path):
    """The first cell, in a Python that has no tfmed: no guessing, one line that says what to do."""
    cells = opened(REPOSITORY / "notebooks" / "quickstart.ipynb").cells
    source = next(cell.source for cell in cells if cell.cell_type == "code")
    plain = "\n".join(line for line in source.splitlines() if not line.strip().startswith(("!", "%")))
    code = "import sys\nsys.modules['tfmed'] = None\n" + plain
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, encoding="utf-8", cwd=tmp_path)
    assert done.returncode == 1 and "PACKAGE" in done.stderr
