"""FS-Net on real brains: lesions of multiple sclerosis, with a tumour of another data set in one other image beside."""

import pytest

import tfmed
from tfmed.metrics.segmentation import dice

pytestmark = [pytest.mark.realdata]
SETTINGS = (
    "data.source=csv_list", "data.options={}", "data.split={given: true, validation: 0, test: 0.5}",
    "data.preprocess=[{step: resample, spacing_mm: [2, 2, 2]}, {step: zscore, nonzero: true}]",
    "model.auxiliary.brats.source=csv_list", "model.auxiliary.brats.modalities=[t1]",
    "model.auxiliary.brats.labels={tumour: 1}",
    "model.auxiliary.brats.preprocess=[{step: resample, spacing_mm: [null, 2, 2]}, {step: zscore, nonzero: true}]",
    "train.steps=250", "train.batch_size=4", "train.tensorboard=false", "train.validate_every=250",
    "train.preview_every=250", "model.patch=[8, 32, 32]", "model.network.widths=[8, 16, 32]",
    "model.network.factors=[1, 2, 2]", "model.features=8", "model.learning_rate=0.003",
)  # fmt: skip


@pytest.fixture
def tables(real_data, tmp_path):
    """Two tables: of the target's two patients, one of whom trains, and of the other set's one."""
    ms, tumour = real_data / "brain_mr_ms" / "mni", real_data / "brain_mr_tumour"
    for folder in (ms, tumour):
        if not folder.is_dir():
            pytest.skip(f"{folder.name} is not among the real data sets beside this checkout")
    lines = [f"{name},{ms / name}/T1.nii.gz,{ms / name}/FLAIR.nii.gz,{ms / name}/lesions.nii.gz,{part}"
             for name, part in (("patient19", "train"), ("patient07", "test"))]  # fmt: skip
    (tmp_path / "own.csv").write_text("\n".join(["id,t1,flair,label,part", *lines]), encoding="utf-8")
    line = f"brain1,{tumour}/brain1_image.nii.gz,{tumour}/brain1_tumour.nii.gz"
    (tmp_path / "more.csv").write_text(f"id,t1,label\n{line}\n", encoding="utf-8")
    return tmp_path


@pytest.mark.long
def test_lesions_are_found_beside_another_set(tables):
    roots = [f"data.root={tables / 'own.csv'}", f"model.auxiliary.brats.root={tables / 'more.csv'}"]
    run = tfmed.fit(tfmed.load_config("fsnet/brain", [*SETTINGS, *roots]), tables / "run")
    method = run.restored()
    scores = {}
    for part in ("train", "test"):
        case = method.cases[part][0]
        prepared = method.open(case)
        found = method.labels(prepared.image)
        assert set(found.ravel()) <= {0, 1}  # the tumour's class is none of the target's
        scores[part] = dice(found == 1, prepared.label == 1)
    print(scores)
    assert scores["train"] > 0.4
