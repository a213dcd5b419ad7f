"""The grader: views averaged, slices from the middle, grades as their standards count them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from siamed.networks.vgg_m import MultiTaskVGGM
from siamed.pipeline.grading import DiscGrader
from siamed.pipeline.grading.averaging import dense_probabilities
from siamed.pipeline.grading.calibration import GradeCalibration
from siamed.pipeline.grading.grader import grade_of

TASKS = ["pfirrmann", "bulging"]


class BrightnessNet(nn.Module):
    """Scores that follow the mean brightness: five steps for Pfirrmann; above a half bulges."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        self.seen.append(volume)
        mean = volume.flatten(1).mean(1, keepdim=True)
        steps = torch.linspace(0.1, 0.9, 5)
        return torch.cat([-200 * (mean - steps) ** 2, 0.5 - mean, mean - 0.5], dim=1)


def grader(**changes) -> DiscGrader:
    arguments = {"tasks": TASKS, "slices": 1, "field_px": (112, 224), "input_size": (56, 112)}
    return DiscGrader(BrightnessNet(), **{**arguments, **changes})


def test_brighter_discs_get_higher_grades_of_the_standards_scale() -> None:
    volumes = torch.ones(5, 1, 9, 112, 224) * torch.linspace(0.1, 0.9, 5)[:, None, None, None, None]
    answers = grader()(volumes)
    assert [answer["pfirrmann"]["grade"] for answer in answers] == [1, 2, 3, 4, 5]
    assert [answer["bulging"]["grade"] for answer in answers][:2] == [0, 0]
    assert list(answers[0]) == TASKS
    for answer in answers:
        shares = answer["pfirrmann"]["probabilities"]
        assert list(shares) == ["1", "2", "3", "4", "5"]
        assert sum(shares.values()) == pytest.approx(1.0, abs=1e-5)
        expected = sum(int(grade) * share for grade, share in shares.items())
        assert answer["pfirrmann"]["expected"] == pytest.approx(expected)


def test_only_the_middle_slices_are_seen() -> None:
    volumes = torch.zeros(1, 1, 9, 112, 224)
    volumes[:, :, 4] = 0.9
    assert grader()(volumes)[0]["pfirrmann"]["grade"] == 5
    three = grader(slices=3)
    three(volumes)
    assert tuple(three.network.seen[0].shape) == (1, 1, 3, 56, 112)
    assert three.network.seen[0][0, 0].flatten(1).mean(1).tolist() == pytest.approx([0.0, 0.9, 0.0], abs=1e-5)


def test_probabilities_are_the_mean_over_the_views() -> None:
    volumes = torch.rand(3, 1, 9, 112, 224)
    views = [(1.0, 0.0, 0.0), (0.9, 4.0, -8.0)]
    both = grader(views=views).probabilities(volumes)
    first, second = (grader(views=[view]).probabilities(volumes) for view in views)
    for task in range(2):
        torch.testing.assert_close(both[task], (first[task] + second[task]) / 2)


def test_the_shipped_views_never_leave_the_volume() -> None:
    from siamed.pipeline.bundles import bundle_hparams

    hparams = bundle_hparams("spine_mr_disc_grading")
    shipped = grader(views=hparams["views"])
    shipped(torch.ones(1, 1, 9, 112, 224))
    assert len(shipped.network.seen) == len(hparams["views"])
    assert min(float(seen.min()) for seen in shipped.network.seen) == pytest.approx(1.0, abs=1e-5)


def test_a_disc_is_graded_alike_alone_and_among_others() -> None:
    volumes = torch.rand(4, 1, 9, 112, 224)
    torch.testing.assert_close(
        grader().probabilities(volumes)[0][2:3], grader().probabilities(volumes[2:3])[0]
    )


def test_no_disc_gives_no_answer() -> None:
    assert grader()(torch.zeros(0, 1, 9, 112, 224)) == []


