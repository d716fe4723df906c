"""Ultrasound variational style transfer: one scan with the look of another machine, or of none that was ever seen.

Paper: A. L. Y. Hung, J. Galeotti, "Ultrasound Variational Style Transfer to Generate Images Beyond the Observed
Domain", DGM4MICCAI 2021. Baseline (`architecture: deterministic`): X. Huang, S. Belongie, "Arbitrary Style Transfer in
Real-time with Adaptive Instance Normalization", ICCV 2017.

Task: style transfer between ultrasound pictures, to give labelled ones other looks.

Idea: A U-Net carries the content. A second encoder makes a Gaussian of latent maps of the style at every scale, and the
decoder's features take their means and spreads (AdaIN) from a draw of it. As the latents are pulled towards N(0, I),
styles may also be drawn without any picture, or lie between two. Labels stay right, for anatomy stays where it is.

Reproduces: Table 1 (a U-Net for veins and arteries of pigs, 99 labelled pictures and transferred ones of a phantom:
Dice 0.96 and 0.93; deterministic transfer 0.94 and 0.92, no transfer 0.87 and 0.86), on one Titan RTX; its pictures are
private.

Deviates: AdaIN and the divergence from N(0, I) are as they should be, not as printed (`kl_form: paper` has the printed
one). Of what the paper leaves open, or the released code does otherwise: AdaIN behind each level of the decoder
(`adain_site: skip` for the paper's), one convolution before each Gaussian (`head: convblock`), draws with their whole
spread in training (`temperature: 0.5`). A picture's style is a draw of its Gaussian by noise that is always the same:
of means alone (`style_temperature: 0`) features have less spread than the decoder has learnt with. Drawn styles of one
number per channel and of independent ones may be mixed (`spatial`), for the latter alone look all alike. No weights are
shipped: without a file of them VGG's are drawn from a seed.
"""

from typing import Annotated, Literal

import keras
import numpy as np
import tensorflow as tf
from pydantic import Field, PositiveInt, model_validator

from tfmed.losses.perceptual import FeatureNetwork, feature_loss, style_loss
from tfmed.nn.adain import AdaIN, adain, statistics_loss
from tfmed.nn.adam import Adam
from tfmed.nn.blocks import norm_layer
from tfmed.nn.gaussian import mean_kl, reparametrised
from tfmed.nn.transfer import start_from
from tfmed.nn.unet import Upsample, unet_encoder
from tfmed.nn.vgg import mirrored_vgg19
from tfmed.ops import draws
from tfmed.pictures.images import ImageGrid
from tfmed.tasks.style_transfer import StyleTransferConfig, StyleTransferMethod, Weight, of_blocks
from tfmed.training.model import TrainingModel

# VGG-19 up to relu4_1, from which the baseline's decoder comes back, and where its styles are compared.
_STYLE_LAYERS = tuple(f"block{i}_conv1" for i in range(1, 5))
_DEEPEST = _STYLE_LAYERS[-1]
_SHOWN = 6  # pictures of an autoencoder


