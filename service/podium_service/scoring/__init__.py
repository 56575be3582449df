"""Turn verdicts into scores, standard errors and rewards: pure functions over numpy arrays.

Start at estimate (scores of a group), posterior (what is known of them) and rewards. least_squares
and bradley_terry fit verdicts; noise and signal_ratio hold what is known of a judge; pair_design
chooses pairs; jury and overrule combine several judges; bootstrap gives intervals over groups.
"""
