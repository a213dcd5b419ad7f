"""Is a pretraining well: handlers for any network and loss, whose numbers go into the record of the run.

A loss falls while the features become one point, and a gradient dies or explodes before a loss shows it.

- On the evaluator: :class:`TrunkHealth` measures how the trunk's features lie, :class:`CollapseWatch` says
  when they, or embeddings that a metric measured, have become one point or one line.
- On the trainer: :class:`GradientNorm` measures, :class:`StopOnNaN` ends the training at the first loss that
  is no number and keeps its batch.

The numbers are defined in :mod:`siamed.pipeline.experiments.embedding_statistics` and drawn by
:func:`~siamed.pipeline.experiments.figures.health_curves`.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from monai.data import MetaTensor
from monai.engines.utils import IterationEvents
from torch import nn
from torch.nn.utils import get_total_norm

from .distributed import unwrap_network
from .embedding_statistics import alignment, effective_rank, embedding_spread, uniformity
from .files import save_checkpoint

__all__ = ["NAN_BATCH", "CollapseWatch", "GradientNorm", "StopOnNaN", "TrunkHealth"]

log = logging.getLogger(__name__)

NAN_BATCH = "nan_batch.pt"
_POINT = 1e-3  # spread below which vectors have collapsed


class TrunkHealth:
    """Log how the trunk's features lie: ``feature_spread``, ``effective_rank``, ``uniformity``.

    A vector is the bottom of the trunk, averaged over its pixels; there is one for each member of each item,
    and all count. Of two members ``alignment`` is logged too: the two are then called a positive pair. Only
    these vectors are kept, until the validation ends. In a training of several processes the numbers are of
    what the first one saw.

    Args:
        network: has a ``trunk`` that gives features ``(B * members, E, ...)``, or a list of them, the bottom
            last; members of an item follow each other, as in
            :class:`~siamed.networks.pretext_net.PretextNet`.
        members: images that an item holds.

    Raises:
        ValueError: if the network has no trunk, or members is below 1. During a validation: if the trunk was
            not asked, if its vectors do not fall into items, or if a metric of the evaluator has one of the
            names.
    """

    def __init__(self, network: nn.Module, members: int = 1) -> None:
        trunk = dict(unwrap_network(network).named_children()).get("trunk")
        if trunk is None:
            raise ValueError(f"network must have a trunk, {type(unwrap_network(network)).__name__} has none")
        if members < 1:
            raise ValueError(f"members must be at least 1, got {members}")
        self.trunk, self.members = trunk, int(members)
        self._vectors: list[np.ndarray] = []
        self._names: set[str] = set()  # of what was logged last
        self._hook: Any = None

    def attach(self, engine: Any) -> None:
        """Register on an evaluator; list it before :class:`CollapseWatch` and the record of the run."""
        engine.add_event_handler(Events.STARTED, self._start)
        # Not as late as COMPLETED, where other handlers may run the trunk on images of their own.
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._unhook)
        engine.add_event_handler(Events.COMPLETED, self._complete)

    def _start(self, evaluator: Any) -> None:
        self._unhook(evaluator)  # of a validation that ended by an exception
        self._vectors.clear()
        for name in self._names:
            evaluator.state.metrics.pop(name, None)
        self._hook = self.trunk.register_forward_hook(self._keep)

    def _keep(self, trunk: nn.Module, inputs: Any, output: Any) -> None:
        bottom = (output[-1] if isinstance(output, (list, tuple)) else output).detach().float()
        self._vectors.append(bottom.reshape(*bottom.shape[:2], -1).mean(2).cpu().numpy())

    def _unhook(self, evaluator: Any) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _complete(self, evaluator: Any) -> None:
        self._unhook(evaluator)
        if not self._vectors:
            raise ValueError("network must be the one that the evaluator runs: its trunk was not asked")
        vectors = np.concatenate(self._vectors).astype(np.float64)
        self._vectors.clear()
        if len(vectors) % self.members:
            raise ValueError(f"members must divide the trunk's {len(vectors)} vectors, got {self.members}")
        found = {
            "feature_spread": embedding_spread(vectors),
            "effective_rank": effective_rank(vectors),
            "uniformity": uniformity(vectors),
        }
        if self.members == 2:
            found["alignment"] = alignment(vectors.reshape(-1, 2, vectors.shape[1]))
        taken = sorted(found.keys() & evaluator.state.metrics.keys())
        if taken:
            raise ValueError(f"the evaluator must have no metric named as the trunk's, it has {taken}")
        self._names = set(found)
        evaluator.state.metrics.update(found)


class CollapseWatch:
    """Warn when the vectors of a validation have collapsed, and log ``collapsed`` (1 or 0).

    Reads a spread and ``effective_rank`` among the evaluator's metrics, and ``uniformity`` where a limit is
    given: collapsed is a spread below 0.001, fewer directions in use than the question needs, or a uniformity
    above the limit.

    Args:
        least_rank: effective rank below which the vectors are called collapsed; 1 where a single direction
            answers, as for one of two sides.
        spread: the metric that is the spread: ``embedding_spread`` where embeddings are compared,
            ``feature_spread`` of :class:`TrunkHealth`.
        most_uniformity: between -4, even, and 0, one point; None for tasks that do not compare vectors, whose
            features may differ by little and answer well.

    Raises:
        ValueError: at the end of a validation, if the evaluator lacks one of the metrics.
    """

    def __init__(
        self,
        least_rank: float = 2.0,
        spread: str = "embedding_spread",
        most_uniformity: float | None = None,
    ) -> None:
        self.least_rank, self.spread, self.most_uniformity = float(least_rank), spread, most_uniformity

    def attach(self, engine: Any) -> None:
        """Register on an evaluator; list it before the record of the run."""
        engine.add_event_handler(Events.COMPLETED, self._look)

    def _look(self, evaluator: Any) -> None:
        metrics = evaluator.state.metrics
        names = [self.spread, "effective_rank", *["uniformity"] * (self.most_uniformity is not None)]
        missing = [name for name in names if name not in metrics]
        if missing:
            raise ValueError(f"the evaluator must have measured {missing}, it has {sorted(metrics)}")
        collapsed = metrics[self.spread] < _POINT or metrics["effective_rank"] < self.least_rank
        if self.most_uniformity is not None:
            collapsed = collapsed or metrics["uniformity"] > self.most_uniformity
        metrics["collapsed"] = float(collapsed)
        if collapsed:
            log.warning(
                "the encoder has collapsed after epoch %d: %s. Lower the learning rate; where embeddings are "
                "compared, give them length 1 and compare all pairs of a batch",
                evaluator.state.epoch,
                ", ".join(
                    f"{name.replace('effective_', 'effective ')} {metrics[name]:.2g}" for name in names
                ),
            )


class GradientNorm:
    """Log ``gradient_norm``: length of the gradient of all weights together, mean over an epoch's steps.

    It is that of what the optimizer is given: of accumulated gradients the last sum, under mixed precision
    without the scaler's factor. Steps that the scaler leaves out for an overflow are left out here too.
    """

    def __init__(self) -> None:
        self._norms: list[float] = []

    def attach(self, engine: Any) -> None:
        """Register on a MONAI trainer; list it before the record of the run."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._measure)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._average)

    def _start(self, trainer: Any) -> None:
        self._norms.clear()
        trainer.state.metrics.pop("gradient_norm", None)

    def _measure(self, trainer: Any) -> None:
        length = trainer.state.epoch_length or math.inf  # unknown in the first epoch of a stream
        done = (trainer.state.iteration - 1) % length + 1
        if done % trainer.accumulation_steps and done != length:
            return  # the optimizer waits for more
        gradients = [weight.grad for weight in trainer.network.parameters() if weight.grad is not None]
        norm = float(get_total_norm(gradients))
        if trainer.scaler is not None:
            norm /= trainer.scaler.get_scale()
            if not math.isfinite(norm):
                return
        self._norms.append(norm)

    def _average(self, trainer: Any) -> None:
        if self._norms:
            trainer.state.metrics["gradient_norm"] = float(np.mean(self._norms))


