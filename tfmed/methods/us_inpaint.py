"""HPI: holes of ultrasound pictures filled in several ways, each with speckle.

Paper: A. L. Y. Hung, Z. Sun, W. Chen, J. Galeotti, "Hierarchical Probabilistic Ultrasound Image Inpainting via
Variational Inference", DGM4MICCAI 2021.

Task: inpainting of ultrasound

Idea: A conditional variational autoencoder in the shape of a U-Net. Maps of Gaussian latent variables enter its decoder
level by level. A prior network sees the picture with its hole; while training, a posterior network sees all of it and
says how far to move and to stretch the prior's Gaussians. Losses of Laplacian pyramids, which count less deep in the
hole, and of VGG's features and Gram matrices keep speckle, and pyramids join what is made and what is seen.

Reproduces: Table 1, 180 test pictures of a living pig, box around the hole: L1 0.023, PSNR 23.00, SSIM 0.635 (Telea
0.030, 19.99, 0.545; partial convolutions 0.093, 12.75, 0.246; deep fusion 0.056, 16.81, 0.373; both by L2 0.027, 21.12,
0.578 and 0.023, 22.30, 0.616; without latent variables 0.026, 21.33, 0.564). The pictures are private. Four V100 or one
Titan RTX; no time is told.

Deviates: the divergence is that of two Gaussians (Eq. 11 misprints it), each w_i times its mean, without the released
code's second term (`kl_to_normal_weight`, `kl_level_factor: 4` for its weights). CBAM's perceptron ends without a ReLU
(`released_cbam`). The posterior sees the picture and the mask alone. Batch, stopping, and the scored completion (the
first; means and best of ten beside it) are left open by the paper. VGG has random weights unless a file is given. Deep
fusion's two scales share one trunk with HPI. Needles (Table 2) are looked for near the labelled one, by thresholds and
RANSAC whose candidates count alike; the paper's tracker weighs them.
"""

from typing import Literal

import keras
import tensorflow as tf
from pydantic import Field, PositiveInt, model_validator

from tfmed.config import Layers
from tfmed.losses.perceptual import FeatureNetwork, feature_loss, style_loss
from tfmed.losses.pyramid import pyramid_loss
from tfmed.nn.adam import Adam
from tfmed.nn.blocks import norm_layer
from tfmed.nn.dilated_unet import dilated_block, dilated_encoder, halved
from tfmed.nn.gaussian import GaussianMaps, ResidualDraw, kl_to_standard, residual_kl
from tfmed.nn.partial_conv import partial_unet
from tfmed.ops import draws
from tfmed.ops.pyramid import blend, reduced
from tfmed.tasks.inpainting import InpaintingConfig, InpaintingMethod
from tfmed.training.model import TrainingModel

_LAYERS = tuple(f"block{k}_conv1" for k in range(1, 6))
_FUSED = 2  # scales of deep fusion
_EACH = 2**20  # sample numbers of a latent level
Five = tuple[float, float, float, float, float]


