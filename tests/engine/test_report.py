"""The report of a run and its pictures: one readable file without a network, whatever the run has written so far."""

import dataclasses
import html.parser
import json
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest

import tfmed
from tests.support import toy
from tfmed.engine import previews, report
from tfmed.engine.lifecycle import fit
from tfmed.engine.run import Run
from tfmed.io import Volume, reorient
from tfmed.pictures.style import save
from tfmed.pictures.volumes import Picture, planes

pytestmark = pytest.mark.current
EVALUATION = (
    "source,volumes,IS[random-0] mean,IS[random-0] std\nreal data,6,1.02720207,0.0165498\n"
    "<b>run</b> & co,6,1.00002938,4.28e-06\n"
)
OUTSIDE = ("src", "href", "xlink:href", "srcset", "data", "poster", "action", "background")


class Page(html.parser.HTMLParser):
    """What a browser would load, and what a person would read."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.links, self.words, self.pictures, self.hidden = [], [], [], [], 0
        self.text = pathlib.Path(path).read_text(encoding="utf-8")
        self.feed(self.text)
        self.words = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.hidden += tag in ("style", "script")
        self.links += [value for name, value in attributes if name in OUTSIDE]
        if tag == "img":
            self.pictures.append(dict(attributes)["alt"])

    def handle_endtag(self, tag):
        self.hidden -= tag in ("style", "script")

    def handle_data(self, data):
        if not self.hidden:
            self.words.append(data)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of four small steps, evaluated."""
    run = fit(toy.settings("train.preview_every=2"), tmp_path_factory.mktemp("report") / "run")
    (run.path / "evaluation.csv").write_text(EVALUATION, encoding="utf-8")
    report.write(run)
    return run


@pytest.fixture
def bare(trained, tmp_path):
    """A run directory that holds nothing but its settings."""
    shutil.copy(trained.path / "config.yaml", tmp_path)
    return Run(tmp_path, trained.settings)


def add_pictures(run, *names):
    folder = run.path / "previews"
    folder.mkdir(exist_ok=True)
    picture = Picture({"head": Volume(np.zeros((2, 3, 4)), np.eye(4))}, (0, 1))
    for i, name in enumerate(names):
        save(dataclasses.replace(picture, window=(0, i + 1)), folder / f"{name}.png")


def test_a_report_needs_nothing_but_itself(trained):
    page = Page(trained.path / "report.html")
    assert page.links
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert not {"script", "iframe", "object", "embed"} & {*page.tags}
    assert page.tags.count("link") == 1  # the empty icon, so that browsers ask for none
    assert "@import" not in page.text
    assert all(url.startswith("#") for url in re.findall(r"url\(['\"]?([^)]*)", page.text))


def test_it_says_what_a_person_asks(trained):
    page = Page(trained.path / "report.html")
    for words in (
        "Toy",
        "no patient data",
        "4 steps of 2 samples",
        "s per step",
        "seed 0",
        "units: 3",
        "Rows: generated 1, training 1",
        "Black is -1000, white 400 HU.",
        "tensorflow",
    ):
        assert words in page.words, words
    headings = re.findall(r"<h2>(.*?)</h2>", page.text)
    assert headings == ["Pictures", "Evaluation", "Curves", "On the way", "Settings"]


def test_final_pictures_come_first(trained):
    page = Page(trained.path / "report.html")
    assert page.pictures == ["Volumes at the end", "Volumes after step 2"]  # step 4 is the end


def test_losses_of_one_family_share_a_panel(trained):
    svg = re.search(r"<svg.*</svg>", Page(trained.path / "report.html").text, re.DOTALL)[0]
    assert re.findall(r">(critic|critic_loss|generator)</text>", svg) == ["critic", "generator"]
    assert re.findall(r">(loss|real)</text>", svg) == ["loss", "real"]


def test_evaluation_is_readable(trained):
    page = Page(trained.path / "report.html")
    assert "1.027 ± 0.017" in page.words and "1 ± 4.3e-06" in page.words
    assert "compare these figures within this table" in page.words


