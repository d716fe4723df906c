"""Structural connectome phantom: lobes in two hemispheres, distances, hubs, subjects that differ, and two classes."""

import dataclasses

import numpy as np

from tfmed.data.sampling import Stream, generator
from tfmed.errors import UserError
from tfmed.io import Volume

_SUBJECTS = Stream("phantom_connectome.subjects", 0xC0DE)

_LOBES = 5  # per hemisphere
_BRAIN = 0xB7A14  # the regions' places are those of one brain, whatever the subject


@dataclasses.dataclass(frozen=True)
class ConnectomePhantom:
    """A subject.

    Attributes:
        volume: the connectome as one slice, float32 `(1, regions, regions)`: streamline counts, symmetric, diagonal 0.
        labels: the lobe of each pair's first region, uint8 `(1, regions, regions)`: 1 .. 10.
    """

    volume: Volume
    labels: Volume


def connectome(seed, regions=90, group=0, effect=0.35, streamlines=60.0):
    """A subject's connectome.

    Regions lie in five lobes of each hemisphere, mirrored. Fewer streamlines run between regions that are far apart;
    hubs have more, homologous regions across the hemispheres too. Subjects differ in overall strength, in each lobe's
    and in each connection's; counts are Poisson distributed, so that weak connections are missing in some subjects.

    Args:
        seed: the subject.
        regions: even, 10 to 1000.
        group: 0, or 1: the temporal and the parietal lobes' connections are weaker by `effect`, as in dementia.
        effect: share of these connections' strength that is lost in group 1, 0 to 0.95.
        streamlines: of a typical strong connection.

    Raises:
        UserError: a value is out of range.
    """
    if regions % 2 or not 10 <= regions <= 1000:
        raise UserError(f"phantom connectome: regions must be even, from 10 to 1000; got {regions}")
    if group not in (0, 1) or not 0 <= effect <= 0.95 or not 0 < streamlines <= 1e6:
        raise UserError("phantom connectome: group is 0 or 1, effect from 0 to 0.95, streamlines above 0, up to 1e6")
    expected, lobe = _average(regions)
    draw = _SUBJECTS(seed)
    strength = draw.lognormal(0, 0.2)
    lobes = draw.lognormal(0, 0.15, (2 * _LOBES,))
    single = np.triu(draw.lognormal(0, 0.3, (regions, regions)), 1)
    rate = streamlines * strength * expected * np.sqrt(np.outer(lobes[lobe], lobes[lobe])) * (single + single.T)
    if group:
        ill = np.isin(lobe % _LOBES, (1, 2))
        rate = np.where(ill[:, None] & ill[None], (1 - effect) * rate, rate)
    counts = np.triu(draw.poisson(np.triu(rate, 1)), 1).astype(np.float32)
    labels = np.broadcast_to((lobe + 1)[:, None], (regions, regions)).astype(np.uint8)
    return ConnectomePhantom(Volume((counts + counts.T)[None], np.eye(4)), Volume(labels[None].copy(), np.eye(4)))


def _average(regions):
    """(expected strength of each connection, 1 for a strong one; lobe of each region, 0 .. 9)."""
    draw, half = generator(_BRAIN, regions), regions // 2
    lobe = np.sort(np.arange(half) % _LOBES)
    centres = draw.normal(0, 1, (_LOBES, 3)) * [0.5, 1.2, 0.8] + [1.2, 0, 0]
    place = centres[lobe] + draw.normal(0, 0.35, (half, 3))
    hub = np.where(draw.random(half) < 0.12, 2.5, 1.0) * draw.lognormal(0, 0.3, half)
    place, hub = np.concatenate([place, place * [-1, 1, 1]]), np.concatenate([hub, hub])
    distance = np.linalg.norm(place[:, None] - place[None], axis=-1)
    expected = np.exp(-1.4 * distance) * np.sqrt(np.outer(hub, hub))
    twins = np.arange(half)
    expected[twins, twins + half] = expected[twins + half, twins] = 0.5 * hub[:half]
    return np.minimum(expected, 4.0), np.concatenate([lobe, lobe + _LOBES])
