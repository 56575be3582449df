"""Do the trajectories differ by more than noise explains? One test for judges and juries."""

from math import inf

from scipy.special import chdtrc, fdtrc

SIGNIFICANCE_LEVEL = 0.05


def p_value(
    ms_items: float, ms_error: float, df_items: int, df_error: float, *, negligible: float
) -> float:
    """Of the F test over trajectories; of a chi-square test where the error is known.

    Args:
        ms_items, ms_error: mean squares between trajectories, and of the error.
        df_items, df_error: their degrees of freedom; infinite for an error that is known.
        negligible: a mean square that is no more than this is zero.

    Returns:
        The p value; infinite where nothing differs, so that no level passes it.
    """
    if ms_items <= negligible:
        return inf
    if ms_error <= negligible:
        return 0.0
    ratio = ms_items / ms_error
    if df_error == inf:
        return float(chdtrc(df_items, ratio * df_items))
    return float(fdtrc(df_items, df_error, ratio))
