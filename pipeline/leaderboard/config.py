"""What a leaderboard is: a short configuration, from which the experiment follows.

A YAML file in MONAI's configuration language (``@name`` refers to another entry)::

    name: liver                                # of the experiment
    bundle: abdomen_mr_liver_segmentation      # the downstream task
    pretraining: abdomen_mr_ssl_pretraining    # the bundle whose tasks are compared
    pretexts: null                             # their names; null: all of them
    split: draws.json                          # also beside this file; default: the downstream bundle's folds
    pretraining_split: null                    # folds of the pretrainings' subjects; null: those of split
    folds: [0, 1, 2]                           # and seeds, budgets: as in a label-efficiency experiment
    seeds: [0, 1, 2]
    budgets: [2, 4]
    options: {dataset_dir: scans}              # of every downstream training
    pretraining_options: {dataset_dir: scans}  # of every pretraining
    pretrained_in: null                        # OUT of a leaderboard: its pretrainings are taken
    scorer: {_target_: siamed.pipeline.segmentation.label_scores.DiceScorer, ...}

Each task is a source and an arm of its name, compared with the arm ``scratch``. The encoder is handed on; so
is the decoder where the task trains one of the very shape of the downstream network's, and the downstream
bundle takes it (``pretrained_decoder``). A task whose block ``pretext`` says ``after: NAME`` starts from a
run of NAME, whose encoder it keeps as it is; NAME is trained for it even where it is not compared itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from siamed.pipeline.bundles import bundle_path
from siamed.pipeline.experiments.train_bundle import cause_of, check_entries
from siamed.pipeline.experiments.transfer import passport_differences
from siamed.pipeline.label_efficiency.config import (
    Experiment,
    experiment_of,
    flat_options,
    read_entries,
)
from siamed.pipeline.pretexts.pretrain import find_pretexts

__all__ = ["DECODER_OPTION", "SCRATCH", "read_leaderboard"]

SCRATCH = "scratch"
_REQUIRED = {"name", "bundle", "pretraining", "budgets", "scorer"}
_SHARED = {"name", "bundle", "split", "folds", "seeds", "budgets", "options", "scorer"}
_KEYS = _REQUIRED | _SHARED | {"pretexts", "pretraining_split", "pretraining_options", "pretrained_in"}
DECODER_OPTION = "pretrained_decoder"


@dataclass(frozen=True)
class _Configured:
    """What a train configuration with its options makes, as far as two of them must agree.

    Args:
        hparams: its hyper-parameters.
        decoder: shapes of the decoder's tensors by name; None without a decoder.
        takes_decoder: whether a pretrained decoder can be asked for.
        after: the task that this one starts from.
    """

    hparams: Mapping[str, Any]
    decoder: Mapping[str, tuple[int, ...]] | None
    takes_decoder: bool
    after: str | None

    @classmethod
    def of(
        cls, what: str, bundle: str, options: Mapping[str, Any], overlays: Sequence[str] = ()
    ) -> _Configured:
        parser = check_entries(what, bundle, {*options, "hparams", "network_def"}, overlays)
        for name, value in options.items():
            parser[name] = value
        try:
            network = parser.get_parsed_content("network_def")
        except RuntimeError as error:
            said = cause_of(error)
            raise ValueError(f"{what} must make a network of {bundle_path(bundle).name}: {said}") from error
        return cls(
            hparams=parser.get_parsed_content("hparams"),
            decoder=_shapes(getattr(network, "decoder", None)),
            takes_decoder=DECODER_OPTION in parser,
            after=parser.get("pretext#after"),
        )


def _shapes(module: nn.Module | None) -> dict[str, tuple[int, ...]] | None:
    return None if module is None else {key: tuple(v.shape) for key, v in module.state_dict().items()}


def read_leaderboard(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Experiment:
    """Read and check a configuration, and derive the experiment.

    Args:
        path: YAML or JSON.
        overrides: entries that take another value, by name (``options#hparams#max_epochs`` reaches inside).

    Raises:
        ValueError: naming the entry, the rule and the value; for a task that there is not, those there are;
            for one whose trunk the downstream network cannot take, both names and what differs.
    """
    got = read_entries(path, overrides, _REQUIRED, _KEYS)
    bundle, pretraining = str(got["bundle"]), str(got["pretraining"])
    known = find_pretexts(pretraining)
    compared = _compared(got.get("pretexts"), known, pretraining)
    theirs = flat_options(got.get("pretraining_options") or {})
    downstream = _Configured.of("options", bundle, flat_options(got.get("options") or {}))
    tasks = _with_those_before(compared, pretraining, known, theirs)
    for name, task in tasks.items():
        _check_trunk(name, pretraining, task, bundle, downstream)
    earlier, own_split = got.get("pretrained_in"), got.get("pretraining_split")
    if earlier and own_split:
        raise ValueError(
            f"pretrained_in must come without a pretraining_split: its runs have theirs, got {own_split!r}"
        )
    sources = {
        name: {"run": f"{earlier}/sources/{name}/fold_{{fold}}", "after": task.after}
        if earlier
        else {
            "bundle": pretraining,
            "overlays": known[name],
            "options": {"freeze": True, **theirs} if task.after else theirs,
            "after": task.after,
            "split": own_split,
        }
        for name, task in tasks.items()
    }
    arms = {name: {"source": name, "options": _handed_on(tasks[name], downstream)} for name in compared}
    entries = {key: got[key] for key in _SHARED if key in got}
    derived = {"sources": sources, "arms": {SCRATCH: {}, **arms}, "reference": SCRATCH}
    return experiment_of({**entries, **derived}, Path(path).parent)


def _compared(asked: Sequence[str] | None, known: Collection[str], pretraining: str) -> list[str]:
    """Names of the tasks that are compared."""
    if not known:
        raise ValueError(
            f"pretraining must be a bundle with tasks, {bundle_path(pretraining).name} has no configuration "
            "with a block pretext and a name in it"
        )
    names = sorted(known) if asked is None else [str(name) for name in asked]
    if not names or len(set(names)) != len(names) or not set(names) <= set(known):
        raise ValueError(f"pretexts must be some of {sorted(known)}, each once, or null for all; got {asked}")
    if SCRATCH in names:
        raise ValueError(f"pretexts must not be called {SCRATCH!r}: that is the arm without a pretraining")
    return names


def _with_those_before(
    compared: Sequence[str],
    pretraining: str,
    known: Mapping[str, tuple[str, ...]],
    options: Mapping[str, Any],
) -> dict[str, _Configured]:
    """The tasks and those that they start from, by name."""
    found: dict[str, _Configured] = {}
    waiting = list(compared)
    while waiting:
        name = waiting.pop(0)
        if name not in known:
            raise ValueError(
                f"pretext#after must name a task of {bundle_path(pretraining).name}, got {name!r}"
            )
        if name not in found:
            found[name] = _Configured.of("pretraining_options", pretraining, options, known[name])
            waiting += [after for after in [found[name].after] if after is not None]
    return found


def _check_trunk(
    name: str, pretraining: str, task: _Configured, bundle: str, downstream: _Configured
) -> None:
    """What a training would refuse too, said before hours of pretraining."""
    differing = passport_differences(downstream.hparams, task.hparams)
    if differing:
        raise ValueError(
            f"pretexts must have the trunk of {bundle_path(bundle).name}, {name} of "
            f"{bundle_path(pretraining).name} differs in {'; '.join(differing)}"
        )


def _handed_on(task: _Configured, downstream: _Configured) -> dict[str, bool]:
    """The option of the arm that asks for the decoder or does without it."""
    if not downstream.takes_decoder:
        return {}
    return {DECODER_OPTION: task.decoder is not None and task.decoder == downstream.decoder}
