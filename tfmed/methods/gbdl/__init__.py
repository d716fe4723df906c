"""GBDL: generative Bayesian deep learning, segmentation of volumes from few labels.

Paper: J. Wang, T. Lukasiewicz, "Rethinking Bayesian Deep Learning Methods for Semi-Supervised Volumetric Medical Image
Segmentation", CVPR 2022.

Task: segmentation of volumes from few labels, with uncertainty; beside it `mean_teacher`, `uamt`, `double_uncertainty`,
`tripled_uncertainty`, `sassnet`, `dtc`, `coranet`.

Idea: First a latent model of images and labels together (LRL): each slice has a Gaussian with full covariance, their
product is pulled towards the standard normal, and decoders give back the image and the label. Then a 3-D U-Net with
Monte Carlo dropout learns from labels and, where there are none, from what the latent model says. It alone is used
afterwards, and its entropy tells where it is unsure.

Reproduces: Tables 1, 2, 4 and 6 on the Atrial Segmentation Challenge: Dice 0.894 / 0.884 with 16 / 8 of 80 labels
(labels alone: 0.834 / 0.801), 95HD 4.03 / 5.89, PAvPU 0.882 / 0.864; KiTS19 and liver likewise. The authors name
neither hardware nor time. Those that it is compared with are `tasks.semi_supervised_baselines`, on the same data.

Deviates: widths, dropout, learning rates and augmentation are the released code's, for the paper leaves them to a
supplement. Of this code three defects are not taken over: its cross-entropy mixed classes and slices, the latent of a
slice fed other slices, and a tanh could not reach standardised intensities (`reconstruction: tanh` gives it back, for
images in [-1, 1]). Slices without foreground stay, in tests too; masks are turned by nearest neighbour; validation
cases are no test cases; a batch holds fixed numbers of labelled and unlabelled crops; jitter is drawn once per crop.
The code's floor of 10 in A = v v^T + 10 I makes noise of 10 around means of about 0.1: with 0.1 the pseudo labels were
better on volumes that the latent model had not learnt (docs/results/gbdl.md); `latent_floor: 10` gives it back. Open in
the paper and chosen here: the volume's latent is the mean of its slices' outputs; independent components keep the
diagonal of the full A; PAvPU takes patches of 4 x 4, half of them right, and the mean entropy.
"""

from tfmed.methods.gbdl.method import Config, build_network
from tfmed.methods.gbdl.method import GBDLMethod as METHOD
from tfmed.methods.gbdl.models import LatentLearner, Segmenter
from tfmed.methods.gbdl.networks import LRL

__all__ = ["LRL", "METHOD", "Config", "LatentLearner", "Segmenter", "build_network"]
