"""The parallel-coordinates plot: positions, ticks, colors and legend."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from roadseg.experiments.parallel_coordinates import Axis, plot_parallel_coordinates

NAN = float("nan")


def draw(axis: Axis) -> Figure:
    """Plot `axis` next to a color axis."""
    names = [str(row) for row in range(len(axis.values))]
    color_axis = Axis("miou", list(range(len(names))), False)
    return plot_parallel_coordinates([axis, color_axis], names, color_axis, True)


@pytest.mark.parametrize(
    ("values", "allow_log", "positions", "ticks"),
    [
        ([0.001, 0.1, 0.01], True, [0, 1, 0.5], ["0.001", "0.01", "0.1"]),
        ([2, 6, 3], True, [0, 1, 0.25], ["2", "3", "6"]),  # within a decade
        ([1, 100, 50.5], False, [0, 1, 0.5], ["1", "50.5", "100"]),
        ([0, 100, 50], True, [0, 1, 0.5], ["0", "50", "100"]),  # 0 has no logarithm
        ([3, 3], True, [0.5, 0.5], ["3"]),
        (["b", "a", "c"], True, [0.5, 0, 1], ["a", "b", "c"]),
        ([True, False], True, [1, 0], ["false", "true"]),
        ([1, "last"], True, [0, 1], ["1", "last"]),
        ([[2], "x", None], True, [0, 1, -0.1], ["none", "[2]", "x"]),
        ([1.0, NAN, None, math.inf, 2.0], False, [0, -0.1, -0.1, -0.1, 1], ["none", "1", "2"]),
        ([None, NAN], True, [-0.1, -0.1], ["none"]),
    ],
)
def test_positions_match_hand_computed_values(values, allow_log, positions, ticks):
    figure = draw(Axis("name", values, allow_log))
    drawn = [line.get_ydata()[0] for line in figure.axes[0].lines]
    assert drawn == pytest.approx(positions)
    missing = [text.get_text() for text in figure.axes[0].texts]
    assert [*missing, *(text.get_text() for text in figure.axes[1].get_yticklabels())] == ticks


@pytest.mark.parametrize("allow_log", [False, True])
def test_many_values_have_few_ticks(allow_log: bool):
    values = np.geomspace(1e-4, 1, 60).tolist()
    figure = draw(Axis("rate", values, allow_log))
    low, high = figure.axes[1].get_ylim()
    assert 3 <= sum(low <= tick <= high for tick in figure.axes[1].get_yticks()) <= 12
    expected = [math.log10(v) / 4 + 1 if allow_log else (v - 1e-4) / (1 - 1e-4) for v in values]
    assert [line.get_ydata()[0] for line in figure.axes[0].lines] == pytest.approx(expected)


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_lines_pass_through_their_values_and_the_best_is_darkest(higher_is_better: bool):
    axes = [Axis("a.x", [1, 2, 3], True), Axis("b", ["p", "q", "p"], True)]
    color_axis = Axis("miou", [0.9, 0.5, None], False)
    figure = plot_parallel_coordinates(
        [*axes, color_axis], ["first", "second", "third"], color_axis, higher_is_better
    )
    lines = figure.axes[0].lines[:3]
    drawn = np.array([line.get_ydata() for line in lines])
    assert drawn == pytest.approx(np.array([[0, 0, 1], [0.5, 1, 0], [1, 0, -0.1]]))
    first, second = (sum(figure.axes[0].lines[i].get_color()[:3]) for i in (0, 1))
    assert (first < second) == higher_is_better
    assert lines[2].get_color() == "silver"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["first", "second", "third"]


def test_legend_names_only_the_best_of_many_lines():
    values = np.linspace(1, 0, 60).tolist()
    color_axis = Axis("miou", values, False)
    figure = plot_parallel_coordinates(
        [Axis("a", values, True), color_axis], [f"e{i}" for i in range(60)], color_axis, True
    )
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["e0 (1)", "e1 (2)", "e2 (3)"]
    widths = [line.get_linewidth() for line in figure.axes[0].lines[:60]]
    assert min(widths[:3]) > max(widths[3:])