class Config(StyleTransferConfig):
    """Numbers of the paper: [P] stated in it, [C] read from the released code, the others are left open by both."""

    architecture: Literal["variational", "deterministic"] = "variational"  # the latter is the baseline "dt"
    # networks
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=2, max_length=8)] = (64, 128, 256, 512, 1024)  # [P]
    head: Literal["conv1x1", "convblock"] = "conv1x1"  # before each Gaussian; [C], convblock: [P]
    adain_site: Literal["decoder", "skip"] = "decoder"  # [C], each level's output; skip: [P]
    # losses
    perceptual_weights: tuple[Weight, Weight, Weight, Weight, Weight] = (0.0, 0.0, 0.0, 0.0, 0.01)  # [P] blockN_conv1
    kl_weight: Weight = 1.0  # [C]
    kl_form: Literal["correct", "paper"] = "correct"  # paper: [P] [C], mu^2 over sigma^2
    temperature: float = Field(1.0, ge=0, le=10)  # of draws in training; 0.5: [C]
    style_temperature: float = Field(1.0, ge=0, le=10)  # of a picture's style in use; 0: the means
    # optimisation
    learning_rate: float = Field(5e-5, gt=0)  # [P] of Adam
    pretrain: bool = True  # [P] both encoders, as autoencoders
    pretraining_steps: PositiveInt | None = None  # of each; null: train.steps
    pretraining_rate: float = Field(1e-4, gt=0)
    frozen_encoders: bool = False  # leave pretrained encoders as they are
    # baseline
    moments_weight: Weight = 10.0  # of the difference of the features' means and deviations, beside that of contents

    @model_validator(mode="after")
    def _fits(self):
        halvings = len(self.widths) - 1 if self.architecture == "variational" else 3
        if any(side % 2**halvings for side in self.size):
            raise ValueError(f"size: {self.size} cannot be halved {halvings} times; give multiples of {2**halvings}")
        if self.frozen_encoders and not self.pretrain:
            raise ValueError("frozen_encoders: would stay random without pretraining; set model.pretrain to true")
        if not any(self.style_weights):
            raise ValueError("style_weights: all are 0, so that no style is learnt; set one above 0")
        return self

    @property
    def draws(self):
        """Whether styles can be drawn."""
        return self.architecture == "variational"

    @property
    def scales(self):
        """`(y, x, channels)` of the latents of each scale, from the finest."""
        return [(self.size[0] >> i, self.size[1] >> i, width) for i, width in enumerate(self.widths)]


# --- networks ---------------------------------------------------------------------------------------------------------


def build_network(config, name):
    """A bare network; features and latents are lists from the finest scale on, sides are any multiples of 16.

    "content_encoder": pictures `(n, y, x, 1)` -> features. "style_encoder": pictures -> means, and log variances, of
    the latents (one list, all means first). "style_blocks": latents -> features of the style. "decoder": features of
    the content, and those of the style (one list) -> pictures in (0, 1). "plain_decoder": features -> pictures.
    "mirrored_decoder": VGG-19's features of the baseline -> pictures.
    """
    widths = config.widths
    if name == "content_encoder":
        return unet_encoder(1, (None, None), widths, norm="batch", activation="swish")
    if name == "style_encoder":
        return _style_encoder(config)
    if name == "style_blocks":
        latents = [keras.Input((None, None, width)) for width in widths]
        blocks = [_block(z, width, f"style{i}") for i, (z, width) in enumerate(zip(latents, widths, strict=True))]
        return keras.Model(latents, blocks, name=name)
    if name == "mirrored_decoder":
        return mirrored_vgg19(config.feature_width)
    return _decoder(widths, config.adain_site if name == "decoder" else None, name)


def _block(x, width, label):
    """Two of 3 x 3 convolution, batch normalisation and swish."""
    for j in range(2):
        x = keras.layers.Conv2D(width, 3, padding="same", kernel_initializer="he_normal", name=f"{label}_conv{j}")(x)
        x = keras.layers.Activation("swish", name=f"{label}_swish{j}")(norm_layer("batch", f"{label}_norm{j}")(x))
    return x


def _style_encoder(config):
    encoder = unet_encoder(1, (None, None), config.widths, norm="batch", activation="swish")
    means, log_variances = [], []
    for i, (x, width) in enumerate(zip(encoder.outputs, config.widths, strict=True)):
        x = _block(x, width, f"head{i}") if config.head == "convblock" else x
        for found, kind, activation in ((means, "mean", "tanh"), (log_variances, "log_variance", _of_sigmoid)):
            found.append(keras.layers.Conv2D(width, 1, activation=activation, dtype="float32", name=f"{kind}{i}")(x))
    return keras.Model(encoder.inputs, means + log_variances, name="style_encoder")


def _of_sigmoid(x):
    """The log variance of a standard deviation of sigmoid(x)."""
    return -2.0 * tf.nn.softplus(-x)


