"""Check a grader's hotspots: what they depend on, where they point, and whether they find a planted defect.

    python -m siamed.pipeline.grading.hotspot_checks --crops_file crops.npz --out runs/hotspot_checks \\
        --runs "runs/grader_cv/seed_0_fold_{fold}" --dataset_dir SPIDER

With ``--runs`` each disc is looked at by the network that has not seen its patient, else by the shipped
bundle, which has. What is measured stands in :mod:`siamed.pipeline.grading.hotspot_metrics`. Pointing: a
map's maximum lies in the disc or in the 4 mm of vertebra next to it, by the masks of SPIDER's T2 SPACE
volumes (``--dataset_dir``). Planted defects: a small network is trained on phantom discs whose label one
defect alone decides; a hit is a maximum within the defect, plus one pixel, on other phantoms, in the plane
and in its slice of five. What is written: ``hotspot_checks.json``, ``table.md``, ``planted.png``.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler
from scipy import ndimage
from torch.nn import functional
from tqdm import tqdm

from siamed.networks.vgg_m import MultiTaskVGGM
from siamed.pipeline.bundles import bundle_hparams, bundle_path, load_network, run_network
from siamed.pipeline.datasets.splits import fold_parts, read_folds
from siamed.pipeline.detection import VertebraDetector
from siamed.pipeline.detection.training_data import canonical_image, labelled_volumes
from siamed.pipeline.detection.vertebra import Column
from siamed.pipeline.experiments.files import replace_file, write_json
from siamed.pipeline.experiments.record import circumstances
from siamed.pipeline.phantoms.lesions import LesionDiscs, planted_lesions
from siamed.transforms.extract_disc import ExtractDisc
from siamed.transforms.extract_volume import VIEW_MARGIN_PX
from siamed.transforms.rand_volume_view import RandVolumeViewd

from .crops import DiscCrops
from .grader import DiscGrader
from .hotspot_metrics import (
    Mapper,
    deletion_and_insertion,
    hotspot_mapper,
    knowing_nothing,
    peak_in_region,
    randomized_weights,
    stock_mapper,
)
from .hotspots import EvidenceHotspots

__all__ = ["PlantedResult", "graders_of", "main", "planted_defects", "reader_regions"]

log = logging.getLogger(__name__)

BUNDLE, DETECTION_BUNDLE = "spine_mr_disc_grading", "spine_mr_vertebra_detection"
_VERTEBRA, _DISC = 1, 2
_NEAR_MM = 4.0
_RATE = 0.0005
_VIEWS: dict[str, Any] = {
    "angle_deg": 15.0,
    "shift_x_px": 16.0,
    "shift_y_px": 8.0,
    "scale": 0.1,
    "intensity": 0.1,
    "flip": 0.5,
}
PlantedResult = dict[str, Any]


def reader_regions(
    image_file: str | Path, label_file: str | Path, detector: Callable[[MetaTensor], Column]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Discs of a labelled volume and where a reader would look at them.

    Yields:
        For each disc that can be cut its volume ``(1, D, H, W)`` with the margin of views, and the region
        ``(D, H, W)`` bool: the disc and the vertebra within 4 mm of it, in plane.
    """
    (array, affine), (labels, _) = canonical_image(image_file), canonical_image(label_file)
    image = MetaTensor(torch.from_numpy(array.astype(np.float32))[None], affine=torch.from_numpy(affine))
    label = MetaTensor(torch.from_numpy(labels.astype(np.float32))[None], affine=torch.from_numpy(affine))
    column, cut = detector(image), ExtractDisc.with_margin(VIEW_MARGIN_PX)
    for disc in column.discs:
        upper, lower = (column.vertebrae[i].slice_corners_mm for i in (disc.upper, disc.lower))
        try:
            volume = cut(image, upper, lower)
            tissue = cut(label, upper, lower, mode="nearest", normalize=False)
        except ValueError as error:
            log.warning("a disc cannot be cut: %s", error)
            continue
        spacing = np.linalg.norm(np.asarray(volume.affine, float)[:3, 1:3], axis=0)
        ids = tissue.as_tensor()[0].numpy().round()
        region = np.zeros(ids.shape, bool)
        for d, plane in enumerate(ids):
            if (plane == _DISC).any():
                away = ndimage.distance_transform_edt(plane != _DISC, sampling=spacing)
                region[d] = (plane == _DISC) | ((plane == _VERTEBRA) & (away <= _NEAR_MM))
        yield volume.as_tensor(), torch.from_numpy(region)


