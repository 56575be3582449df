"""Judges for benchmarks: simulated from known truth, replayed from records, served over HTTP."""
