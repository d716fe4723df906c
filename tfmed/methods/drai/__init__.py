"""DRAI: pictures of given classes, with what makes the class and everything else in two codes.

Paper: M. Havaei, X. Mao, Y. Wang, Q. Lao, "Conditional Generation of Medical Images via Disentangled Adversarial
Inference", DGM4MICCAI 2021 (dual regularised adversarial inference; it extends DAI, Lao et al., ICCV 2019).

Task: class-conditional generation of pictures, and hybrids: the content of one picture in the style of another.

Idea: A generator makes a picture from a content code, drawn given the class, and a style code, drawn freely. Two
encoders infer the codes of real pictures, and critics that judge pictures and codes together make both directions
agree. Two regularisers separate the codes: predictors of one from the other, whose gradient is reversed, and pairs of
a picture and its turned or flipped copy, whose contents attract and whose styles repel each other.

Reproduces: Table 1 (skin lesions of HAM10000: Frechet distance 1.224 +- .05, inception score 1.300 +- .01, CIFC .210
+- .01; DAI 1.327, 1.304, .256). The authors name no hardware.

Deviates: the paper gives no layers; these are of the size of StackGAN-v2 at 64 pixels. Adversarial terms are those of
least squares as the text says (`gan_loss: log` for the printed ones). Targets of the predictors have no gradient, or
encoders would be rewarded for codes that are easy to predict. A nodule of LIDC-IDRI (`drai/lidc`, Table 1: .089, 1.422,
.456) is told by seventeen numbers; its patch is as wide as 48 of 256 pixels, but cut from one slice as it is, and
thresholds and ends of sizes are ours. How the rivals (`objective`) learn the content given the class is not printed;
see `baselines`. Distances are of random features unless others are given.
"""

from tfmed.methods.drai.method import DRAIMethod
from tfmed.methods.drai.model import DRAI
from tfmed.methods.drai.networks import build_network
from tfmed.methods.drai.settings import Config

__all__ = ["DRAI", "Config", "build_network"]

METHOD = DRAIMethod
