"""OASIS-1 in a miniature tree of the true layout."""

import nibabel
import numpy as np
import pytest

from tfmed.data import sources
from tfmed.data.readers import read_address
from tfmed.errors import DataError

pytestmark = pytest.mark.one_stack

HEAD = "ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay"
ROWS = {"OAS1_0001_MR1": "0", "OAS1_0002_MR1": "", "OAS1_0003_MR1": "0.5", "OAS1_0028_MR1": "1", "OAS1_0028_MR2": "2"}


def line(name, rating):
    return f"{name},F,R,74,2,3,29,{rating},1344,0.743,1.306,N/A"


def put(root, disc, name, averaged=4):
    folder = root / disc / name / "PROCESSED" / "MPRAGE" / "T88_111"
    folder.mkdir(parents=True)
    array = np.random.default_rng(len(name)).integers(0, 200, (6, 8, 6, 1)).astype(np.int16)
    stem = f"{name}_mpr_n{averaged}_anon_111_t88"
    for kind in ("masked_gfc", "gfc"):
        nibabel.AnalyzeImage(array, np.diag([-1, 1, 1, 1])).to_filename(folder / f"{stem}_{kind}.hdr")
    return folder


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "oasis_cross-sectional.csv").write_text("\n".join([HEAD, *(line(*row) for row in ROWS.items())]))
    for number, name in enumerate(ROWS):
        put(tmp_path, f"disc{1 + number % 2}", name, 3 + number % 2)
    return tmp_path


def test_subjects_have_their_diagnosis_and_second_visits_are_left_out(tree):
    cases = sources.open("oasis", tree)
    assert {case.id: case.meta["class"] for case in cases} == {
        "OAS1_0001": "CN", "OAS1_0002": "CN", "OAS1_0003": "AD", "OAS1_0028": "AD"}  # fmt: skip
    assert [case.group for case in cases] == [case.id for case in cases]
    image = read_address(cases[0].images["t1"])
    assert image.shape == (6, 8, 6) and image.spacing == (1, 1, 1) and "masked_gfc" in cases[0].images["t1"]
    left_out = {path.name for path, _ in sources.unused(tree, cases)}
    assert any("MR2" in name for name in left_out) and not any(name.endswith("MR1_mpr_n3_anon_111_t88_masked_gfc.img")
                                                               for name in left_out)  # fmt: skip


@pytest.mark.parametrize("change, said", [
    (lambda t: (t / "oasis_cross-sectional.csv").unlink(), "has no oasis_cross-sectional.csv"),
    (lambda t: (t / "oasis_cross-sectional.csv").write_text("a,b\n1,2"), "has no column ID"),
    (lambda t: (t / "oasis_cross-sectional.csv").write_text(f"{HEAD}\n{line('OAS1_0001_MR1', 0)}"),
     "has no line of OAS1_0002_MR1"),
    (lambda t: (t / "oasis_cross-sectional.csv").write_text(f"{HEAD}\n{line('OAS1_0001_MR1', 'x')}"),
     "csv:2: CDR is 'x', which is no number"),
    (lambda t: put(t, "disc9", "OAS1_0001_MR1"), "is a second image of OAS1_0001"),
])  # fmt: skip
def test_what_does_not_fit_is_told(tree, change, said):
    change(tree)
    with pytest.raises(DataError) as caught:
        sources.open("oasis", tree)
    assert said in str(caught.value)
