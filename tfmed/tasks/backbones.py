"""The networks of segmentation as settings: `network: {name: unet, widths: [16, 32, 64]}` in a method's section."""

from typing import Annotated, ClassVar, Literal

import pydantic
from pydantic import Field, PositiveInt

from tfmed.config import TAG, Layers, Strict, name_tag
from tfmed.nn import aunet, compressed_unet
from tfmed.nn.hrnet import STRIDE, hrnet_features, hrnet_maps
from tfmed.nn.residual_unet import residual_unet
from tfmed.nn.resnext import resnext_unet
from tfmed.nn.summed_unet import summed_unet
from tfmed.nn.tiramisu import fc_densenet
from tfmed.nn.unet import mc_unet3d, unet
from tfmed.nn.vnet import vnet

Rate = Annotated[float, Field(ge=0, lt=1)]


class Backbone(Strict):
    """What all of them have: a patch is what the network answers.

    Attributes:
        levels_by: the setting whose length is the number of levels, "" where that is fixed.
    """

    levels_by: ClassVar[str] = ""

    @property
    def margin(self):
        """Voxels that the network reads on each side of a patch, one number per spatial axis, or 0."""
        return 0

    @property
    def remainder(self):
        """A side of a patch is a multiple of `multiple` and so much more; one number per spatial axis, or 0."""
        return 0

    @property
    def least(self):
        """The shortest side of a patch that the network takes."""
        return 1

    def features(self, channels, maps, seed=0):
        """Images `(n, y, x, channels)` -> features `(n, y / s, x / s, maps)`; by default the whole network, s = 1."""
        return self.build(channels, maps, 2, seed)


class FCDenseNet(Backbone):
    """FC-DenseNet ("Tiramisu", Jegou et al. 2017); the defaults are EquiReg's network. 2-D."""

    levels_by = "encoder_layers"
    name: Literal["fc_densenet"] = "fc_densenet"
    growth: PositiveInt = 16  # maps that a layer adds
    first: PositiveInt = 48  # maps of the first convolution
    encoder_layers: Layers = Field((4, 5, 7, 10, 12), min_length=1)  # per dense block, from the finest
    bottom_layers: PositiveInt = 15
    decoder_layers: Literal["stated", "code"] | Layers = "stated"  # from the coarsest
    dropout: Rate = 0.2
    norm: Literal["batch", "instance", "layer", "none"] = "batch"

    @pydantic.model_validator(mode="after")
    def _symmetric(self):
        if not isinstance(self.decoder_layers, str) and len(self.decoder_layers) != len(self.encoder_layers):
            raise ValueError(f"decoder_layers: give {len(self.encoder_layers)} numbers, as encoder_layers has")
        if isinstance(self.decoder_layers, str) and len(self.encoder_layers) != 5:
            raise ValueError(
                f"decoder_layers: {self.decoder_layers!r} has 5 blocks; give as many numbers as encoder_layers has"
            )
        return self

    def multiple(self, axes):
        """What each side of a patch must be a multiple of, one number per spatial axis."""
        _check_axes(self.name, axes, 2)
        return (2 ** len(self.encoder_layers),) * axes

    def build(self, channels, classes, axes, seed):
        """The network for `axes` spatial axes."""
        return fc_densenet(channels, classes, seed=seed, **self.model_dump(exclude={"name"}))


class UNet(Backbone):
    """U-Net (Ronneberger et al. 2015, padded), 2-D or 3-D."""

    levels_by = "widths"
    name: Literal["unet"] = "unet"
    widths: Layers = Field((32, 64, 128, 256), min_length=2)  # channels per level, from the finest
    factors: tuple[Literal[1, 2], ...] | Literal[2] = 2  # by which each axis shrinks per level
    norm: Literal["batch", "instance", "layer", "none"] = "instance"
    activation: Literal["relu", "leaky_relu"] = "relu"
    residual: bool = False
    upsample: Literal["linear", "nearest", "transposed", "transposed_same"] = "linear"
    transposed_kernel: int | None = Field(None, gt=0, le=15)  # of transposed convolutions; null: the factors
    decoder_convolutions: int = Field(2, gt=0, le=16)  # of each level on the way up
    up_kernel: int = Field(0, ge=0, le=7)  # of a convolution behind linear or nearest upsampling; 0: none
    activation_first: bool = False  # before the norm
    conv_bias: bool = True  # false: convolutions in front of a norm have none
    widen: Literal["first", "second", "half"] = "first"  # which convolution of a level widens; half: first has half
    dropout: Rate = 0.0
    dropout_in: Literal["decoder", "all"] = "decoder"
    spatial_dropout: bool = True

    def multiple(self, axes):
        """What each side of a patch must be a multiple of, one number per spatial axis."""
        factors = (self.factors,) * axes if isinstance(self.factors, int) else self.factors
        if len(factors) != axes:
            raise ValueError(f"factors has {len(factors)} numbers, and model.patch has {axes}; give as many")
        return tuple(factor ** (len(self.widths) - 1) for factor in factors)

    def build(self, channels, classes, axes, seed):
        """The network for `axes` spatial axes."""
        return unet(channels, classes, (None,) * axes, seed=seed, **self.model_dump(exclude={"name"}))

    def trunk(self, channels, axes, seed=0):
        """The network without its last convolution: images -> features `(n, *size, widths[0])`."""
        return self.build(channels, 0, axes, seed)