class Config(InpaintingConfig):
    """HPI's numbers: [P] the paper, [C] the released code; the others are left open by both."""

    # networks
    network: Literal["hpi", "deep_fusion", "partial_conv"] = "hpi"  # [P]
    widths: Layers = (64, 128, 256, 512, 1024, 1024)  # [P] of the encoder's levels; the decoder mirrors them
    dilations: Layers = (1, 1, 2, 2, 2, 4)  # [C] of each level; those of 1 are followed by pooling
    num_latent_levels: int = Field(4, ge=0, le=63)  # [C] from the deepest on; 0: deterministic, HPI-woVI
    latent_channels: int = Field(5, ge=1, le=256)  # [C]
    attention: Literal["none", "se", "cbam"] = "cbam"  # [P]
    released_cbam: bool = False  # [C] a ReLU behind the perceptron, whose gates then are at least a half
    blend: Literal["laplacian", "paste"] = "laplacian"  # [C]; paste leaves seen pixels as they are
    blend_margin: int = Field(0, ge=0, le=64)  # pixels by which the mask is widened for blending
    # objective
    objective: Literal["texture", "l2"] = "texture"  # [P] l2: of baselines
    levels: int = Field(4, ge=1, le=12)  # [C] K of the Laplacian pyramids
    reconstruction_weight: float = Field(100.0, ge=0)  # [C] w_rec; the paper's are 100 to 500
    level_ratio: float = Field(1.5, gt=0, le=100)  # [C] weight of a level over that of the next finer one
    depth_decay: float = Field(1.1, ge=1, le=100)  # [C] alpha, per pixel of distance to what is seen
    feature_weights: Five = (0.0, 0.0, 0.0, 0.0, 0.1)  # [P] of block1_conv1 to block5_conv1
    style_weights: Five = (0.2, 0.005, 0.002, 0.02, 20.0)  # [P] of the same
    vgg: str = "random:0"  # weights of VGG-16: a file of ImageNet's (.h5), or random:SEED
    vgg_side: PositiveInt | None = 224  # [C] pixels to which VGG's inputs are resized; null: as they are
    vgg_width: int = Field(64, ge=1, le=64)  # channels of VGG's first block; other than 64 with random weights alone
    kl_weight: float = Field(10.0, ge=0)  # [P] w_i of the mean divergence of a latent level
    kl_level_factor: float = Field(1.0, gt=0, le=100)  # w_i+1 over w_i; [C] has 4
    kl_to_normal_weight: float = Field(0.0, ge=0)  # of the divergence from N(0, 1); [C] has one
    kl_warmup_steps: int = Field(0, ge=0)  # over which the divergence's weight rises from 0
    learning_rate: float = Field(1e-5, gt=0)  # [P] of Adam
    temperature: float = Field(1.0, ge=0, le=10)  # of the prior's deviations in sampling; [C] has 0.5

    @model_validator(mode="after")
    def _fits(self):
        if len(self.widths) != len(self.dilations) or len(self.widths) < 2:
            raise ValueError("widths and dilations: give each of two levels or more both a width and a dilation")
        if self.num_latent_levels > len(self.widths) - 1:
            raise ValueError(
                f"num_latent_levels: {self.num_latent_levels} of a decoder of {len(self.widths) - 1} levels; lower it, "
                "or add widths"
            )
        if any(side % self.multiple for side in self.size):
            raise ValueError(
                f"size: {self.size[0]} x {self.size[1]} are no multiples of {self.multiple}, which dilations, levels "
                "(or widths of partial_conv) ask for; change them"
            )
        if min(self.feature_weights + self.style_weights) < 0:
            raise ValueError("feature_weights and style_weights: none may be below 0")
        deepest = max((k for k, pair in enumerate(zip(self.feature_weights, self.style_weights, strict=True))
                       if any(pair)), default=0)  # fmt: skip
        if (self.vgg_side or min(self.size)) < 2**deepest:
            raise ValueError(f"vgg_side: block {deepest + 1} of VGG leaves nothing of so small a picture; raise it")
        if not self.vgg.startswith("random:") and self.vgg_width != 64:
            raise ValueError("vgg_width: a file of weights is for 64; set it to 64, or vgg to random:0")
        return self

    @property
    def latent_levels(self):
        """Levels of latent variables of the network that is used."""
        return self.num_latent_levels if self.network == "hpi" else 0

    @property
    def pooled(self):
        """Whether each level of the encoder is followed by pooling."""
        return halved(self.dilations)

    @property
    def latent_strides(self):
        """Pixels per place of each level of latent variables, the deepest first."""
        count = len(self.widths)
        return [2 ** sum(self.pooled[: count - 1 - level]) for level in range(self.latent_levels)]

    @property
    def multiple(self):
        """What sides must be multiples of."""
        halvings = len(self.widths) if self.network == "partial_conv" else sum(self.pooled)
        return 2 ** max(halvings, self.levels - 1)


# --- networks ---------------------------------------------------------------------------------------------------------