class StopOnNaN:
    """End a training at the first loss that is not finite, before its gradient reaches the weights.

    The checkpoints stay those of before. The batch is kept in ``nan_batch.pt``, which holds ``image`` and
    ``label`` as the network and the loss got them, on the CPU, with ``epoch`` and ``iteration`` (counted over
    the whole training); ``torch.load(..., weights_only=True)`` reads it. It is never tracked: it shows
    patients.

    Args:
        output_dir: folder of the training.

    Raises:
        FloatingPointError: in the training, at a loss of nan or infinity.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.folder = Path(output_dir).absolute()

    def attach(self, engine: Any) -> None:
        """Register on a MONAI trainer."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._check)

    def _check(self, trainer: Any) -> None:
        state = trainer.state
        loss = float(state.output["loss"].detach())
        if math.isfinite(loss):
            return
        kept = {name: state.output.get(name) for name in ("image", "label")}
        batch = {name: _on_cpu(part) for name, part in kept.items() if isinstance(part, torch.Tensor)}
        place = {"epoch": int(state.epoch), "iteration": int(state.iteration)}
        save_checkpoint(self.folder / NAN_BATCH, {**batch, **place})
        raise FloatingPointError(
            f"the loss must be finite, got {loss} in epoch {state.epoch}, iteration {state.iteration}; the "
            f"weights are as before it. Its batch is in {NAN_BATCH}: look there for values that are not "
            "finite, or far off. If there are none, lower the learning rate"
        )


def _on_cpu(tensor: torch.Tensor) -> torch.Tensor:
    # A plain copy: what a slice of a larger tensor belongs to would be saved with it, and metadata are no
    # tensors.
    plain = tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
    return plain.detach().cpu().clone()