def _decoder(widths, site, name):
    """The way up of the U-Net; with a site also AdaIN by the features of a style, there."""
    contents = [keras.Input((None, None, width)) for width in widths]
    styles = [keras.Input((None, None, width)) for width in widths] if site else []

    def styled(x, i, where):
        return AdaIN(name=f"adain{i}")([x, styles[i]]) if site in where else x

    x = styled(contents[-1], len(widths) - 1, ("decoder", "skip"))
    for i in reversed(range(len(widths) - 1)):
        x = Upsample((2, 2), name=f"up{i}_upsample")(x)
        x = keras.layers.Conv2D(widths[i], 2, padding="same", activation="swish", name=f"up{i}_reduced")(x)
        x = keras.layers.Concatenate(name=f"up{i}_joined")([styled(contents[i], i, ("skip",)), x])
        x = styled(_block(x, widths[i], f"up{i}"), i, ("decoder",))
    x = keras.layers.Conv2D(1, 1, activation="sigmoid", dtype="float32", name="picture")(x)
    return keras.Model(contents + styles, x, name=name)


# --- models -----------------------------------------------------------------------------------------------------------


class _StyleModel(TrainingModel):
    """What all four models share. A training batch holds `content` and `style`, `(n, y, x, 1)` each in [0, 1]."""

    networks = ()

    def __init__(self, config, rate=None, trained=None, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        for name in self.networks:
            setattr(self, name, build_network(config, name))
        for name in trained or ():
            start_from(getattr(self, name), trained[name], head=0)
        learnt = [getattr(self, name) for name in self.networks if not self.frozen(name)]
        for name in self.networks:
            getattr(self, name).trainable = not self.frozen(name)
        rate = (config.learning_rate if self.last else config.pretraining_rate) if rate is None else rate
        self.finish_building({"network": (Adam(rate), learnt)}, self.logged)

    last, logged = True, ("loss",)

    def frozen(self, name):
        """Whether a network stays as it is."""
        return self.last and self.config.frozen_encoders and name.startswith(("content", "style"))

    @property
    def objectives(self):
        """The one loss."""
        return {"network": self.network_loss}

    def validation_loss(self, batch):
        """The loss of a batch as in use: by the norms' running statistics, and by noise that is always the same."""
        return self.network_loss(batch, training=False)[0]

    # --- the variational autoencoder of styles ------------------------------------------------------------------------

    def gaussians(self, pictures, training=False):
        """(means, log variances) of the latents of pictures, a list each."""
        training = training and not self.frozen("style_encoder")
        found = self.style_encoder(pictures, training=training)
        return found[: len(found) // 2], found[len(found) // 2 :]

    def latents(self, batch, pictures, training):
        """(latents of pictures: a draw, in use by the same noise for all; the sum over scales of the divergence)."""
        means, log_variances = self.gaussians(pictures, training)
        divergence = tf.add_n([mean_kl(*pair, self.config.kl_form) for pair in zip(means, log_variances, strict=True)])
        if not training:
            return self.fixed_draw(means, log_variances), divergence
        noise = [self.noise(batch, shape, tag) for tag, shape in enumerate(self.config.scales)]
        drawn = zip(means, log_variances, noise, strict=True)
        return [reparametrised(*one, temperature=self.config.temperature) for one in drawn], divergence

    def fixed_draw(self, means, log_variances, temperature=None, shift=0.0):
        """Draws by noise that is the same for all pictures, moved at the finest scale by `shift` deviations."""
        temperature = self.config.style_temperature if temperature is None else temperature
        found = []
        for scale, (mean, log_variance) in enumerate(zip(means, log_variances, strict=True)):
            noise = temperature * draws.normal(tf.shape(mean)[1:], self.noise_seed, scale)
            found.append(reparametrised(mean, log_variance, noise + (0.0 if scale else shift)))
        return found


class ContentAutoencoder(_StyleModel):
    """The content encoder with a plain decoder, by the mean squared error."""

    networks, last = ("content_encoder", "plain_decoder"), False

    def call(self, pictures, training=False):
        """Pictures as they come back."""
        return self.plain_decoder(self.content_encoder(pictures, training=training), training=training)

    def network_loss(self, batch, training=True):
        """(mean squared error, what to log)."""
        made = self(batch["content"], training=training)
        loss = tf.reduce_mean((made - batch["content"]) ** 2)
        return loss, {"loss": loss}


class StyleAutoencoder(_StyleModel):
    """The variational style encoder with a plain decoder: minus the bound of the evidence, as the authors weigh it."""

    networks, last = ("style_encoder", "style_blocks", "plain_decoder"), False
    logged = ("loss", "error", "kl")

    def call(self, pictures, training=False):
        """Pictures as they come back from the means."""
        return self.decoded(self.gaussians(pictures)[0], training)

    def decoded(self, latents, training=False):
        """Pictures of latents."""
        return self.plain_decoder(self.style_blocks(latents, training=training), training=training)

    def network_loss(self, batch, training=True):
        """(mean squared error plus the divergence, what to log)."""
        latents, divergence = self.latents(batch, batch["style"], training)
        made = self.decoded(latents, training)
        error = tf.reduce_mean((made - batch["style"]) ** 2)
        loss = error + self.config.kl_weight * divergence
        return loss, {"loss": loss, "error": error, "kl": divergence}


class StyleTransfer(_StyleModel):
    """The transfer network.

    Args:
        config: the method's `Config`.
        rate: learning rate or schedule; default the config's.
        trained: {name: network} of the encoders that it begins with.

    Example:
        >>> model = StyleTransfer(Config(size=(16, 16), widths=(2, 4), feature_width=2, feature_side=None))
        >>> picture = tf.zeros((1, 16, 16, 1))
        >>> model.shown(picture, *model.drawn([0], seed=3)).shape.as_list()
        [1, 16, 16, 1]
    """

    networks = ("content_encoder", "style_encoder", "style_blocks", "decoder")
    logged = ("loss", "perceptual", "style", "kl")

    def __init__(self, config, rate=None, **kwargs):
        super().__init__(config, rate, **kwargs)
        self.weights_of = {"perceptual": of_blocks(config.perceptual_weights), "style": of_blocks(config.style_weights)}
        used = {name: any(each[name] for each in self.weights_of.values()) for name in self.weights_of["style"]}
        self.features = FeatureNetwork(used, config.features, "vgg16", config.feature_side, config.feature_width)

    @property
    def used(self):
        """The networks of inference."""
        return [getattr(self, name) for name in self.networks]

    def network_loss(self, batch, training=True):
        """(perceptual + style + KL, what to log)."""
        c, content, style = self.config, batch["content"], batch["style"]
        latents, divergence = self.latents(batch, style, training)
        found = self.features(self.decoded(content, latents, training))
        both = self.features(tf.concat([content, style], 0))
        of_content, of_style = ({name: tf.split(one, 2)[k] for name, one in both.items()} for k in range(2))
        logs = {"perceptual": tf.zeros(()), "kl": divergence}
        logs["style"] = tf.reduce_mean(style_loss(found, of_style, self.weights_of["style"]))
        if any(c.perceptual_weights):
            logs["perceptual"] = tf.reduce_mean(feature_loss(found, of_content, self.weights_of["perceptual"]))
        logs["loss"] = logs["perceptual"] + logs["style"] + c.kl_weight * divergence
        return logs["loss"], logs

    def decoded(self, content, latents, training=False):
        """Pictures by contents and latents of the style."""
        learns = training and not self.config.frozen_encoders
        features = self.content_encoder(content, training=learns)
        return self.decoder([*features, *self.style_blocks(list(latents), training=learns)], training=training)

    # --- use ----------------------------------------------------------------------------------------------------------

    def style_of(self, pictures, temperature=None, shift=0.0):
        """Latents of pictures, a list `(n, y, x, c)`: draws by noise that is the same for all.

        Args:
            temperature: 0 gives the means; default the config's.
            shift: standard deviations that the finest scale is moved by.
        """
        return self.fixed_draw(*self.gaussians(pictures), temperature, shift)

    def drawn(self, indices, seed, spatial=None):
        """Latents drawn from N(0, I), a list `(n, y, x, c)`: the k-th is a function of (seed, its index)."""
        return draws.normal_maps(self.config.scales, seed, indices, spatial or self.config.spatial)

    def shown(self, content, *latents):
        """Pictures `(n, y, x, 1)` with the style of latents `(n or 1, ...)`."""
        count = tf.shape(content)[0]
        wide = [tf.broadcast_to(one, tf.concat([[count], tf.shape(one)[1:]], 0)) for one in latents]
        return self.decoded(content, wide)


class DeterministicTransfer(_StyleModel):
    """AdaIN of VGG-19's features, and a decoder that is learnt (Huang & Belongie 2017); styles are `relu4_1`."""

    networks, logged = ("mirrored_decoder",), ("loss", "content", "style")

    def __init__(self, config, rate=None, **kwargs):
        super().__init__(config, rate, **kwargs)
        self.features = FeatureNetwork(_STYLE_LAYERS, config.features, "vgg19", None, config.feature_width)

    @property
    def used(self):
        """The networks of inference."""
        return [self.mirrored_decoder, self.features.model]

    def network_loss(self, batch, training=True):
        """(mean squared error of the features aimed at, and the weighted difference of moments; what to log)."""
        of_style = self.features(batch["style"])
        aim = adain(self.features(batch["content"])[_DEEPEST], of_style[_DEEPEST])
        found = self.features(self.mirrored_decoder(aim, training=training))
        content = tf.reduce_mean((found[_DEEPEST] - aim) ** 2)
        style = tf.add_n([tf.reduce_mean(statistics_loss(found[name], of_style[name])) for name in _STYLE_LAYERS])
        loss = content + self.config.moments_weight * style
        return loss, {"loss": loss, "content": content, "style": style}

    def style_of(self, pictures):
        """Features of pictures, a list of one tensor."""
        return [self.features(pictures)[_DEEPEST]]

    def shown(self, content, style):
        """Pictures `(n, y, x, 1)` in the style of features `(n or 1, ...)`."""
        features = self.features(content)[_DEEPEST]
        style = tf.broadcast_to(style, tf.concat([tf.shape(features)[:1], tf.shape(style)[1:]], 0))
        return self.mirrored_decoder(adain(features, style), training=False)


class USStyleMethod(StyleTransferMethod):
    """Both encoders as autoencoders, and then the transfer network that begins with them."""

    Config = Config

    def stages(self):
        c, trained, shared = self.config, {}, {"validation": self.validation}
        if c.architecture == "deterministic":
            yield self.stage("transfer", DeterministicTransfer, self.samples, c.learning_rate, **shared)
            return
        if c.pretrain:
            for name, kind in (("content", ContentAutoencoder), ("style", StyleAutoencoder)):
                yield self.stage(name, kind, self.samples, c.pretraining_rate, steps=c.pretraining_steps, **shared)
            trained = {"content_encoder": self.models["content"].content_encoder,
                       "style_encoder": self.models["style"].style_encoder,
                       "style_blocks": self.models["style"].style_blocks}  # fmt: skip
        yield self.stage("transfer", StyleTransfer, self.samples, c.learning_rate, trained=trained, **shared)

    def previews(self):
        """Of an encoder that is being pretrained: pictures as they come back; then as of all style transfer."""
        if "transfer" in self.models:
            return super().previews()
        pictures = np.stack([self.picture(case) for case in self.prepared("train")[:_SHOWN]])
        rows = {"pictures": list(pictures[..., 0]), "as they come back": list(self.model(pictures).numpy()[..., 0])}
        return {"autoencoder": ImageGrid(rows, (0.0, 1.0), "What is left of pictures in an autoencoder.")}


METHOD = USStyleMethod
