"""Alignment, ages and label lists are kubectl's."""

from __future__ import annotations

import pytest

from nslab.cli import columns


def test_columns_are_as_wide_as_their_widest_cell_and_three() -> None:
    text = columns.table(("NAME", "AGE", "IP"), [("a-longer-name", "5s", "10.8.0.2"), ("b", "2d3h", "-")])
    assert text == (
        "NAME            AGE    IP\n"
        "a-longer-name   5s     10.8.0.2\n"
        "b               2d3h   -\n"
    )


def test_a_narrow_column_is_six_wide() -> None:
    assert columns.table(("A", "B"), [("1", "2")]) == "A     B\n1     2\n"


def test_no_headings_and_no_rows() -> None:
    assert columns.table((), [("a", "b")]) == "a     b\n"
    assert columns.table((), []) == ""


@pytest.mark.parametrize(("seconds", "text"), [
    (-5, "<invalid>"), (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (599, "9m59s"), (600, "10m"),
    (10799, "179m"), (10800, "3h"), (11100, "3h5m"), (28800, "8h"), (172799, "47h"), (172800, "2d"),
    (176400, "2d1h"), (691200, "8d"), (63071999, "729d"), (63072000, "2y"), (63158400, "2y1d"), (252288000, "8y"),
])
def test_ages_have_at_most_two_units(seconds: float, text: str) -> None:
    assert columns.age(seconds) == text


def test_labels_are_sorted_and_none_where_empty() -> None:
    assert columns.labels({"b": "2", "a": "1"}) == "a=1,b=2"
    assert columns.labels({}) == "<none>"


def test_counts_agree_with_their_noun() -> None:
    assert [columns.count(number, "pod") for number in (0, 1, 2)] == ["0 pods", "1 pod", "2 pods"]
