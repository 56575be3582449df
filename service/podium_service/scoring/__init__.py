"""Turn verdicts into scores, standard errors and rewards: pure functions over numpy arrays.

Start at estimate (scores of a group) and rewards. least_squares, strengths and bradley_terry fit
verdicts; noise, drift and signal_ratio hold what is known of a judge; jury and overrule combine
several judges; bootstrap gives intervals over groups.
"""
