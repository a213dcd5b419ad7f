"""What is seen of a task: the panels of each kind of item, and the files that are made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from matplotlib.backends.backend_agg import FigureCanvasAgg

from siamed.pipeline.pretexts.figures import (
    ClassPicture,
    OffsetPicture,
    Panel,
    Picture,
    PixelPicture,
    PretextFigure,
    SaveItems,
    ViewPicture,
    draw_items,
)


def slab(*values: float) -> torch.Tensor:
    """Slices ``(C, 2, 3)`` of one value each."""
    return torch.tensor(values).view(-1, 1, 1).expand(-1, 2, 3).clone()


def shown(panels: list[Panel]) -> list[tuple[str, Any]]:
    """Headings, and the one value of each picture."""
    assert all(np.ptp(panel.pixels) == 0 and panel.pixels.shape == (2, 3) for panel in panels)
    return [(panel.title, panel.pixels[0, 0]) for panel in panels]


# --- pixels ----------------------------------------------------------------------------------------------


def test_the_answer_is_pasted_where_pixels_were_hidden_and_nowhere_else() -> None:
    image, target, pred = slab(0, 1, 2), slab(0, 5, 2), slab(7, 7, 7)
    mask = torch.tensor([[[1.0, 0, 0], [0, 0, 1]]])
    panels = PixelPicture().panels(image, torch.cat([target, mask]), pred)
    assert [panel.title for panel in panels] == ["input", "target", "output", "difference"]
    assert panels[0].pixels.tolist() == [[1, 1, 1], [1, 1, 1]]  # the middle slice
    assert panels[1].pixels.tolist() == [[5, 5, 5], [5, 5, 5]]
    assert panels[2].pixels.tolist() == [[7, 1, 1], [1, 1, 7]]
    assert panels[3].pixels.tolist() == [[2, 4, 4], [4, 4, 2]]


def test_without_a_mask_the_whole_answer_is_shown() -> None:
    found = shown(PixelPicture().panels(slab(0, 1, 2), slab(0, 1, 2), slab(7, 8, 9)))
    assert found == [("input", 1), ("target", 1), ("output", 8), ("difference", 7)]


def test_the_middle_of_a_volume_is_its_middle_slice() -> None:
    volume = slab(0, 1, 2, 3, 4)[None]
    assert shown(PixelPicture().panels(volume, volume, None)) == [("input", 2), ("target", 2)]


# --- classes ---------------------------------------------------------------------------------------------


def test_the_heading_names_the_class_and_the_answer() -> None:
    picture, image = ClassPicture(["up", "down"]), slab(1, 2, 3)
    assert shown(picture.panels(image, torch.tensor(1), None)) == [("down", 2)]
    answered = picture.panels(image, torch.tensor(1), torch.tensor([3.0, 1.0]))
    assert shown(answered) == [("down, answer: up", 2)]


def test_of_a_pair_the_class_is_the_querys() -> None:
    panels = ClassPicture(["up", "down"], 2).panels(slab(1, 2, 3, 4, 5, 6), torch.tensor(0), None)
    assert shown(panels) == [("reference", 2), ("query: up", 5)]


# --- offsets ---------------------------------------------------------------------------------------------


def test_an_offset_is_said_in_numbers() -> None:
    patches, label = slab(1, 2, 3, 4, 5, 6), torch.tensor([0.5, -1.0])
    asked = OffsetPicture().panels(patches, label, None)
    assert shown(asked) == [("reference", 2), ("query: offset (+0.50, -1.00)", 5)]
    answered = OffsetPicture().panels(patches, label, torch.tensor([0.25, 0.0]))
    assert answered[1].title == "query: offset (+0.50, -1.00), answer (+0.25, +0.00)"


def test_an_offset_is_shown_as_a_heatmap() -> None:
    patches, label, pred = slab(1, 2, 3, 4, 5, 6), slab(0.75), slab(0.5)
    asked = [("reference", 2), ("query", 5), ("heatmap", 0.75)]
    assert shown(OffsetPicture().panels(patches, label, None)) == asked
    answered = shown(OffsetPicture().panels(patches, label, pred))
    assert answered == [*asked, ("output", 0.5), ("difference", 0.25)]


# --- views -----------------------------------------------------------------------------------------------


def test_views_say_their_part_of_the_body_if_they_have_one() -> None:
    views = slab(1, 2, 3, 4, 5, 6)
    alone = ViewPicture().panels(views, torch.tensor(-1), None)
    assert shown(alone) == [("a view", 2), ("another", 5)]
    assert ViewPicture().panels(views, torch.tensor(0), None)[0].title == "a view, part 0"


def test_views_say_how_near_their_embeddings_are() -> None:
    views, angle = slab(1, 2), torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    assert ViewPicture().panels(views, torch.tensor(-1), angle)[1].title == "another, cosine of the two 0.60"
    maps = angle[:, :, None, None].expand(2, 2, 4, 4)
    assert ViewPicture().panels(views, torch.tensor(-1), maps)[1].title == "another, cosine of the two 0.60"


# --- figures ---------------------------------------------------------------------------------------------


def item(label: int) -> dict[str, torch.Tensor]:
    return {"image": torch.rand(3, 4, 4), "label": torch.tensor(label), "pred": torch.tensor([0.0, 1.0])}


def titles(figure: Any) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def test_a_row_an_item_and_a_column_a_panel() -> None:
    hidden = {"image": torch.rand(1, 4, 4), "label": torch.rand(2, 4, 4)}
    answered = {**hidden, "pred": torch.rand(1, 4, 4)}
    figure = draw_items(PixelPicture(), [hidden, answered])
    assert titles(figure) == ["input", "target", "", "", "input", "target", "output", "difference"]
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 0, 0, 1, 1, 1, 1]
    assert not any(axes.axison for axes in figure.axes)


def test_images_of_an_item_share_their_grays_and_differences_have_their_own() -> None:
    dark = {
        "image": torch.full((1, 4, 4), 3.0),
        "label": torch.rand(1, 4, 4),
        "pred": 1 + torch.rand(1, 4, 4),
    }
    limits = [axes.images[0].get_clim() for axes in draw_items(PixelPicture(), [dark]).axes]
    assert limits[:3] == [(dark["label"].min(), 3.0)] * 3
    assert limits[3] != limits[0]


def test_a_picture_of_colors_alone_can_be_drawn() -> None:
    class Heat:
        def panels(self, image: torch.Tensor, label: torch.Tensor, pred: torch.Tensor | None) -> list[Panel]:
            return [Panel("heat", image[0].numpy(), "viridis")]

    heat = {"image": torch.arange(6.0).view(1, 2, 3), "label": torch.tensor(0)}
    assert draw_items(Heat(), [heat]).axes[0].images[0].get_clim() == (0, 5)


def test_a_long_heading_stays_within_the_figure() -> None:
    offset = {"image": torch.rand(6, 48, 48), "label": torch.tensor([0.44, 0.81]), "pred": torch.zeros(2)}
    figure = draw_items(OffsetPicture(), [offset])
    FigureCanvasAgg(figure).draw()
    one, other = (axes.title.get_window_extent() for axes in figure.axes)
    assert figure.bbox.x0 <= one.x0 < one.x1 <= other.x0 < other.x1 <= figure.bbox.x1
    assert titles(figure)[1].split() == "query: offset (+0.44, +0.81), answer (+0.00, +0.00)".split()


def test_nothing_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="items must be at least one to be drawn, got none"):
        draw_items(PixelPicture(), [])


def evaluation(picture: Picture, count: int) -> tuple[Engine, PretextFigure]:
    def step(engine: Engine, labels: list[int]) -> dict[str, torch.Tensor]:
        items = [item(label) for label in labels]
        return {key: torch.stack([one[key] for one in items]) for key in ("image", "label", "pred")}

    engine, figure = Engine(step), PretextFigure(picture, count)
    figure.attach(engine)
    return engine, figure


def test_the_first_items_of_the_last_validation_are_drawn() -> None:
    engine, figure = evaluation(ClassPicture("ab"), 3)
    for batches, wanted in (([[0, 0], [1, 1]], "aab"), ([[1], [0]], "ba")):
        engine.run(batches)
        assert titles(figure(engine)) == [f"{name}, answer: b" for name in wanted]


def test_items_and_scores_are_saved(tmp_path: Path) -> None:
    engine = Engine(lambda _, label: {key: value[None] for key, value in item(label).items()})
    SaveItems(tmp_path / "out", ClassPicture("ab")).attach(engine)
    engine.add_event_handler(
        Events.EPOCH_COMPLETED, lambda e: e.state.metrics.update(score=torch.tensor(0.5))
    )
    engine.run([0, 1])
    assert (tmp_path / "out" / "items.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads((tmp_path / "out" / "scores.json").read_text()) == {"score": 0.5}
