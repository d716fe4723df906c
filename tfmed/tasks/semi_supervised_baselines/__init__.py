"""The methods that GBDL is compared with (Tables 3 to 5), reimplemented on its data and backbone: one file each."""

from typing import Annotated, Literal

import pydantic
from pydantic import Field, NonNegativeInt

from tfmed.config import TAG, name_tag
from tfmed.tasks.semi_supervised_baselines.base import Architecture as _Base
from tfmed.tasks.semi_supervised_baselines.base import Taught
from tfmed.tasks.semi_supervised_baselines.coranet import CoraNet, CoraNetLearner
from tfmed.tasks.semi_supervised_baselines.double_uncertainty import DoubleUncertainty, DoubleUncertaintyLearner
from tfmed.tasks.semi_supervised_baselines.dtc import DTC, DTCLearner
from tfmed.tasks.semi_supervised_baselines.mean_teacher import MeanTeacher, MeanTeacherLearner
from tfmed.tasks.semi_supervised_baselines.sassnet import SASSNet, SASSNetLearner
from tfmed.tasks.semi_supervised_baselines.tripled_uncertainty import TripledUncertainty, TripledUncertaintyLearner
from tfmed.tasks.semi_supervised_baselines.uamt import UAMT, UAMTLearner

__all__ = ["GBDL", "LEARNERS", "Architecture", "Supervised", "Taught"]


class GBDL(_Base):
    """The paper's method: latent model, then segmenter."""

    name: Literal["gbdl"] = "gbdl"
    weight: float = Field(1.0, ge=0)  # [P] of a volume with pseudo labels beside one with labels, after the ramp
    rampup_steps: NonNegativeInt = 0  # [P] length of the ramp exp(-5 (1 - t)^2); 0: none


class Supervised(_Base):
    """The paper's baseline: the segmenter, labels alone."""

    name: Literal["supervised"] = "supervised"


LEARNERS = {
    "coranet": CoraNetLearner,
    "double_uncertainty": DoubleUncertaintyLearner,
    "dtc": DTCLearner,
    "mean_teacher": MeanTeacherLearner,
    "sassnet": SASSNetLearner,
    "tripled_uncertainty": TripledUncertaintyLearner,
    "uamt": UAMTLearner,
}

Architecture = Annotated[
    Annotated[GBDL, pydantic.Tag(TAG + "gbdl")]
    | Annotated[Supervised, pydantic.Tag(TAG + "supervised")]
    | Annotated[CoraNet, pydantic.Tag(TAG + "coranet")]
    | Annotated[DoubleUncertainty, pydantic.Tag(TAG + "double_uncertainty")]
    | Annotated[DTC, pydantic.Tag(TAG + "dtc")]
    | Annotated[MeanTeacher, pydantic.Tag(TAG + "mean_teacher")]
    | Annotated[SASSNet, pydantic.Tag(TAG + "sassnet")]
    | Annotated[TripledUncertainty, pydantic.Tag(TAG + "tripled_uncertainty")]
    | Annotated[UAMT, pydantic.Tag(TAG + "uamt")],
    pydantic.Discriminator(name_tag),
]