class MCUNet3D(Backbone):
    """The 3-D U-Net with Monte Carlo dropout of GBDL's released code."""

    name: Literal["mc_unet3d"] = "mc_unet3d"
    dropout: Rate = 0.3

    def multiple(self, axes):
        """What each side of a patch must be a multiple of, one number per spatial axis."""
        _check_axes(self.name, axes, 3)
        return (1, 16, 16)

    def build(self, channels, classes, axes, seed):
        """The network for `axes` spatial axes."""
        return mc_unet3d(channels, classes, dropout=self.dropout, seed=seed)


class VNet(Backbone):
    """V-Net (Milletari et al. 2016) as the mean-teacher line of methods uses it. 3-D."""

    name: Literal["vnet"] = "vnet"
    width: PositiveInt = 16  # channels of the finest level
    norm: Literal["batch", "instance", "layer", "none"] = "batch"
    residual: bool = False
    dropout: Rate = 0.5

    def multiple(self, axes):
        """What each side of a patch must be a multiple of, one number per spatial axis."""
        _check_axes(self.name, axes, 3)
        return (16,) * axes

    def build(self, channels, classes, axes, seed):
        """The network for `axes` spatial axes."""
        return vnet(channels, classes, seed=seed, **self.model_dump(exclude={"name"}))


class SummedUNet(Backbone):
    """The residual U-Net with summed skips of FBPAug (Saparov et al. 2021), for slices of any size. 2-D."""

    levels_by = "widths"
    name: Literal["summed_unet"] = "summed_unet"
    widths: Layers = Field((8, 16, 32, 64, 128, 256), min_length=2)  # channels per level, and of the bridge
    norm: Literal["batch", "instance", "layer", "none"] = "batch"

    def multiple(self, axes):
        """Any side will do."""
        _check_axes(self.name, axes, 2)
        return (1,) * axes

    def build(self, channels, classes, axes, seed):
        """The network for `axes` spatial axes."""
        return summed_unet(channels, classes, **self.model_dump(exclude={"name"}))


class ResidualUNet(Backbone):
    """The residual U-Net with averaged skips of box-supervised segmentation (Kervadec et al. 2020). 2-D."""

    levels_by = "widths"
    name: Literal["residual_unet"] = "residual_unet"
    widths: Layers = Field((32, 64, 128, 256, 512), min_length=2)  # channels per level, from the finest
    norm: Literal["batch", "instance", "layer", "none"] = "batch"

    def multiple(self, axes):
        """What each side of a patch must be a multiple of, one number per spatial axis."""
        _check_axes(self.name, axes, 2)
        return (2 ** (len(self.widths) - 1),) * axes

    def build(self, channels, classes, axes, seed):
        """The network for `axes` spatial axes."""
        return residual_unet(channels, classes, **self.model_dump(exclude={"name"}))


class ResNeXtUNet(Backbone):
    """U-Net on a ResNeXt encoder (Xie et al. 2017), by default ResNeXt-50 32x4d without trained weights. 2-D."""

    levels_by = "blocks"
    name: Literal["unet_resnext50"] = "unet_resnext50"
    blocks: Layers = Field((3, 4, 6, 3), min_length=1)  # bottlenecks of each stage of the encoder
    first: int = Field(64, gt=0, le=2**12)  # maps of the first convolution
    groups: int = Field(32, gt=0, le=2**12)  # of convolutions in bottlenecks
    group_width: int = Field(4, gt=0, le=2**12)  # maps of a group in the first stage
    decoder: Layers = Field((256, 128, 64, 32, 16), min_length=2)  # maps of each step on the way up, from the coarsest

    @pydantic.model_validator(mode="after")
    def _steps_fit(self):
        if len(self.decoder) != len(self.blocks) + 1:
            raise ValueError(f"decoder: give {len(self.blocks) + 1} numbers, one more than blocks has")
        return self

    def multiple(self, axes):
        """What each side of a patch must be a multiple of, one number per spatial axis."""
        _check_axes(self.name, axes, 2)
        return (2 ** (len(self.blocks) + 1),) * axes

    def build(self, channels, classes, axes, seed):
        """The network for `axes` spatial axes."""
        return resnext_unet(channels, classes, **self.model_dump(exclude={"name"}))


