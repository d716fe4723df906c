"""CT-SGAN: whole CT volumes from a recurrent generator of slices.

Paper: A. Pesaranghader, Y. Wang, M. Havaei, "CT-SGAN: Computed Tomography Synthesis GAN", DGM4MICCAI 2021.

Task: generation of CT volumes.

Idea: A BiLSTM turns noise into one latent per axial position; a 2D generator decodes each of them, joined to one latent
per volume, into a thin 3-slice image. A critic of slices and a critic of slabs (short runs of slices) teach both. No 3D
deconvolution is needed, so memory does not grow with the volume's length.

Reproduces: Table 1 (IS 2.37 +- 0.19, FID 145 +- 26 against 131 +- 31 between halves of the real data, 224^3, 900 CTs).
100,000 steps take days on one GPU; the authors name no hardware.

Deviates: layers, optimiser, learning rate, batch size and number of steps are not given in the paper; the defaults of
`Config` follow MoCoGAN, the design that the paper builds on. How the BiLSTM begins is open as well: its biases are
those of the chrono initialisation (`lstm_memory`, in slices; null: Keras' own). Scans keep their nodules unless the
source is `nodules_erased`, which fills in other lung tissue where the paper has a network do it. The generator loss is
the non-saturating form. Published inception scores need Inception weights (`evaluate --features inception:FILE`).
"""

from tfmed.methods.ctsgan.method import Config
from tfmed.methods.ctsgan.method import CTSGANMethod as METHOD
from tfmed.methods.ctsgan.model import CTSGAN, build_network

__all__ = ["METHOD", "CTSGAN", "Config", "build_network"]
