"""The jobs of a budget curve: features once, then each arm in each round, kept so that a stopped run goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from auglean.studies.curve_features import Features, Retrained, extract, train_network
from auglean.studies.curve_fits import Fit, unpack
from auglean.studies.curve_policies import CurveArm
from auglean.studies.curve_runs import Runs, selection_of
from auglean.studies.curve_scores import before_and_after, sweep_clusters
from auglean.studies.curve_statistics import accuracies
from auglean.studies.curve_summary import answer, summary
from auglean.studies.curve_task import Task
from auglean.studies.folder import RunFolder
from auglean.studies.narration import Narrator
from auglean.studies.statistics import spread
from auglean.training import Hooks, Interrupted, Recipe, load_network, save_network

_FEATURES, _MODEL = "features.safetensors", "model.safetensors"


@dataclass
class Study:
    """Runs the jobs of a budget curve: the features, then one for each arm and round."""

    task: Task
    config: dict[str, Any]
    network: nn.Module | None
    recipe: Recipe
    device: torch.device | str | None
    narrator: Narrator
    folder: RunFolder | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def run(
        self, arms: Sequence[CurveArm], budgets: Sequence[int], rounds: int, numbers: Sequence[int]
    ) -> dict[str, Any]:
        """Give the study's part of the result."""
        began = time.perf_counter()
        with self.narrator.telling(1, self.config["steps"]):
            runs, about = self._runs()
        self.seconds["features"] = time.perf_counter() - began
        began = time.perf_counter()
        jobs = [(arm, number) for arm in arms for number in range(rounds if runs.chance(arm, budgets) else 1)]
        outcomes: dict[str, list[dict[str, Any]]] = {arm.label: [] for arm in arms}
        with self.narrator.telling(len(jobs), 1):
            for arm, number in sorted(jobs, key=lambda job: job[1]):  # whole rounds first
                outcomes[arm.label].append(self._job(runs, arm, number, budgets))
        self.seconds["arms"] = time.perf_counter() - began
        began = time.perf_counter()
        references, floor = self._references(runs, rounds)
        found = summary([arm.told() for arm in arms], outcomes, floor, self.task.copies.m + 1, seed=self.config["seed"])
        scores, sheets = before_and_after(runs)
        clusters = self._sweep(runs, numbers)
        floor_mean, ceiling_mean = (references[name]["accuracy"]["mean"] for name in ("floor", "ceiling"))
        self.seconds["statistics"] = time.perf_counter() - began
        self.seconds["total"] = sum(self.seconds.values())
        return {
            "features": {**about, "seconds": self.seconds["features"]},
            "references": references,
            "arms": found,
            "scores": scores,
            "sheets": sheets,
            "clusters": clusters,
            "answer": answer(found, floor_mean, ceiling_mean, runs.n),
            "fits": runs.fits,
            "seconds": self.seconds,
        }

    def _runs(self) -> tuple[Runs, dict[str, Any]]:
        """Prepare the fits: their features, and what the result tells of these."""
        config = self.config
        common = {"task": self.task, "C": config["C"], "seed": config["seed"]}
        about = {
            "network": config["network"] if config["model"] is None else config["model"],
            "retrained": config["retrain"],
            "steps": config["steps"] if config["model"] is None else None,
        }
        if config["retrain"]:
            represent = Retrained(
                self.task, config["network"], config["steps"], config["seed"], self.recipe, self.device, self._hooks()
            )
            runs = Runs(represent=represent, retrained=True, **common)
            about |= {
                "trained_on": "the originals and the copies of the chosen, anew for each fit",
                "disjoint": False,
            }
        else:
            features = self._frozen()
            runs = Runs(represent=lambda chosen, number: features, **common)
            rest = self.task.rest
            own = config["model"] is None
            about |= {
                "trained_on": len(rest) if own and rest is not None else None,
                "classes": rest.classes if own and rest is not None else None,
                "disjoint": True if own else None,
            }
        return runs, {**about, "dimension": runs.floor().train.shape[2]}

    def _frozen(self) -> Features:
        """Give the features of the one network, which is trained first unless it was given."""
        folder, config = self.folder, self.config
        kept = None if folder is None else folder.path / _FEATURES
        if kept is not None and kept.exists():
            self.narrator.skipped("features")
            return Features.load(kept)
        with self.narrator.job("features"):
            model = self.network
            if model is None and folder is not None and (folder.path / _MODEL).exists():
                model = load_network(folder.path / _MODEL)
            if model is None:
                options: dict[str, Any] = {}
                if folder is not None:
                    options = {"checkpoint": folder.checkpoint("features"), "resume": True}
                model = train_network(
                    self.task,
                    config["network"],
                    steps=config["steps"],
                    seed=config["seed"],
                    recipe=self.recipe,
                    device=self.device,
                    hooks=self._hooks(),
                    **options,
                )
                if folder is not None and self.task.rest is not None:
                    rest = self.task.rest
                    about = {"network": config["network"], "channels": rest.channels, "size": rest.size}
                    save_network(folder.path / _MODEL, model, {**about, "classes": rest.classes})
                    folder.checkpoint("features").unlink(missing_ok=True)
            features = extract(model, self.task, self.device)
            if kept is not None:
                features.save(kept)
        return features

    def _hooks(self) -> Hooks:
        return Hooks(progress=self.narrator.progress, stop=self.narrator.stop)

    def _job(self, runs: Runs, arm: CurveArm, number: int, budgets: Sequence[int]) -> dict[str, Any]:
        """Run an arm in a round, or read what it gave before."""
        job, folder = f"{arm.label}/round{number}", self.folder
        out = None if folder is None else folder.finished(job)
        if out is not None:
            self.narrator.skipped(job)
        else:
            if self.narrator.stop():
                raise Interrupted(f"stopped before {job}")
            with self.narrator.job(job):
                out = runs.run(arm, budgets, number)
            if folder is not None:
                self._keep(folder, job, arm, number, out)
        return {**out, **{which: [unpack(text) for text in out[which]] for which in ("test", "validation")}}

    def _keep(self, folder: RunFolder, job: str, arm: CurveArm, number: int, out: Mapping[str, Any]) -> None:
        copies = self.task.copies.m + 1
        folder.forget(job, after=-1)
        for i, budget in enumerate(out["budgets"]):
            row = {"job": job, "step": budget, "arm": arm.label, "round": number, "budget": budget}
            for name, which in (("accuracy", "test"), ("validation", "validation")):
                row[name] = float(accuracies(unpack(out[which][i])[None], copies))
            folder.log({**row, "noisy_share": out["noisy"][i]})
        for chosen in out["chosen"]:
            if chosen:
                told = {**arm.told(), "round": number}
                selection_of(chosen, len(self.task.train), told).save(
                    folder.selections(arm.label) / f"round{number}-{len(chosen)}.json"
                )
        folder.finish(job, out)

    def _references(self, runs: Runs, rounds: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Give the accuracies that the curves lie between, and what is right with no copies."""
        numbers = range(rounds if runs.retrained else 1)
        floors = [runs.floor(number) for number in numbers]

        def told(fits: Sequence[Fit]) -> dict[str, Any]:
            images = self.task.copies.m + 1
            counts = {which: torch.stack([getattr(fit, which) for fit in fits]) for which in ("test", "validation")}
            return {
                name: spread(accuracies(counts[which], images).tolist())
                for name, which in (("accuracy", "test"), ("validation", "validation"))
            }

        references = {
            "clean": {"accuracy": spread([float(fit.clean.double().mean()) for fit in floors])},
            "floor": told(floors),
            "ceiling": told([runs.ceiling(number=number) for number in numbers]),
            "ceiling_downweighted": told([runs.ceiling(downweight=True, number=number) for number in numbers]),
        }
        vectors = runs.support_vectors()
        references["support_vectors"] = {
            "budget": len(vectors),
            **told([runs.fit(vectors, number=number) for number in numbers]),
        }
        floor = {which: torch.stack([getattr(fit, which) for fit in floors]) for which in ("test", "validation")}
        return references, floor

    def _sweep(self, runs: Runs, numbers: Sequence[int]) -> list[dict[str, Any]]:
        if not numbers:
            return []
        features = runs.represent(torch.empty(0, dtype=torch.int64), 0)
        return sweep_clusters(features.train[0], features.test[0], numbers, seed=self.config["seed"])