def build_decoder(config, name, posterior=False):
    """Features of an encoder, and of each latent level shift, log scale and noise `(n, y, x, c)` -> logits, and of each
    latent level the mean and the log deviation; both lists are flat.

    The posterior's takes features alone, gives shifts and log scales, and ends with the last of them. Deep fusion's
    logits are those of a completion and of its share, of two scales, the coarser first.
    """
    features = [keras.Input((None, None, width)) for width in config.widths]
    latents = [
        keras.Input((None, None, config.latent_channels)) for _ in range(0 if posterior else 3 * config.latent_levels)
    ]
    x, heads, fused, count = features[-1], [], [], len(config.widths)
    for level in range(count - 1):
        below, at = count - 2 - level, f"up{level}"
        if level < config.latent_levels:
            maps = keras.layers.Conv2D(2 * config.latent_channels, 1, dtype="float32", name=f"{at}_head")(x)
            head = list(GaussianMaps(dtype="float32", name=f"{at}_maps")(maps))
            heads += head
            draw = ResidualDraw(dtype="float32", name=f"{at}_z")
            z = head if posterior else [draw(head + latents[3 * level : 3 * level + 3])]
            x = keras.layers.Concatenate(name=f"{at}_with_z")([x, *z])
        if posterior and level == config.latent_levels - 1:
            return keras.Model(features, heads, name=name)
        width = config.widths[below]
        if config.pooled[below]:
            x = keras.layers.Conv2DTranspose(width, 2, 2, name=f"{at}_larger")(x)
            x = keras.layers.Conv2D(width, 2, padding="same", activation="swish", name=f"{at}_conv")(x)
            x = keras.layers.Conv2D(width, 3, padding="same", name=f"{at}_conv3")(x)
            x = keras.layers.Activation("swish", name=f"{at}_swish")(norm_layer("batch", f"{at}_norm")(x))
        x = keras.layers.Concatenate(name=f"{at}_joined")([x, features[below]])
        x = dilated_block(x, width, config.dilations[below], config.attention, config.released_cbam, at)
        if config.network == "deep_fusion" and level >= count - 1 - _FUSED:
            fused.append(keras.layers.Conv2D(2, 1, dtype="float32", name=f"{at}_fusion")(x))
    logits = fused or [keras.layers.Conv2D(1, 1, dtype="float32", name="logits")(x)]
    return keras.Model(features + latents, logits + heads, name=name)


def build_network(config, name):
    """A bare network: "prior_encoder", "prior_decoder", "posterior_encoder", "posterior_decoder" or "partial_conv"."""
    if name == "partial_conv":
        return partial_unet(1, config.widths)
    if name.endswith("encoder"):
        how = (config.attention, config.released_cbam, name)
        return dilated_encoder(2, config.widths, config.dilations, *how)  # of a picture and its mask
    return build_decoder(config, name, name.startswith("posterior"))


