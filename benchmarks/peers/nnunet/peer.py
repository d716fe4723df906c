"""nnU-Net's side, in an environment of its own: plan, preprocess, train until a time is over, predict.

Run by `python -m benchmarks.peers.nnunet`; needs nnunetv2 and PyTorch, and nothing of tfmed. The network, patch,
batch, loss and augmentation are nnU-Net's own choices. Its schedule counts epochs of 250 steps, which on a CPU would
take days: here the learning rate decays by the same polynomial over the time that there is.
"""

import argparse
import json
import pathlib
import time

import torch
from batchgenerators.utilities.file_and_folder_operations import load_json
from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class UntilADeadline(nnUNetTrainer):
    """Trains until `deadline` (of time.monotonic), validating as rarely as time allows."""

    deadline = 0.0

    def run_training(self):
        self.on_train_start()
        begun, steps = time.monotonic(), 0
        self.network.train()
        while (now := time.monotonic()) < self.deadline:
            share = (now - begun) / (self.deadline - begun)
            for group in self.optimizer.param_groups:
                group["lr"] = self.initial_lr * (1 - share) ** 0.9
            self.train_step(next(self.dataloader_train))
            steps += 1
        return steps


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", type=int, required=True, help="number of the data set below nnUNet_raw")
    parser.add_argument("--configuration", choices=("2d", "3d_fullres"), required=True)
    parser.add_argument(
        "--minutes", type=float, required=True, help="from the start of planning to the end of training"
    )
    parser.add_argument("--validation", nargs="+", required=True, help="cases that do not train")
    parser.add_argument("--images", type=pathlib.Path, required=True, help="folder of the test images")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the predictions")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    deadline = time.monotonic() + 60 * arguments.minutes
    extract_fingerprints([arguments.dataset], num_processes=2)
    plan_experiments([arguments.dataset])
    preprocess([arguments.dataset], configurations=(arguments.configuration,), num_processes=(2,))
    prepared = time.monotonic()
    folder = next(pathlib.Path(nnUNet_preprocessed).glob(f"Dataset{arguments.dataset:03d}_*"))
    dataset = load_json(str(folder / "dataset.json"))
    everybody = sorted(path.name.split(".")[0] for path in (folder / "gt_segmentations").iterdir())
    split = {"train": [name for name in everybody if name not in arguments.validation], "val": arguments.validation}
    (folder / "splits_final.json").write_text(json.dumps([split]), encoding="utf-8")
    plans = load_json(str(folder / "nnUNetPlans.json")) | {"continue_training": False}
    trainer = UntilADeadline(plans, arguments.configuration, 0, dataset, torch.device("cpu"))
    trainer.deadline = deadline
    steps = trainer.run_training()
    trained = time.monotonic()
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, verbose=False)
    trainer.set_deep_supervision_enabled(False)
    predictor.manual_initialization(trainer.network, trainer.plans_manager, trainer.configuration_manager,
                                    [trainer.network.state_dict()], trainer.dataset_json, "nnUNetTrainer",
                                    trainer.inference_allowed_mirroring_axes)  # fmt: skip
    arguments.out.mkdir(parents=True, exist_ok=True)
    predictor.predict_from_files(str(arguments.images), str(arguments.out), num_processes_preprocessing=1,
                                 num_processes_segmentation_export=1)  # fmt: skip
    chosen = plans["configurations"][arguments.configuration]
    print("@" + json.dumps({
        "prepare": prepared - deadline + 60 * arguments.minutes, "train": trained - prepared, "steps": steps,
        "predict": time.monotonic() - trained, "patch": chosen["patch_size"], "batch": chosen["batch_size"],
    }))  # fmt: skip


if __name__ == "__main__":
    main()
