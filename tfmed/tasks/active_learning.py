"""Active learning: scores and annotation effort per round, Wilcoxon tests, quantile regression; profiles.

After Chlebus et al., IEEE Access 10, 2022.
"""

import dataclasses

import numpy as np

from tfmed.metrics import aggregate
from tfmed.pictures.charts import Profiles
from tfmed.tasks import segmentation_scores

WORSE_IF_LOW = ("Dice", "Jaccard")
SCORES = ("Dice", "volume error %", "ASSD mm", "HD mm")  # the paper's DICE, RVE, "MSD" and HD
FACTORS = {"uvs": (1, 0), "rvs": (0, 0), "uss": (1, 1), "rss": (0, 1)}  # chosen by uncertainty, chosen slice by slice


def all_tables(methods, last_rows, part, seed=0):
    """{"rounds", "wilcoxon", "quantile_regression"}: lists of rows; a table without rows is left out.

    Args:
        methods: name of the run -> its Method with all its models, the first one's cases are scored.
        last_rows: rows of `segmentation_scores.case_rows` of each run's last stage, with "run" and "case".
        part: of the split.
        seed: of stored transformations.
    """
    cases = [case for case in next(iter(methods.values())).cases[part] if case.label is not None]
    rows, effort = [], {}
    for run, method in methods.items():
        names = list(method.models)
        for name in names[:-1]:
            then = method.at(name)
            segmenter = then.segmenter()
            for case in cases:
                found = segmentation_scores.case_rows(then, segmenter, case, seed)
                rows += [{"run": run, "stage": name, "case": case.id} | row for row in found]
        rows += [{"stage": names[-1]} | row for row in last_rows if row["run"] == run]
        effort |= {(run, name): method.records.recall(f"effort_{name}") or {} for name in names}
    rows = [row for row in rows if row["region"] != segmentation_scores.MEAN]  # which has no distances
    strategies = {run: method.config.strategy for run, method in methods.items()}
    found = {
        "rounds": round_rows(rows, effort),
        "wilcoxon": wilcoxon_rows(rows),
        "quantile_regression": regression_rows([row for row in rows if _is_last(row, methods)], strategies),
    }
    return {name: table for name, table in found.items() if table}


def round_rows(rows, effort):
    """A row per run, stage and region: annotations, and mean and worst-tail percentile of each score.

    Args:
        rows: one per run, stage, region and case.
        effort: (run, stage) -> what `acquisition.effort` gave.
    """
    table = []
    for key in dict.fromkeys((row["run"], row["stage"], row["region"]) for row in rows):
        line = dict(zip(("run", "stage", "region"), key, strict=True)) | effort.get(key[:2], {})
        for score in SCORES:
            values = [row[score] for row in rows if (row["run"], row["stage"], row["region"]) == key]
            found = aggregate.summary(values, allow_nan=True)
            tail = ("5 %", found.p5) if score in WORSE_IF_LOW else ("95 %", found.p95)
            line |= {score: found.mean, f"{score}, {tail[0]}": tail[1]}
        table.append(line)
    return table


def wilcoxon_rows(rows):
    """For each stage, region and score that several runs have: the best mean, and whether the others are worse.

    One-sided signed-rank tests over the cases that are finite for both.
    """
    table = []
    for stage, region in dict.fromkeys((row["stage"], row["region"]) for row in rows):
        here = [row for row in rows if row["stage"] == stage and row["region"] == region]
        runs = list(dict.fromkeys(row["run"] for row in here))
        for score in SCORES if len(runs) > 1 else ():
            values = {run: np.array([row[score] for row in here if row["run"] == run], np.float64) for run in runs}
            low = score in WORSE_IF_LOW
            means = {run: aggregate.summary(v, allow_nan=True).mean for run, v in values.items()}
            best = min(runs, key=lambda run, means=means, low=low: -means[run] if low else means[run])
            for run in runs:
                both = np.isfinite(values[run]) & np.isfinite(values[best])
                if run == best or not both.any():
                    continue
                p = aggregate.wilcoxon(values[run][both], values[best][both], "less" if low else "greater").p
                line = {"stage": stage, "region": region, "score": score, "best": best, "run": run}
                table.append(line | {"mean": means[run], "best mean": means[best], "p": p})
    return table


def regression_rows(rows, strategies):
    """How sampling by uncertainty and slice by slice moves the worst tail of each score (5 % of Dice, 95 % of others).

    Args:
        rows: one per run, region and case.
        strategies: run -> strategy; there must be runs that tell both factors apart, otherwise there are no rows.
    """
    table = []
    for region in dict.fromkeys(row["region"] for row in rows):
        for score in SCORES:
            here = [row for row in rows if row["region"] == region and np.isfinite(row[score])]
            factors = np.array([FACTORS[strategies[row["run"]]] for row in here]).reshape(-1, 2)
            design = np.concatenate([np.ones((len(here), 1)), factors], 1)
            if len(here) < 4 or np.linalg.matrix_rank(design) < 3:
                continue
            tau = 0.05 if score in WORSE_IF_LOW else 0.95
            columns = {"uncertainty": factors[:, 0], "slice": factors[:, 1]}
            found = aggregate.quantile_regression([row[score] for row in here], columns, tau)
            for factor, coefficient in found.items():
                line = {"region": region, "score": score, "quantile": tau, "factor": factor}
                table.append(line | dataclasses.asdict(coefficient))
    return table


def _is_last(row, methods):
    return row["stage"] == list(methods[row["run"]].models)[-1]


def profiles(method):
    """{"profiles": Profiles} of the newest round of USS: up to four volumes, those with most chosen slices first."""
    numbers = [n for n in range(1, method.config.rounds + 1) if f"round{n}" in method.models]
    found = method.records.recall(f"query{numbers[-1]}") if numbers else None
    if not found or "profiles" not in found:
        return {}
    asked = found["asked"]
    earlier = [method.records.recall(f"query{n}")["asked"] for n in numbers[:-1]]
    names = sorted(asked, key=lambda name: (-len(asked[name]), name))[:4]
    rows = [(name, found["profiles"][name], asked[name], [z for one in earlier for z in one.get(name, [])])
            for name in names]  # fmt: skip
    return {"profiles": Profiles(tuple(rows), sum(map(len, asked.values())))} if rows else {}
