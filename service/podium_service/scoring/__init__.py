"""From verdicts to numbers: fits over passes, pairs, orders and jurors; what is learnt of a judge.

Pure functions over numpy arrays; `aggregate` and the methods call them.
"""
