"""FS: MR-to-CT synthesis with frequency supervision.

Paper: Z. Shi, P. Mettes, G. Zheng, C. Snoek, "Frequency-Supervised MR-to-CT Image Synthesis", DGM4MICCAI 2021.

Task: MR to CT of volumes, with low and high frequencies apart.

Idea: A network trained with L1 blurs edges, and of a CT's edges most is bone. Its last features are therefore split in
two by learnt maps: one part becomes the CT's low frequencies, the other, refined by large one-dimensional kernels, its
high ones, which have a loss of their own, and a critic that sees nothing else.

Reproduces: Tables 1 to 3 on 45 private pairs of heads, 5 folds: U-Net MAE 79.09 HU / PSNR 26.10 dB / SSIM 0.726, with
frequency supervision 72.71 / 26.86 / 0.747, with the critic as well 69.57 / 27.39 / 0.758. The paper names no hardware.

Deviates: where paper and authors' code differ the paper is followed, and the code's value is a setting (see `Config`).
CTs are filtered whole and not crop by crop, with a border that continues: sigma 15 reaches over 121 voxels, a crop is
64 wide. The refinement has no normalisation, which the paper does not mention (`refine_norm: instance` gives it back).
The conditional critic joins MR and CT as channels; the code joins them along an axis of space. Rotated crops are cut
out of larger regions, so that no corner is empty. The paper's HU = 3276.7 y lacks its offset of -1024. Windows overlap
by a half everywhere, where the code's overlap depends on a volume's size.
"""

from tfmed.methods.fsmr2ct.config import Config
from tfmed.methods.fsmr2ct.method import FSMethod as METHOD
from tfmed.methods.fsmr2ct.method import Synthesizer
from tfmed.methods.fsmr2ct.networks import build_network

__all__ = ["METHOD", "Config", "Synthesizer", "build_network"]
