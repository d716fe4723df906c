"""Label noise: errors that annotators make at random hardly hurt a segmenter, errors that they always make do.

Paper: Vorontsov & Kadoury, "Label Noise in Segmentation Networks: Mitigation Must Deal with Bias", DALI (MICCAI) 2021.

Task: segmentation from labels with errors, 2-D

Idea: the masks of the training slices are corrupted on purpose, by warping, shifting, cropping, permuting or flipping;
images, validation and test masks are not. A segmenter learns from them, alone, with an autoencoder, with a mean
teacher, or while it translates slices between diseased and healthy (GenSeg), and its Dice on clean test masks is set
against that of the same segmenter trained on clean masks.

Reproduces: Fig. 2 and 3, as relative Dice (benchmarks/real/label_noise.py runs such a sweep): warping costs 4 to 6 % at
sigma 20 and nothing at 2; shifts cost 10 % at 5 pixels and 53 % at 30; a left crop 5 to 8 %, a random one nothing;
permuting labels costs far more than dropping the slices. The paper names no hardware.

Deviates: GenSeg has the weights of one configuration of the public code; which one this study had is not said, nor how
the residual path enters the mask's (here added, through 1 x 1 convolutions). Diseased and healthy slices are told apart
by the clean masks, also where these do not train. `corruption.control: interpolate_nodes` reads "control points" the
harsher way; `corruption.pairing: reversed` permutes as the public code does. Its crops drew one rectangle per slice for
the whole run: `corruption.resample: frozen`. Slices are patches of the hemispheres' size, cut anywhere along x, where
the paper cuts brains in two. The student of a mean teacher is what is used afterwards.
"""

from tfmed.methods.label_noise.method import LabelNoiseMethod
from tfmed.methods.label_noise.models import build_network
from tfmed.methods.label_noise.settings import Config

__all__ = ["Config", "build_network"]

METHOD = LabelNoiseMethod
