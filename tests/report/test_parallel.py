"""Where values stand on an axis, and the lines of the picture."""

import math

import numpy as np
import pytest

from src.report.parallel import Axis, parallel_plot, placed

NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "may_be_log", "heights", "ticks"),
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
def test_places_by_hand(values, may_be_log, heights, ticks):
    axis = placed(Axis("name", values, may_be_log))
    assert axis.heights == pytest.approx(heights)
    assert [label for _, label in axis.ticks] == ticks


@pytest.mark.parametrize("may_be_log", [False, True])
def test_ticks_of_many_values_keep_apart_and_stand_at_their_values(may_be_log: bool):
    values = np.geomspace(1e-4, 1, 60).tolist()
    axis = placed(Axis("rate", values, may_be_log))
    places = [height for height, _ in axis.ticks]
    assert 3 <= len(places) <= 12
    assert np.diff(places).min() > 0.05
    expected = [math.log10(v) / 4 + 1 if may_be_log else (v - 1e-4) / (1 - 1e-4) for v in values]
    assert axis.heights == pytest.approx(expected)
    many = placed(Axis("file", [f"data/{i:03d}.csv" for i in range(200)], True))
    assert len(many.ticks) < 20


@pytest.mark.parametrize("high_is_good", [True, False])
def test_each_line_passes_its_values_dark_where_good(high_is_good: bool):
    axes = [Axis("a.$x", [1, 2, 3], True), Axis("b", ["p", "q", "p"], True)]
    shown = Axis("miou", [0.9, 0.5, None], False)
    figure = parallel_plot([*axes, shown], ["first", "second", "$third"], shown, high_is_good)
    lines = figure.axes[0].lines[:3]
    drawn = np.array([line.get_ydata() for line in lines])
    assert drawn == pytest.approx(np.array([[0, 0, 1], [0.5, 1, 0], [1, 0, -0.1]]))
    first, second = (sum(figure.axes[0].lines[i].get_color()[:3]) for i in (0, 1))
    assert (first < second) == high_is_good
    assert lines[2].get_color() == "silver"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["first", "second", "$third"]
    figure.canvas.draw()  # a $ in a name is no formula


def test_of_many_the_best_are_named():
    values = np.linspace(1, 0, 60).tolist()
    shown = Axis("miou", values, False)
    figure = parallel_plot(
        [Axis("a", values, True), shown], [f"e{i}" for i in range(60)], shown, True
    )
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["e0 (1)", "e1 (2)", "e2 (3)"]
    widths = [line.get_linewidth() for line in figure.axes[0].lines[:60]]
    assert min(widths[:3]) > max(widths[3:])