def planted_defects(
    slices: int = 1, spines: int = 70, epochs: int = 28, samples: int = 10, seed: int = 0
) -> tuple[PlantedResult, LesionDiscs, torch.Tensor]:
    """Train on phantom discs with planted defects, and look where the hotspots of others lie.

    Args:
        slices: of a volume; the defect is in one of them.
        spines: phantoms to train on; a third as many are looked at.
        epochs: of the training.
        samples: views of a hotspot.
        seed: of phantoms and training.

    Returns:
        Figures; the discs looked at; their maps ``(N, D, H, W)``.
    """
    torch.manual_seed(seed)
    known, new = (planted_lesions(n, slices, 2 * seed + i) for i, n in enumerate((spines, spines // 3)))
    field = (56, 112)
    network = MultiTaskVGGM([2], slices, field, 0.25, 64, 0.0, batch_norm=True, conv2_stride=1)
    view = RandVolumeViewd("image", field, field, **_VIEWS)
    view.set_random_state(seed=seed)
    items = [
        {"image": torch.from_numpy(volume)[None], "label": torch.tensor([label])}
        for volume, label in zip(known.volumes, known.label.tolist(), strict=True)
    ]
    loader = DataLoader(Dataset(items, view), batch_size=32, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=0.02)
    schedule: Any = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, epochs * len(loader))
    SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=loader,
        network=network,
        optimizer=optimizer,
        loss_function=lambda scores, label: functional.cross_entropy(scores, label[:, 0]),
        train_handlers=[LrScheduleHandler(schedule, print_lr=False, epoch_level=False)],
    ).run()
    grader = DiscGrader(network, ["upper_endplate"], slices, field, field)
    volumes = torch.from_numpy(new.volumes)[:, None]
    given = torch.tensor([answer["upper_endplate"]["grade"] for answer in grader(volumes)])
    label = torch.from_numpy(new.label)
    there = [{"upper_endplate": 1}] * len(volumes)
    smooth = EvidenceHotspots(grader, _VIEWS, samples, seed=seed)(volumes, there).smoothed(1.5)
    defect = torch.from_numpy(np.stack([_defect(new, n) for n in range(len(label))]))
    found = (label == 1) & (given == 1)
    flat, flat_defect = smooth.sum(2, keepdim=True), defect.any(1, keepdim=True)
    middle = knowing_nothing(grader, "middle")(volumes, there).sum(2, keepdim=True)
    figures = {
        "slices": slices,
        "discs_with_a_defect": int((label == 1).sum()),
        "found": int(found.sum()),
        "accuracy": float((given == label).float().mean()),
        "hit_in_plane": _mean(peak_in_region(flat, flat_defect)[found]),
        "hit_in_its_slice": _mean(peak_in_region(smooth, defect)[found]),
        "the_middle_hits_in_plane": _mean(peak_in_region(middle, flat_defect)[found]),
        "defect_of_the_picture": _mean(flat_defect[found]),
    }
    return figures, new, smooth[:, 0]


def _mean(values: torch.Tensor) -> float | None:
    return float(values.float().mean()) if len(values) else None  # JSON knows no nan


def _defect(discs: LesionDiscs, index: int) -> np.ndarray:
    region = np.zeros(discs.volumes.shape[1:], bool)
    if discs.label[index]:
        place, row, column = discs.center[index]
        rows, columns = np.indices(region.shape[1:])
        region[int(place)] = np.hypot(rows - row, columns - column) <= discs.radius_px[index] + 1
    return region


def graders_of(runs: str | None, folds: Sequence[int]) -> Iterator[tuple[int, DiscGrader, Mapping[str, Any]]]:
    """For each fold its number, the grader of its run, or the shipped one without runs, and its hparams."""
    for fold in folds:
        if runs is None:
            network, hparams = load_network(BUNDLE), bundle_hparams(BUNDLE)
        else:
            network, hparams = run_network(runs.format(fold=fold))
        yield fold, DiscGrader.from_hparams(network, hparams), hparams


def _ways(grader: DiscGrader, hparams: Mapping[str, Any], samples: int) -> dict[str, Mapper]:
    return {
        "hotspots": hotspot_mapper(grader, hparams, samples),
        "GradCAM": stock_mapper(grader, "GradCAM"),
        "SmoothGrad": stock_mapper(grader, "SmoothGrad", samples),
        "the middle": knowing_nothing(grader, "middle"),
        "random": knowing_nothing(grader, "random"),
    }


def _given(grader: DiscGrader, volumes: torch.Tensor) -> list[dict[str, int]]:
    return [{task: a["grade"] for task, a in answer.items()} for answer in grader(volumes)]


def _on_crops(
    crops: DiscCrops, split: Path, runs: str | None, folds: Sequence[int], discs: int, samples: int
) -> dict[str, Any]:
    """Randomized weights, deletion and insertion, on as many T2 discs of each fold."""
    randomized: list[dict[str, float]] = []
    curves: dict[str, list[np.ndarray]] = {}
    graders = tqdm(graders_of(runs, folds), "folds", len(folds), disable=not sys.stderr.isatty())
    for fold, grader, hparams in graders:
        own = crops.of(fold_parts(split, fold, "validation"), ["T2"])
        chosen = np.sort(np.random.default_rng(fold).permutation(len(own))[:discs])
        volumes = torch.from_numpy(own.images[chosen]).float()[:, None]
        grades = _given(grader, volumes)
        randomized.append(randomized_weights(grader, hparams, volumes, samples))
        for name, mapper in _ways(grader, hparams, samples).items():
            both = deletion_and_insertion(grader, volumes, grades, mapper(volumes, grades))
            curves.setdefault(name, []).append(np.stack(both))
        tasks = grader.tasks
    means = {name: np.concatenate(parts, 1).mean(1) for name, parts in curves.items()}
    return {
        "discs": sum(part.shape[1] for part in curves["hotspots"]),
        "randomized_weights": {
            name: float(np.mean([part[name] for part in randomized])) for name in randomized[0]
        },
        "deletion": {n: dict(zip(tasks, m[0].tolist(), strict=True)) for n, m in means.items()},
        "insertion": {n: dict(zip(tasks, m[1].tolist(), strict=True)) for n, m in means.items()},
    }


def _on_masks(
    dataset_dir: Path, split: Path, runs: str | None, folds: Sequence[int], samples: int
) -> dict[str, Any]:
    """Pointing, on the labelled T2 SPACE volumes."""
    detector = VertebraDetector.from_bundle(DETECTION_BUNDLE)
    hits: dict[str, list[np.ndarray]] = {}
    areas: list[float] = []
    for fold, grader, hparams in graders_of(runs, folds):
        scans = labelled_volumes(dataset_dir, ["space_half"], fold_parts(split, fold, "validation"))
        for scan in tqdm(scans, desc=f"volumes of fold {fold}", disable=not sys.stderr.isatty()):
            found = list(reader_regions(scan.image, scan.label, detector))
            if not found:
                continue
            volumes, regions = (torch.stack(part) for part in zip(*found, strict=True))
            seen = regions[:, grader.seen_slices(regions.shape[1])].flatten(1).any(1)
            volumes, regions = volumes[seen], regions[seen]
            if not len(volumes):
                continue
            grades = _given(grader, volumes)
            rows, columns = VIEW_MARGIN_PX
            shown = grader.seen_slices(regions.shape[1])
            inside = regions[:, shown, rows:-rows, columns:-columns]
            areas += inside.float().mean((1, 2, 3)).tolist()
            for name, mapper in _ways(grader, hparams, samples).items():
                maps = mapper(volumes, grades)[:, :, shown, rows:-rows, columns:-columns]
                hits.setdefault(name, []).append(peak_in_region(maps, inside).numpy())
        tasks = grader.tasks
        log.info("fold %d: %d discs", fold, len(areas))
    if not hits:
        return {}
    means = {name: np.concatenate(parts).mean(0).tolist() for name, parts in hits.items()}
    return {
        "discs": len(areas),
        "area_of_the_region": float(np.mean(areas)),
        "peak_in_region": {name: dict(zip(tasks, m, strict=True)) for name, m in means.items()},
    }


def _table(result: Mapping[str, Any]) -> str:
    on_crops, pointing, planted = result["crops"], result.get("pointing"), result["planted"]
    lines = ["| new random weights in | rank correlation with the trained network's map |", "|---|---|"]
    lines += [f"| {name} | {value:.2f} |" for name, value in on_crops["randomized_weights"].items()]
    tasks = list(on_crops["deletion"]["hotspots"])
    for title, table in (
        ("deletion (lower is better)", on_crops["deletion"]),
        ("insertion (higher is better)", on_crops["insertion"]),
        *([("maximum in the disc or at its endplates", pointing["peak_in_region"])] if pointing else []),
    ):
        lines += ["", f"| {title} | {' | '.join(tasks)} | mean |", "|---|" + "---|" * (len(tasks) + 1)]
        for name, row in table.items():
            values = [*(row[task] for task in tasks), float(np.mean(list(row.values())))]
            lines.append(f"| {name} | {' | '.join(f'{value:.3f}' for value in values)} |")
    if pointing:
        lines.append(f"\nThe region takes {pointing['area_of_the_region']:.3f} of the picture.")
    lines += [
        "",
        "| planted defects | found by the network | hit in plane | in its slice | the middle hits |",
    ]
    lines.append("|---|---|---|---|---|")
    for row in planted:
        shares = (row["hit_in_plane"], row["hit_in_its_slice"], row["the_middle_hits_in_plane"])
        lines.append(
            f"| {row['slices']} slice{'s' * (row['slices'] > 1)} | {row['found']} of "
            f"{row['discs_with_a_defect']} | "
            f"{' | '.join('none' if share is None else f'{share:.3f}' for share in shares)} |"
        )
    return "\n".join(lines) + "\n"


def _draw_planted(discs: LesionDiscs, maps: torch.Tensor, count: int = 6) -> Any:
    from matplotlib.figure import Figure

    chosen = np.flatnonzero(discs.label)[:count]
    figure = Figure(figsize=(10, 2.2 * len(chosen)), layout="constrained")
    for row, n in enumerate(chosen):
        place, y, x = discs.center[n]
        heat = (maps[n] / maps[n].max().clamp(min=1e-9)).numpy()
        for column in range(2):
            axes = figure.add_subplot(len(chosen), 2, 2 * row + column + 1)
            axes.imshow(discs.volumes[n, int(place)], cmap="gray", vmin=0, vmax=1)
            axes.set_axis_off()
            if column:
                axes.imshow(heat[int(place)], cmap="hot", alpha=0.8 * heat[int(place)])
                axes.plot(x, y, "c+")
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops_file", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", help="graders of each fold, a path with {fold} in it")
    parser.add_argument("--dataset_dir", type=Path, help="SPIDER, for its masks")
    parser.add_argument("--folds", type=int, nargs="+", help="some folds only")
    parser.add_argument("--discs", type=int, default=40, help="of each fold, for weights and deletion")
    parser.add_argument("--samples", type=int, default=10, help="views of a hotspot")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    split = bundle_path(BUNDLE) / "configs" / "folds.json"
    folds = list(range(len(read_folds(split)))) if chosen.folds is None else chosen.folds
    common = (split, chosen.runs, folds)
    planted: list[PlantedResult] = []
    for slices in (5, 1):  # the last one is drawn
        figures, discs, maps = planted_defects(slices, samples=chosen.samples)
        planted.insert(0, figures)
        log.info("planted defects: %s", figures)
    result = {
        "samples": chosen.samples,
        "patients": "held out" if chosen.runs else "seen in training",
        "crops": _on_crops(DiscCrops.load(chosen.crops_file), *common, chosen.discs, chosen.samples),
        "planted": planted,
        **circumstances(),
    }
    if chosen.dataset_dir is not None:
        result["pointing"] = _on_masks(chosen.dataset_dir, *common, chosen.samples)
    table = _table(result)
    write_json(chosen.out / "hotspot_checks.json", result)
    replace_file(chosen.out / "table.md", lambda beside: beside.write_text(table, encoding="utf-8"))
    figure = _draw_planted(discs, maps)
    replace_file(chosen.out / "planted.png", partial(figure.savefig, dpi=100, format="png"))
    sys.stdout.write(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
