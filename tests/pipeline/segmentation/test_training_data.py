"""What a training is given: labelled scans of its part, epochs of one length, a weight that moves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import Dataset, MetaTensor, get_track_meta
from monai.transforms import Compose, LoadImage, RandAffine, RandShiftIntensity, RandSpatialCrop, Transform
from numpy.typing import NDArray

from siamed.networks.losses.dice_bce import DiceBCELoss
from siamed.pipeline.datasets.repeated import RepeatedDataset
from siamed.pipeline.segmentation.schedule import DiceWeightSchedule
from siamed.pipeline.segmentation.training_data import FixedDataset, labelled_items


def test_a_part_holds_its_labelled_scans(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}_image.nii.gz").write_bytes(b"")
        if name != "c":
            (tmp_path / f"{name}_label.nii.gz").write_bytes(b"")
    split = tmp_path / "folds.json"
    split.write_text(json.dumps({"folds": [["a"], ["b"], ["c"]]}), encoding="utf-8")
    assert [item["case_id"] for item in labelled_items(tmp_path, split, 0, "training")] == ["b"]
    assert [item["subject_id"] for item in labelled_items(tmp_path, split, 0, "validation")] == ["a"]
    with pytest.raises(ValueError, match="segmented scans of the split's validation part"):
        labelled_items(tmp_path, split, 2, "validation")


def test_an_epoch_has_its_length_and_draws_from_all() -> None:
    data = RepeatedDataset([10, 20, 30], lambda item: item + 1, 60)
    np.random.seed(0)
    first = [data[i] for i in range(len(data))]
    assert len(first) == 60
    assert set(first) == {11, 21, 31}
    np.random.seed(0)
    assert [data[i] for i in range(60)] == first


def test_items_are_the_same_without_metadata_and_are_loaded_with_them(tmp_path: Path) -> None:
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((12, 12, 12)), affine), tmp_path / "scan.nii")
    seen = []

    def load(path: Path) -> MetaTensor:
        image = LoadImage(ensure_channel_first=True)(path)
        seen.append(image.affine.diagonal().tolist()[:3])
        return image

    turned = Compose(
        [RandAffine(prob=1.0, rotate_range=[0.3, 0.3, 0.3]), RandSpatialCrop(6, random_size=False)]
    )
    found = []
    for track_meta in (True, False):
        np.random.seed(0)
        turned.set_random_state(0)
        loading = Dataset([tmp_path / "scan.nii"], load)
        found.append(RepeatedDataset(loading, turned, 1, track_meta)[0])
    assert [type(item) for item in found] == [MetaTensor, torch.Tensor]
    torch.testing.assert_close(found[0].as_tensor(), found[1], rtol=0, atol=0)
    assert seen == [[2.0, 3.0, 4.0]] * 2
    assert get_track_meta()  # it is the whole process's switch


def test_what_cross_entropy_loses_dice_gains() -> None:
    loss = DiceBCELoss(0.4, 1.0, 0.1)
    engine, seen = Engine(lambda *_: None), []
    DiceWeightSchedule(loss, 0.4, 0.8).attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda _: seen.append(loss.dice_weight))
    engine.run([0], max_epochs=5)
    assert seen == pytest.approx([0.4, 0.5, 0.6, 0.7, 0.8])
    with pytest.raises(ValueError, match=r"start and end must rise within \[0, 1\], got 0.8 and 0.4"):
        DiceWeightSchedule(loss, 0.8, 0.4)


def test_what_is_watched_is_drawn_alike_each_time_and_anew_for_each_place() -> None:
    draw = RandShiftIntensity((1.0, 2.0), prob=1.0)
    data = FixedDataset([np.zeros(1), np.full(1, 10.0)], draw, seed=3, length=5)
    first = [float(data[place]) for place in range(5)]
    assert [round(value / 10) for value in first] == [0, 1, 0, 1, 0]  # one item after the other
    assert len(set(first)) == 5
    assert [float(data[place]) for place in reversed(range(5))] == first[::-1]
    assert len(FixedDataset(range(10), None, seed=0, every=3)) == 4


def test_what_is_watched_is_read_when_it_is_asked_for() -> None:
    asked = []

    class Scans(Sequence[int]):
        def __len__(self) -> int:
            return 6

        def __getitem__(self, place: Any) -> Any:
            asked.append(place)
            return place

    data = FixedDataset(Scans(), Compose([]), seed=0, every=2, length=4)
    assert (len(data), asked) == (4, [])
    assert [data[place] for place in range(4)] == asked == [0, 2, 4, 0]


def test_what_is_kept_of_watched_items_is_made_once_and_drawn_like_the_rest() -> None:
    made = []

    class Read(Transform):
        def __call__(self, item: float) -> NDArray[np.float64]:
            made.append(item)
            return np.full(1, item)

    transform = Compose([Read(), RandShiftIntensity((1.0, 2.0), prob=1.0)])
    anew = FixedDataset([0.0, 10.0], transform, seed=3, length=5)
    plain = [float(anew[place]) for place in range(5)]
    assert len(made) == 5
    made.clear()
    kept = FixedDataset([0.0, 10.0], transform, seed=3, length=5, cached=1)
    assert [float(kept[place]) for place in range(5)] == plain
    assert sorted(made) == [0.0, 10.0, 10.0]
