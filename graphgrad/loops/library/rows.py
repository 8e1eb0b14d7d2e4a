"""Rows of numbers added up at places of a table."""

from __future__ import annotations

from graphgrad.loops.language import array, independent, int64, loop_function, real


@loop_function()
def add_rows(table: int64, places: int64, rows: int64, count: int64, width: int64):
    sums = array(table, real, 1, width)
    numbers = array(places, int64, count)
    summands = array(rows, real, count, width)
    for number in range(count):
        place = numbers[number]
        for column in independent(width):
            sums[place, column] = sums[place, column] + summands[number, column]