def test_ties_go_to_the_lower_grade() -> None:
    assert grade_of("modic", [0.3, 0.3, 0.2, 0.2])["grade"] == 0


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"volumes must be \(N, 1, at least 3, H, W\)"):
        grader(slices=3)(torch.zeros(1, 1, 1, 112, 224))
    with pytest.raises(ValueError, match="views must hold at least one look"):
        grader(views=[])
    with pytest.raises(ValueError, match="tasks must be some of"):
        grader(tasks=["stenosis"])


def test_a_calibration_softens_probabilities_and_names_the_likely_grades() -> None:
    calibration = GradeCalibration(0.9, {"pfirrmann": 8.0}, {"pfirrmann": 0.15, "bulging": 0.2})
    volumes = torch.ones(2, 1, 9, 112, 224) * torch.tensor([0.5, 0.56])[:, None, None, None, None]
    plain, soft = grader()(volumes), grader(calibration=calibration)(volumes)
    for before, after in zip(plain, soft, strict=True):
        assert before["pfirrmann"]["grade"] == after["pfirrmann"]["grade"] == 3
        assert before["pfirrmann"]["probabilities"]["3"] > after["pfirrmann"]["probabilities"]["3"]
        assert before["bulging"]["probabilities"] == pytest.approx(after["bulging"]["probabilities"])
        assert "likely" not in before["pfirrmann"]
    assert [answer["pfirrmann"]["likely"] for answer in soft] == [[2, 3, 4], [3, 4]]
    assert grader(calibration=calibration).with_views([(0.9, 0, 0)]).calibration is calibration


def test_a_margin_is_looked_at_by_a_dense_pass_where_the_grader_is_told_so() -> None:
    torch.manual_seed(0)
    network = MultiTaskVGGM([5, 2], 1, (56, 112), 0.1, 8, 0.0, batch_norm=True, conv2_stride=1)
    plain, dense = (DiscGrader(network, TASKS, 1, (112, 224), (56, 112), dense=d) for d in (False, True))
    wide = torch.rand(3, 1, 1, 160, 320)
    narrow = wide[..., 24:-24, 48:-48]
    for one, other in zip(plain.probabilities(narrow), dense.probabilities(narrow), strict=True):
        assert torch.equal(one, other)  # there is nothing to shift into
    expected = dense_probabilities(plain, wide, (0,))
    for one, other in zip(dense.probabilities(wide), expected, strict=True):
        assert torch.equal(one, other)
    assert not torch.allclose(plain.probabilities(wide)[0], expected[0])
    assert not dense.with_views([(1.0, 0, 0)]).dense


def test_windows_and_orders_of_a_dense_grader_are_the_papers_looks() -> None:
    torch.manual_seed(0)
    network = MultiTaskVGGM([5, 2], 3, (56, 112), 0.1, 8, 0.0, batch_norm=True, conv2_stride=1)
    common = (network, TASKS, 3, (112, 224), (56, 112))
    whole = DiscGrader(*common, dense=True, windows=(-1, 0, 1), reflected=(False, True))
    assert (whole.depth, DiscGrader(*common, dense=True).depth, DiscGrader(*common).depth) == (5, 3, 3)
    volumes = torch.rand(2, 1, whole.depth, 160, 320)
    found = whole.probabilities(volumes)
    # 54 looks are the mean of the six passes of nine.
    passes = [
        DiscGrader(*common, dense=True, windows=(w,), reflected=(r,)).probabilities(volumes)
        for w in (-1, 0, 1)
        for r in (False, True)
    ]
    for task, part in enumerate(found):
        torch.testing.assert_close(part, torch.stack([one[task] for one in passes]).mean(0))
    with pytest.raises(ValueError, match="volumes must have 5 slices for a window moved by"):
        whole.probabilities(volumes[:, :, 1:-1])
    with pytest.raises(ValueError, match="windows and reflected must hold one value at least"):
        DiscGrader(*common, dense=True, windows=())