class HPI(TrainingModel):
    """The networks and how they are trained; those of the baselines too.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.

    A training batch holds `image`, `mask` (1 missing) and `depth` (pixels to what is seen), `(n, y, x, 1)` each.

    Example:
        >>> config = Config(size=(16, 16), widths=(2, 2), dilations=(1, 2), num_latent_levels=1, levels=2)
        >>> model = HPI(config)
        >>> model.complete(tf.zeros((1, 16, 16, 1)), tf.ones((1, 16, 16, 1)), count=3).shape.as_list()
        [1, 3, 16, 16, 1]
    """

    def __init__(self, config, rate=None, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        names = ["partial_conv"] if config.network == "partial_conv" else ["prior_encoder", "prior_decoder"]
        names += ["posterior_encoder", "posterior_decoder"] if config.latent_levels else []
        networks = {name: build_network(config, name) for name in names}
        for name, network in networks.items():
            setattr(self, name, network)
        texture = config.objective == "texture"
        self.terms = {name: dict(zip(_LAYERS, weights, strict=True))
                      for name, weights in (("features", config.feature_weights), ("style", config.style_weights))
                      if texture and any(weights)}  # fmt: skip
        self.features = feature_network(config, self.terms)
        logged = ["loss", "reconstruction", *self.terms, *(["divergence"] if config.latent_levels else [])]
        rate = config.learning_rate if rate is None else rate
        self.finish_building({"network": (Adam(rate), list(networks.values()))}, logged)

    # --- training -----------------------------------------------------------------------------------------------------

    @property
    def objectives(self):
        """The one loss."""
        return {"network": self.network_loss}

    def network_loss(self, batch, training=True):
        """(the objective, mean over pictures; its terms)."""
        c, truth, mask = self.config, batch["image"], batch["mask"]
        shown = self.hidden(truth, mask)
        if c.latent_levels:
            found = self.posterior_decoder(self.posterior_encoder([truth, mask], training=training), training=training)
            noise = [self.noise(batch, (*(side // stride for side in c.size), c.latent_channels), tag)
                     for tag, stride in enumerate(c.latent_strides)]  # fmt: skip
            latents = [[*pair, one] for pair, one in zip(_in_pairs(found), noise, strict=True)]
        else:
            latents = []
        made, heads = self.made(shown, mask, latents, training)
        terms = {"reconstruction": tf.add_n([tf.reduce_mean(term) for term in self.reconstruction(made, batch)])}
        if self.terms:
            one, other = self.features(made[-1]), self.features(truth)
            losses = {"features": feature_loss, "style": style_loss}
            terms |= {name: tf.reduce_mean(losses[name](one, other, weights)) for name, weights in self.terms.items()}
        loss = tf.add_n(list(terms.values()))
        if c.latent_levels:
            each = [self.divergence(head, pair) for head, pair in zip(heads, latents, strict=True)]
            terms["divergence"] = tf.add_n([tf.reduce_mean(residual_kl(head[1], *pair[:2]))
                                            for head, pair in zip(heads, latents, strict=True)])  # fmt: skip
            loss += self.warmth(batch) * tf.add_n([c.kl_level_factor**k * one for k, one in enumerate(each)])
        return loss, {"loss": loss} | terms

    def hidden(self, image, mask):
        """A picture with its missing pixels at the fill value."""
        return tf.where(mask > 0, self.config.fill, image)

    def reconstruction(self, made, batch):
        """How far pictures of each scale are from the truth, `(n,)` each: by pyramids, or by L2."""
        c, truth, depth = self.config, batch["image"], batch["depth"]
        found = []
        for scale, image in enumerate(reversed(made)):
            if scale and c.pooled[0]:
                truth, depth = reduced(truth), reduced(depth)
            if c.objective == "l2":
                found.append(tf.reduce_mean(tf.square(image - truth), (1, 2, 3)))
            else:
                how = (max(c.levels - scale, 1), c.level_ratio, c.depth_decay)
                found.append(c.reconstruction_weight * pyramid_loss(image, truth, depth, *how))
        return found

    def divergence(self, head, latents):
        """Weighted divergence of one latent level, mean over its places."""
        c, (mean, log_deviation), (shift, log_scale, _) = self.config, head, latents
        found = c.kl_weight * tf.reduce_mean(residual_kl(log_deviation, shift, log_scale))
        if c.kl_to_normal_weight:
            standard = kl_to_standard(mean + shift, 2.0 * (log_deviation + log_scale)) / c.latent_channels
            found += c.kl_to_normal_weight * tf.reduce_mean(standard)
        return found

    def warmth(self, batch):
        """Share of the divergence's weight at a batch's step."""
        if not self.config.kl_warmup_steps:
            return 1.0
        return tf.minimum(tf.cast(self.step_of(batch), tf.float32) / self.config.kl_warmup_steps, 1.0)

    # --- filling ------------------------------------------------------------------------------------------------------

    def made(self, shown, mask, latents=(), training=False):
        """(completed pictures of each scale, the full one last; [mean, log deviation] of each latent level).

        Args:
            shown: `(n, y, x, 1)`, missing pixels at the fill value.
            mask: `(n, y, x, 1)`, 1 missing.
            latents: [shift, log scale, noise] of each latent level.
        """
        if self.config.network == "partial_conv":
            logits = self.partial_conv([shown, 1.0 - mask], training=training)
            return [self.joined(tf.sigmoid(logits), shown, mask)], []
        features = self.prior_encoder([shown, mask], training=training)
        return self.decoded(features, shown, mask, latents, training)

    def decoded(self, features, shown, mask, latents, training=False):
        """As `made`, of the prior encoder's features."""
        flat = [part for level in latents for part in level]
        found = self.prior_decoder([*features, *flat], training=training)
        found = list(found) if isinstance(found, list | tuple) else [found]
        count = len(found) - 2 * len(latents)
        if self.config.network != "deep_fusion":
            return [self.joined(tf.sigmoid(found[0]), shown, mask)], _in_pairs(found[count:])
        made = []
        for logits in found:
            image, share = tf.split(tf.sigmoid(logits), 2, -1)
            small = tf.image.resize(shown, tf.shape(logits)[1:3])  # of half the side: means of four pixels
            made.append(share * image + (1.0 - share) * small)
        return made, []

    def joined(self, image, shown, mask):
        """What is made, blended into what is seen."""
        c = self.config
        if c.blend_margin:
            mask = tf.nn.max_pool2d(mask, 2 * c.blend_margin + 1, 1, "SAME")
        if c.blend == "paste":
            return tf.where(mask > 0, image, shown)
        return tf.clip_by_value(blend(image, shown, mask, c.levels), 0.0, 1.0)

    def complete(self, images, masks, count, seed=0, temperature=None):
        """Completions `(n, count, y, x, 1)` in [0, 1]; the k-th of a picture is a function of (seed, k).

        The encoder sees each picture once, however many completions it has.

        Args:
            images: `(n, y, x, 1)` in [0, 1]; what missing pixels hold makes no difference.
            masks: `(n, y, x, 1)`, 1 missing.
            count: number of completions.
            seed: integer.
            temperature: of the prior's deviations; default the config's.
        """
        c, shape = self.config, tf.shape(images)
        masks = tf.convert_to_tensor(masks)
        shown = self.hidden(images, masks)
        many = lambda x: tf.repeat(x, count, 0)  # noqa: E731
        if not c.latent_levels:
            found = many(self.made(shown, masks)[0][-1])
        else:
            heat, latents = c.temperature if temperature is None else temperature, []
            for level, stride in enumerate(c.latent_strides):
                size = [shape[1] // stride, shape[2] // stride, c.latent_channels]
                numbers = level * _EACH + tf.range(count, dtype=tf.int64)
                noise = heat * tf.tile(draws.normals(size, seed, numbers), [shape[0], 1, 1, 1])
                latents.append([tf.zeros_like(noise), tf.zeros_like(noise), noise])
            features = [many(one) for one in self.prior_encoder([shown, masks], training=False)]
            found = self.decoded(features, many(shown), many(masks), latents)[0][-1]
        return tf.reshape(found, [shape[0], count, shape[1], shape[2], 1])


def _in_pairs(values):
    return [list(values[k : k + 2]) for k in range(0, len(values), 2)]


def feature_network(config, terms):
    """VGG's layers that some term weighs."""
    weights = {name: sum(term[name] for term in terms.values()) for name in _LAYERS} if terms else {}
    return FeatureNetwork(weights, config.vgg, side=config.vgg_side, width=config.vgg_width)


class HPIMethod(InpaintingMethod):
    """Filling holes of ultrasound pictures."""

    Config = Config

    @property
    def multiple(self):
        return self.config.multiple

    @property
    def seen_stays(self):
        return self.config.blend == "paste" and not self.config.blend_margin and self.config.network != "deep_fusion"

    def stages(self):
        yield self.stage("inpainter", HPI, self.samples, self.config.learning_rate, validation=self.validation)

    def validated(self):
        """Names of what `validation` gives."""
        names = ("loss", "divergence") if self.config.latent_levels else ("loss",)
        return names if self.validation_cases() else ()

    def validation(self, model):
        """The objective on the validation pictures, each with a mask that stays the same."""
        if not self.validation_cases():
            return {}
        rows, size = [], self.settings.train.batch_size
        score = self.compiled("validation", model, lambda batch: model.network_loss(batch, training=False)[1])
        batches = self.validation_batches(size)
        for batch in batches:
            found = score(batch)
            rows.append([float(found[name]) for name in self.validated()])
        counts = [len(batch["index"]) for batch in batches]
        return {name: sum(n * row[k] for n, row in zip(counts, rows, strict=True)) / sum(counts)
                for k, name in enumerate(self.validated())}  # fmt: skip

    def complete(self, images, masks, count, seed=0):
        return self.model.complete(images, masks, count, seed)

    def texture(self):
        weights = dict(zip(_LAYERS, self.config.style_weights, strict=True))
        return feature_network(self.config, {"style": weights})


METHOD = HPIMethod