class HRNet(Backbone):
    """HRNet (Sun et al. 2019) with a 1 x 1 convolution on its finest stream, by default W32. 2-D."""

    name: Literal["hrnet"] = "hrnet"
    widths: Layers = Field((32, 64, 128, 256), min_length=4, max_length=4)  # channels of the streams, from the finest
    modules: Layers = Field((1, 4, 3), min_length=3, max_length=3)  # of stages 2 to 4
    blocks: int = Field(4, gt=0, le=64)  # residual blocks per stream and module
    norm: Literal["batch", "instance", "layer", "none"] = "batch"
    prior: float = Field(0.5, gt=0, lt=1)  # what the sigmoid of every logit is at first

    def multiple(self, axes):
        """What each side of a patch must be a multiple of, one number per spatial axis."""
        _check_axes(self.name, axes, 2)
        return (STRIDE,) * axes

    def build(self, channels, classes, axes, seed):
        """The network for `axes` spatial axes."""
        return hrnet_maps(channels, classes, **self.model_dump(exclude={"name"}))

    def features(self, channels, maps, seed=0):
        """The finest stream, s = 4, through a 1 x 1 convolution, a norm and ReLU."""
        own = self.model_dump(include={"widths", "modules", "blocks", "norm"})
        return hrnet_features(channels, maps, **own)


class AUNet(Backbone):
    """The anisotropic U-Net with valid convolutions of uncertainty slice sampling (Chlebus et al. 2022). 3-D."""

    levels_by = "widths"
    name: Literal["aunet"] = "aunet"
    widths: Layers = Field((20, 40, 80, 160, 320), min_length=2)  # channels per level, from the finest
    dropout: Rate = 0.25
    norm: Literal["batch", "instance", "layer", "none"] = "batch"

    @property
    def margin(self):
        return aunet.margin(len(self.widths))

    @property
    def remainder(self):
        return aunet.output_sizes(len(self.widths))[1]

    def multiple(self, axes):
        """What each side of a patch must be a multiple of, `remainder` aside; one number per spatial axis."""
        _check_axes(self.name, axes, 3)
        return aunet.output_sizes(len(self.widths))[0]

    def build(self, channels, classes, axes, seed):
        """The network for `axes` spatial axes."""
        return aunet.aunet(channels, classes, seed=seed, **self.model_dump(exclude={"name"}))


class CompressedUNet(Backbone):
    """The residual segmenter with one-channel skips of Vorontsov et al. 2019. 2-D; sides from `least` on."""

    levels_by = "widths"
    name: Literal["compressed_unet"] = "compressed_unet"
    widths: Layers = Field((16, 32, 64, 128, 256, 512), min_length=2)  # channels per level, from the finest
    normalise: bool = True  # instance norm on the way down, layer norm on the way up
    dropout: Rate = 0.0

    @property
    def least(self):
        return compressed_unet.least_side(len(self.widths))

    def multiple(self, axes):
        """What each side of a patch must be a multiple of, one number per spatial axis."""
        _check_axes(self.name, axes, 2)
        return (1,) * axes

    def build(self, channels, classes, axes, seed):
        """The network for `axes` spatial axes."""
        return compressed_unet.compressed_unet(channels, classes, seed=seed, **self.model_dump(exclude={"name"}))


def _check_axes(name, axes, known):
    if axes != known:
        raise ValueError(f"{name} is for {known}-D patches, and model.patch has {axes} numbers; give it {known}")


Network = Annotated[
    Annotated[AUNet, pydantic.Tag(TAG + "aunet")]
    | Annotated[CompressedUNet, pydantic.Tag(TAG + "compressed_unet")]
    | Annotated[FCDenseNet, pydantic.Tag(TAG + "fc_densenet")]
    | Annotated[HRNet, pydantic.Tag(TAG + "hrnet")]
    | Annotated[MCUNet3D, pydantic.Tag(TAG + "mc_unet3d")]
    | Annotated[ResidualUNet, pydantic.Tag(TAG + "residual_unet")]
    | Annotated[ResNeXtUNet, pydantic.Tag(TAG + "unet_resnext50")]
    | Annotated[SummedUNet, pydantic.Tag(TAG + "summed_unet")]
    | Annotated[UNet, pydantic.Tag(TAG + "unet")]
    | Annotated[VNet, pydantic.Tag(TAG + "vnet")],
    pydantic.Discriminator(name_tag),
]