def test_nothing_from_outside_becomes_markup(bare):
    data = bare.settings.data.model_copy(update={"source": "\"><img src=x onerror='alert(2)'>", "root": "</pre><b>"})
    bare.settings = bare.settings.model_copy(update={"profile": "<script>alert(1)</script>", "data": data})
    (bare.path / "evaluation.csv").write_text(EVALUATION, encoding="utf-8")
    (bare.path / "environment.json").write_text('{"python": "</pre><iframe src=http://example.org>"}', encoding="utf-8")
    rows = ("stage,step,split,<i>loss</i>", "<u>one</u>,1,train,0.5", "<u>two</u>,1,train,0.5", "")
    (bare.path / "metrics.csv").write_text("\n".join(rows), encoding="utf-8")
    page = Page(report.write(bare))
    assert not {"script", "img", "iframe", "i", "u"} & {*page.tags}
    assert page.tags.count("b") == 1  # the run's name
    assert "<b>run</b> & co" in page.words and "<script>alert(1)</script>" in page.words


def test_a_run_that_has_written_nothing_yet(bare):
    page = Page(report.write(bare))
    assert page.words.count("None yet.") == 2
    assert "Evaluation" not in page.words and "On the way" not in page.words


@pytest.mark.parametrize(
    "name, text",
    [
        ("metrics.csv", "stage,step,split\n"),
        ("metrics.csv", "stage,step,split,loss\ngan,1,train,nan\n"),
        ("timing.csv", "stage,step,seconds_per_step,waiting_share\n"),
        ("evaluation.csv", ""),
        ("evaluation.csv", "source\n"),
    ],
)
def test_files_that_hold_no_number_yet(bare, name, text):
    (bare.path / name).write_text(text, encoding="utf-8")
    assert "None yet." in Page(report.write(bare)).words


def test_stages_and_validation_are_told_apart(bare):
    (bare.path / "metrics.csv").write_text(
        "stage,step,split,loss,dice\nlatent,1,train,3,\nlatent,2,train,2,\nseg,1,train,1,\nseg,1,validation,,0.25\n"
        "seg,2,train,0.5,\nseg,2,validation,,0.75\n",
        encoding="utf-8",
    )
    page = Page(report.write(bare))
    assert page.tags.count("svg") == 2
    assert "Stage latent" in page.words and "Stage seg" in page.words
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(<td>.*?)</tr>", page.text)]
    assert [" ".join(row) for row in rows[-3:]] == ["loss latent 2 2 ", "loss seg 2 0.5 ", "dice seg 2  0.75"]


def test_a_long_run_shows_few_pictures(bare):
    add_pictures(bare, "volumes", *(f"volumes-{step:08d}" for step in range(100, 2600, 100)))
    pictures = Page(report.write(bare)).pictures
    assert len(pictures) == 7
    assert (pictures[0], pictures[-1]) == ("Volumes at the end", "Volumes after step 2500")


def test_a_run_broken_off_shows_its_newest_pictures_first(bare):
    add_pictures(bare, *(f"{name}-{step:08d}" for step in (5, 10) for name in ("maps", "volumes")))
    assert Page(report.write(bare)).pictures == [
        "Maps after step 10",
        "Volumes after step 10",
        "Maps after step 5",
        "Volumes after step 5",
    ]


@pytest.mark.long
def test_headless_chromium_finds_no_fault(trained, tmp_path):
    errors, requests, dom = browse(trained.path / "report.html", tmp_path / "one")
    assert "Volumes at the end" in dom
    assert errors == [] and requests == []
    faulty = tmp_path / "faulty.html"  # what the test would notice
    faulty.write_text('<img src="https://example.invalid/x.png"><script>console.error("fault")</script>')
    errors, requests, _ = browse(faulty, tmp_path / "two")
    assert len(errors) == 1 and "https://example.invalid/x.png" in requests


