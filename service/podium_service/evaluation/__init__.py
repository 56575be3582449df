"""Measure a judge on labelled groups, compare judges, and draft rubrics.

labelled_groups reads files of groups, run_judge has a judge rank them, measures and bias turn
verdicts into numbers, card collects the numbers and page draws them as HTML. compare sets judges
side by side, on a file or on the groups in the store (see stored). To add a measure, see measures.
"""
