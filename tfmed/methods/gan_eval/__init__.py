"""Evaluating GANs in medical imaging: four GANs of 80 x 80 images, and the table that tells them apart.

Paper: L. Tronchin, R. Sicilia, E. Cordelli, S. Ramella, P. Soda, "Evaluating GANs in Medical Imaging", DGM4MICCAI 2021.

Task: DCGAN, LSGAN, WGAN-GP, AC-GAN, and how to judge generators.

Idea: No feature network of natural images judges medical ones. Instead a network is trained, per generator, to tell
synthetic from real images: how well it does, and how far the two sets lie apart in its features, say how good the
generator is; nearest similarities among synthetic and real images show memorising and collapse.

Reproduces: Table 4 (50 runs; DCGAN, adaptive: recall .82 +- .13, specificity .78 +- .12, Mahalanobis 20.45 +- 1.12,
Frechet 19.20 +- 14.12) as `python -m tfmed.evaluate RUN --compare RUN ...`. The paper's 123 patients are private and it
names no hardware.

Deviates: layers, smoothing (0.1) and first width of the evaluator (32) are not given in the paper. The least-squares
and AC-GAN losses are misprinted there; here they are those of their own papers. Every distance has beside it what
halves of the real images score. A flag needs a significant difference (`flag_level`); equal medians, which a perfect
generator has, would raise it every other time.
"""

from tfmed.methods.gan_eval.method import Config
from tfmed.methods.gan_eval.method import GANEvalMethod as METHOD
from tfmed.methods.gan_eval.model import ImageGAN, build_network

__all__ = ["METHOD", "Config", "ImageGAN", "build_network"]