def browse(path, folder):
    """(console messages, addresses that the page asked for, its DOM) of a file opened in headless Chromium."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    quiet = (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "host-resolver-rules=MAP * ~NOTFOUND",
        f"user-data-dir={folder}",
    )
    seen = ("enable-logging=stderr", "v=0", f"log-net-log={folder / 'net.json'}", "dump-dom")
    folder.mkdir()
    done = subprocess.run(
        [browser, *(f"--{word}" for word in (*quiet, *seen)), path.as_uri()],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((folder / "net.json").read_text(encoding="utf-8"))
    requests = [event.get("params", {}) for event in record["events"]]
    # The browser's own requests have no page that started them.
    asked = sorted(
        {
            r["url"]
            for r in requests
            if r.get("url", "").startswith("http") and r.get("initiator") not in (None, "not an origin")
        }
    )
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line], asked, done.stdout


# --- planes -------------------------------------------------------------------------------------------------------


def labelled(shape=(6, 8, 10)):
    """A RAS volume (spacing 3, 2, 1 mm) whose outermost slices say where they lie: S, I, A, P, R, L."""
    z, y, x = np.indices(shape)
    array = np.zeros(shape, np.float32)
    array[z == shape[0] - 1], array[z == 0] = ord("S"), ord("I")
    array[y == shape[1] - 1], array[y == 0] = ord("A"), ord("P")
    array[x == shape[2] - 1], array[x == 0] = ord("R"), ord("L")
    return Volume(array, np.diag([1.0, 2.0, 3.0, 1.0]))


def edges(image):
    """The letters in the middle of a picture's top, bottom, left and right edge."""
    h, w = image.shape
    return "".join(chr(int(v)) for v in (image[0, w // 2], image[-1, w // 2], image[h // 2, 0], image[h // 2, -1]))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SAL"])
def test_planes_hang_as_radiologists_hang_them(codes):
    """Whatever way the array runs: anterior or superior on top, the patient's right on the left."""
    shown = planes(reorient(labelled(), codes))
    assert {name: edges(image) for name, (image, _) in shown.items()} == {
        "axial": "APRL",
        "coronal": "SIRL",
        "sagittal": "SIAP",
    }
    assert {name: image.shape for name, (image, _) in shown.items()} == {
        "axial": (8, 10),
        "coronal": (6, 10),
        "sagittal": (6, 8),
    }


def test_pixels_have_the_proportions_of_the_voxels():
    aspects = {name: aspect for name, (_, aspect) in planes(labelled()).items()}
    assert aspects == pytest.approx({"axial": 2.0, "coronal": 3.0, "sagittal": 1.5})


def test_planes_cut_where_they_are_told():
    array = np.zeros((4, 5, 6), np.float32)
    array[1, 2, 3] = 7
    shown = planes(Volume(array, np.eye(4)), at=(1, 2, 3))
    assert [tuple(np.argwhere(image == 7)[0]) for image, _ in shown.values()] == [(2, 2), (2, 2), (2, 2)]


def test_pictures_show_what_is_no_number_in_red(tmp_path):
    from PIL import Image

    bad = labelled().array.copy()
    bad[:3], bad[3:] = np.nan, np.inf
    picture = Picture({"fine": labelled(), "bad": Volume(bad, np.eye(4))}, (0, 100), "HU")
    save(picture, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert "Rows: fine, bad" in image.info["Description"] and "white 100 HU" in image.info["Description"]
        pixels = np.asarray(image.convert("RGB")).astype(int)
    half = len(pixels) // 2
    red = (pixels[..., 0] > 200) & (pixels[..., 1] < 50)
    assert not red[:half].any() and red[half:].mean() > 0.3


def test_a_picture_that_shows_the_same_is_copied(tmp_path):
    """A mark in the file written first tells copies from drawings."""

    def shown(value):
        return {"head": Picture({"head": Volume(np.full((2, 3, 4), value), np.eye(4))}, (0, 1))}

    drawn, folder = {}, tmp_path / "previews"
    previews.write(shown(0.5), tmp_path, 4, drawn)
    first = (folder / "head-00000004.png").read_bytes() + b"mark"
    (folder / "head-00000004.png").write_bytes(first)
    previews.write(shown(0.5), tmp_path, None, drawn)
    assert (folder / "head.png").read_bytes() == first
    previews.write(shown(0.6), tmp_path, None, drawn)
    assert not (folder / "head.png").read_bytes().endswith(b"mark")
    (folder / "head.png").unlink()
    previews.write(shown(0.6), tmp_path, 5, drawn)
    assert (folder / "head-00000005.png").exists()


def test_settings_that_differ_keep_the_names_of_steps_and_networks():
    settings = tfmed.load_config("segmentation", [
        "model.plan=false", "data.preprocess=[{step: zscore}, {step: window, range: [0, 1]}]",
        "model.network={name: unet, widths: [4, 8]}", "model.patch=[8, 8]", "seed=3",
    ])  # fmt: skip
    found = report.changed(settings)
    assert found["data"]["preprocess"] == [{"step": "zscore"}, {"step": "window", "range": [0.0, 1.0]}]
    assert found["model"] == {"plan": False, "patch": [8, 8], "network": {"name": "unet", "widths": [4, 8]}}
    assert found["seed"] == 3 and "train" not in found
    assert type(settings)(**found) == settings
