"""The collection of methods, and method name -> Method: `tfmed.methods` says what there is (see `install`)."""

import dataclasses
import functools
from typing import Any

_DGM, _DALI = "DGM4MICCAI 2021", "DALI 2021"


@dataclasses.dataclass(frozen=True)
class MethodInfo:
    """One row of the catalogue; `status` is `ready` or `planned`."""

    name: str
    title: str
    task: str
    paper: str

    @property
    def status(self) -> str:
        return "ready" if self.name in _finder.names() else "planned"


_ROWS = (
    MethodInfo(
        "gbdl", "Generative Bayesian deep learning", "semi-supervised segmentation", "Wang & Lukasiewicz, CVPR 2022"
    ),
    MethodInfo(
        "uss", "Uncertainty slice sampling", "active learning for segmentation", "Chlebus et al., IEEE Access 2022"
    ),
    MethodInfo(
        "equireg", "Equivariance regularisation", "semi-supervised segmentation", "Schölin, MSc thesis, Lund 2020"
    ),
    MethodInfo("fsmr2ct", "Frequency-supervised MR-to-CT", "image translation", f"Shi et al., {_DGM}"),
    MethodInfo("us_style", "Ultrasound variational style transfer", "image translation", f"Hung et al., {_DGM}"),
    MethodInfo("stylegan3d", "3D-StyleGAN", "generation", f"Hong et al., {_DGM}"),
    MethodInfo("pix2pix_bridge", "pix2pix M->C and C->M", "image translation", f"Paavilainen et al., {_DGM}"),
    MethodInfo("drai", "Disentangled adversarial inference", "conditional generation", f"Havaei et al., {_DGM}"),
    MethodInfo("ctsgan", "CT-SGAN", "generation of CT volumes", f"Pesaranghader et al., {_DGM}"),
    MethodInfo("us_inpaint", "Hierarchical ultrasound inpainting", "inpainting", f"Hung et al., {_DGM}"),
    MethodInfo("cacl", "Class-aware codebook learning", "weakly supervised segmentation", f"Deng et al., {_DGM}"),
    MethodInfo("brainnetgan", "BrainNetGAN", "generation of connectomes", f"Li et al., {_DGM}"),
    MethodInfo("gan_eval", "Evaluating GANs in medical imaging", "evaluation", f"Tronchin et al., {_DGM}"),
    MethodInfo("adaptor_heatmap", "Heatmap landmark detection", "landmarks", f"Yao et al., {_DGM}"),
    MethodInfo("adaptor_crossdomain", "Cross-domain landmark detection", "landmarks", f"Wang et al., {_DGM}"),
    MethodInfo("fewshot_dag", "Few-shot deep adaptive graph", "semi-supervised landmarks", f"Zhou et al., {_DALI}"),
    MethodInfo("tool_detection", "Surgical tool detection", "semi-supervised detection", f"Jiang et al., {_DALI}"),
    MethodInfo("oneshot_landmark", "One-shot landmark detection", "landmarks", f"Wang et al., {_DALI}"),
    MethodInfo("figure_separation", "Compound figure separation", "detection", f"Yao et al., {_DALI}"),
    MethodInfo("rhvae", "Riemannian Hamiltonian VAE", "generation", f"Chadebec & Allassonnière, {_DALI}"),
    MethodInfo("boxes3d", "Imperfect 3D boxes", "weakly supervised segmentation", f"Redekop & Chernyavskiy, {_DALI}"),
    MethodInfo("label_transfer", "Iterative label transfer", "segmentation of cells", f"Liu et al., {_DALI}"),
    MethodInfo("multiplanar_unet", "Multi-planar U-Net", "sparse annotation", f"Laprade et al., {_DALI}"),
    MethodInfo("fsnet", "FS-Net", "joint segmentation of data sets", f"Guo et al., {_DALI}"),
    MethodInfo("aneurysm", "Small-patch aneurysm detection", "detection", f"Assis et al., {_DALI}"),
    MethodInfo("active_learning_cls", "Active learning comparison", "classification", f"Chong et al., {_DALI}"),
    MethodInfo("fbpaug", "FBP augmentation", "domain adaptation", f"Saparov et al., {_DALI}"),
    MethodInfo("label_noise", "Label noise in segmentation", "segmentation", f"Vorontsov & Kadoury, {_DALI}"),
    MethodInfo("deepmcat", "DeepMCAT", "deep clustering", f"Kart et al., {_DALI}"),
    MethodInfo("metahistoseg", "MetaHistoSeg", "meta-learning", f"Yuan et al., {_DALI}"),
)
_EXPERIMENTS = (  # of papers that the collection has a method of; trained like one
    MethodInfo("ctsgan_nodules", "CT-SGAN's nodules", "detection of nodules", f"Pesaranghader et al., {_DGM}"),
)
_finder: Any = None  # a module (or object) with `names()`, `described(name)` and `method_class(name)`


def install(finder: Any) -> None:
    """Say who finds methods; `tfmed.methods` does when it is imported."""
    global _finder
    _finder = finder
    settings_class.cache_clear()


def catalog() -> list[MethodInfo]:
    """Every method of the collection as a `MethodInfo`, in its order; imports none of them.

    Example:
        >>> import tfmed
        >>> [row.title for row in tfmed.catalog() if row.name == "ctsgan"]
        ['CT-SGAN']
    """
    return list(_ROWS)


def experiments() -> list[MethodInfo]:
    """What else can be trained: further experiments of the collection's papers, and methods that it does not name."""
    named = {row.name for row in (*_ROWS, *_EXPERIMENTS)}
    return [*_EXPERIMENTS, *(_row(name) for name in _finder.names() if name not in named)]


def _row(name: str) -> MethodInfo:
    found = described(name)
    return MethodInfo(name, found[""].partition(":")[0].rstrip("."), found.get("Task", ""), found.get("Paper", ""))


def described(name: str) -> dict[str, str]:
    """What a method's docstring says: {"": its first line, "Paper": ..., "Task": ..., ...}, without importing it."""
    return _finder.described(name)


def names() -> list[str]:
    """Names of the methods, and experiments, that can be trained."""
    return [row.name for row in (*catalog(), *experiments()) if row.status == "ready"]


def info(name: str) -> MethodInfo:
    """The catalogue's row of a method; KeyError when unknown."""
    return {row.name: row for row in (*catalog(), *experiments())}[name]


def method_class(name: str) -> Any:
    """The `Method` subclass of a method's module; KeyError when there is no such method yet."""
    if name not in _finder.names():
        raise KeyError(name)
    return _finder.method_class(name)


@functools.cache
def settings_class(name: str) -> Any:
    """The type of a method's whole settings: `data`, `train`, and its own `model` section."""
    return method_class(name).settings_class()
