"""What a label-efficiency experiment is: its configuration, read and checked.

A YAML file in MONAI's configuration language (``@name`` refers to another entry)::

    name: pfirrmann                       # of the experiment
    bundle: spine_mr_disc_grading         # its train configuration is run for every cell
    split: folds.json                     # folds of subject ids, also beside this file; default: the bundle's
    folds: [0, 1, 2, 3, 4]                # each is left out once
    seeds: [0, 1, 2, 3, 4]
    budgets: [10%, 25%, 50%, 100%]        # of the training subjects; a bare number counts subjects
    options:                              # entries of the train configuration that take another value
      crops_file: crops.npz
      hparams: {max_epochs: 10}
    sources:                              # pretrainings, one a fold, on its training subjects alone
      same_person:
        bundle: spine_mr_siamese_pretraining
        options: {dataset_dir: volumes}
      turns: {bundle: abdomen_mr_ssl_pretraining, overlays: [rotation]}
      local: {bundle: abdomen_mr_ssl_pretraining, overlays: [local_contrastive], after: turns}
      more: {bundle: abdomen_mr_ssl_pretraining, split: more.json}  # folds of others than the experiment's
      earlier: {run: "runs/siamese_cv/fold_{fold}"}   # trained already
    arms:
      scratch: {}
      frozen: {source: same_person, options: {freeze: true}}
    reference: scratch                    # what the others are compared with
    scorer:                               # see :class:`Scorer`
      _target_: siamed.pipeline.grading.label_scores.DiscScorer
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from monai.bundle import ConfigParser

from siamed.pipeline.bundles import bundle_path
from siamed.pipeline.datasets.splits import count_folds
from siamed.pipeline.experiments.train_bundle import check_entries

__all__ = [
    "Arm",
    "Budget",
    "Experiment",
    "Scorer",
    "Source",
    "experiment_of",
    "flat_options",
    "read_entries",
    "read_experiment",
]

_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")


class Scorer(Protocol):
    """What the held-out subjects of one training are worth.

    Attributes:
        measure: what is measured, for axes and tables.
        parts: of what, by name, such as grades or organs; the experiment is about the first.
    """

    measure: str
    parts: tuple[str, ...]

    def statistics(self, run: Path, subjects: Sequence[str]) -> Mapping[str, np.ndarray]:
        """For each subject and part counts or sums that add up over subjects: ``(parts, *S)``.

        Args:
            run: folder of a finished training: ``run.json``, ``latest.pt``.
            subjects: those left out; one without a labelled case may be missing in the result.
        """
        ...

    def figure(self, summed: np.ndarray) -> np.ndarray:
        """The measure, higher is better, from sums ``(..., *S)`` over subjects: ``(...)``."""
        ...


@dataclass(frozen=True)
class Budget:
    """How many training subjects have labels.

    Args:
        text: as configured.
        share: of the training subjects, in (0, 1]; or
        count: their number.
    """

    text: str
    share: float | None = None
    count: int | None = None

    @classmethod
    def parse(cls, value: Any) -> Budget:
        """From "10%" or 8.

        Raises:
            ValueError: if it is neither a percentage in (0, 100] nor a whole number from 1.
        """
        text = str(value).strip()
        if re.fullmatch(r"\d+(\.\d+)?%", text) and 0 < float(text[:-1]) <= 100:
            return cls(text, share=float(text[:-1]) / 100)
        if re.fullmatch(r"\d+", text) and int(text) > 0:
            return cls(text, count=int(text))
        raise ValueError(
            f'budgets must be percentages such as "10%" or numbers of subjects such as 8, got {value!r}'
        )

    def of(self, subjects: int) -> int:
        """Number of subjects out of so many.

        Raises:
            ValueError: if there are not so many.
        """
        if self.count is not None and self.count > subjects:
            raise ValueError(f"budgets must not exceed the {subjects} training subjects, got {self.count}")
        return self.count if self.count is not None else max(1, round((self.share or 0) * subjects))


@dataclass(frozen=True)
class Source:
    """A pretraining: trained here by its bundle, or a finished run.

    Args:
        name: in arms, folders and tables.
        bundle: whose train configuration is run once a fold.
        options: overrides of it.
        run: path of a finished run with ``{fold}`` in it.
        overlays: names of further configurations of the bundle.
        after: the pretraining that this one starts from.
        split: its own split file, fold by fold as the experiment's; None: the experiment's.
    """

    name: str
    bundle: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    run: str | None = None
    overlays: tuple[str, ...] = ()
    after: str | None = None
    split: Path | None = None


@dataclass(frozen=True)
class Arm:
    """One way to train: from which source, with which overrides of the train configuration."""

    name: str
    source: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """A checked configuration; see the module."""

    name: str
    bundle: str
    split: Path
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    budgets: tuple[Budget, ...]
    options: Mapping[str, Any]
    sources: Mapping[str, Source]
    arms: Mapping[str, Arm]
    reference: str
    scorer: Scorer


_REQUIRED = {"name", "bundle", "budgets", "arms", "reference", "scorer"}
_KEYS = _REQUIRED | {"split", "folds", "seeds", "options", "sources"}


def read_experiment(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Experiment:
    """Read and check a configuration.

    Args:
        path: YAML or JSON.
        overrides: entries that take another value, by name (``options#hparams#max_epochs`` reaches inside).

    Raises:
        ValueError: naming the entry, the rule and the value.
    """
    return experiment_of(read_entries(path, overrides, _REQUIRED, _KEYS), Path(path).parent)


def read_entries(
    path: str | Path, overrides: Mapping[str, Any] | None, required: set[str], known: set[str]
) -> dict[str, Any]:
    """Entries of a configuration file, instantiated; those that only others refer to are left out.

    Args:
        path: YAML or JSON.
        overrides: see :func:`read_experiment`.
        required: names that the file must have.
        known: names that are asked for.

    Raises:
        ValueError: if an override reaches no entry, or a required one is missing.
    """
    parser = ConfigParser()
    parser.read_config(str(path))
    for name, value in (overrides or {}).items():
        try:
            parser[name] = value
        except KeyError as error:
            raise ValueError(f"{name} must be an entry of {Path(path).name}, and is none") from error
    lacking = sorted(required - set(parser.get()))
    if lacking:
        raise ValueError(f"{Path(path).name} must have the entries {sorted(known)}, lacks {lacking}")
    return {key: parser.get_parsed_content(key) for key in known if key in parser}


def experiment_of(got: Mapping[str, Any], folder: Path) -> Experiment:
    """Check entries and make the experiment of them.

    Args:
        got: entries of the module's file, instantiated.
        folder: where split files lie that are not found from the working directory.

    Raises:
        ValueError: naming the entry, the rule and the value.
    """
    bundle = bundle_path(got["bundle"])
    split = _found(got["split"], folder) if got.get("split") else bundle / "configs" / "folds.json"
    known = range(count_folds(split))
    folds = tuple(got.get("folds") or known)
    if not set(folds) <= set(known):
        raise ValueError(f"folds must be some of 0 to {len(known) - 1}, got {list(folds)}")
    sources = {name: _source(name, entry or {}, folder) for name, entry in (got.get("sources") or {}).items()}
    arms = {name: _arm(name, entry or {}, sources) for name, entry in got["arms"].items()}
    if got["reference"] not in arms:
        raise ValueError(f"reference must be one of the arms {list(arms)}, got {got['reference']!r}")
    budgets = tuple(Budget.parse(value) for value in got["budgets"])
    seeds = tuple(int(seed) for seed in got.get("seeds") or (0,))
    for name, values in (("budgets", budgets), ("seeds", seeds), ("folds", folds)):
        if not values or len(set(values)) != len(values):
            raise ValueError(f"{name} must hold each value once and at least one, got {got.get(name)}")
    options = flat_options(got.get("options") or {})
    check_entries("options", got["bundle"], {*options, "split", "fold", "output_dir", "hparams#seed"})
    for arm in arms.values():
        needed = {"pretrained"} if arm.source is not None else set()
        check_entries(f"arms#{arm.name}", got["bundle"], {*arm.options, *needed})
    for source in sources.values():
        _check_source(source, sources, folds)
    return Experiment(
        name=_checked("name", got["name"]),
        bundle=str(got["bundle"]),
        split=split.resolve(),
        folds=folds,
        seeds=seeds,
        budgets=budgets,
        options=options,
        sources=_used(sources, arms),
        arms=arms,
        reference=got["reference"],
        scorer=got["scorer"],
    )


def _found(path: str | Path, folder: Path) -> Path:
    """A file as it is named, or else beside the configuration that names it."""
    beside = folder / path
    return beside if beside.is_file() and not Path(path).is_file() else Path(path)


def _check_source(source: Source, sources: Mapping[str, Source], folds: Sequence[int]) -> None:
    what = f"sources#{source.name}"
    if source.bundle is not None:
        needed = {"split", "fold"} | ({"pretrained"} if source.after else set())
        check_entries(what, source.bundle, {*source.options, *needed}, source.overlays)
    if source.after is not None and source.after not in sources:
        raise ValueError(f"{what}#after must be one of {list(sources)}, got {source.after!r}")
    if source.split is not None and max(folds) >= count_folds(source.split):
        raise ValueError(
            f"{what}#split must have the folds {list(folds)}, {source.split.name} has "
            f"{count_folds(source.split)}"
        )


def _used(sources: Mapping[str, Source], arms: Mapping[str, Arm]) -> dict[str, Source]:
    """The sources of arms and those that they start from, each behind its own.

    Raises:
        ValueError: if sources start from each other in a circle.
    """
    found: dict[str, Source] = {}

    def add(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise ValueError(f"sources#{name}#after must not lead back to itself, got {' > '.join(above)}")
        if name not in found:
            earlier = sources[name].after
            if earlier is not None:
                add(earlier, (*above, name))
            found[name] = sources[name]

    for arm in arms.values():
        if arm.source is not None:
            add(arm.source, ())
    return found


def _checked(what: str, name: Any) -> str:
    if not _NAME.fullmatch(str(name)):
        raise ValueError(f"{what} must be of small letters, digits and _, it names a folder; got {name!r}")
    return str(name)


def _source(name: str, entry: Mapping[str, Any], folder: Path) -> Source:
    _known(f"sources#{name}", entry, {"bundle", "options", "run", "overlays", "after", "split"})
    if ("bundle" in entry) == ("run" in entry):
        raise ValueError(f"sources#{name} must have a bundle to train or a run, got {sorted(entry)}")
    if "run" in entry and entry.get("split"):
        raise ValueError(f"sources#{name} must have no split: its runs have theirs, got {entry['split']!r}")
    if "run" in entry and "{fold}" not in str(entry["run"]):
        raise ValueError(f"sources#{name}#run must hold {{fold}}: a run of each fold, got {entry['run']!r}")
    read: dict[str, Any] = {
        "options": flat_options(entry.get("options") or {}),
        "overlays": tuple(entry.get("overlays") or ()),
        "split": _found(entry["split"], folder).resolve() if entry.get("split") else None,
    }
    return Source(_checked("sources", name), **{**entry, **read})


def _arm(name: str, entry: Mapping[str, Any], sources: Mapping[str, Source]) -> Arm:
    _known(f"arms#{name}", entry, {"source", "options"})
    if entry.get("source") is not None and entry["source"] not in sources:
        raise ValueError(f"arms#{name}#source must be one of {list(sources)}, got {entry['source']!r}")
    return Arm(_checked("arms", name), **{**entry, "options": flat_options(entry.get("options") or {})})


def flat_options(options: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """``{"hparams": {"width": 1}}`` -> ``{"hparams#width": 1}``, as MONAI names entries."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        nested = isinstance(value, Mapping)
        flat |= flat_options(value, f"{above}{name}#") if nested else {f"{above}{name}": value}
    return flat


def _known(what: str, entry: Mapping[str, Any], keys: set[str]) -> None:
    if set(entry) - keys:
        raise ValueError(f"{what} must hold {sorted(keys)} alone, got {sorted(set(entry) - keys)}")
