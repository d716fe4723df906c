"""3D-StyleGAN: a style-based GAN for whole volumes.

Paper: S. Hong, R. Marinescu, A. V. Dalca, A. K. Bonkhoff, M. Bretzner, N. S. Rost, P. Golland, "3D-StyleGAN: A
Style-Based Generative Adversarial Network for Generative Modeling of Three-Dimensional Medical Images", DGM4MICCAI
2021.

Task: generation of brain MR volumes; projection, style mixing.

Idea: StyleGAN2 with 3-D convolutions, noise and resampling, a base that need not be a cube, and few channels (the same
number at every level), so that a whole brain fits. Styles of a layer belong to a scale: they can be mixed; a real
volume can be projected into style and noise.

Reproduces: Table 2 (2mm-fd96 on 7392 T1 brain MR: bMMD^2 4475 +- 539, MS-SSIM 0.96 +- 0.04, FID 138 / 83 / 89 on the
middle sagittal, axial and coronal slices). About two days on four Titan Xp.

Deviates: the default resampling filter has four taps and gain 8 (the authors' five taps with gain 4 put a lattice on a
constant; `resample_kernel: [1, 3, 3, 3, 1]` gives theirs). The modulated convolution scales activations in place of a
kernel per sample, which is equal. The running mean length in Eq. 1 is that of before the step. Each sample has its own
style-mixing crossover. No progressive growing, as in the released run. Projection leaves out the term of pooled
volumes, without which unseen volumes were found with less error (`projection_pooled: 1` gives it back).
"""

from tfmed.methods.stylegan3d.method import Config
from tfmed.methods.stylegan3d.method import StyleGAN3DMethod as METHOD
from tfmed.methods.stylegan3d.model import StyleGAN3D, build_network

__all__ = ["METHOD", "Config", "StyleGAN3D", "build_network"]
