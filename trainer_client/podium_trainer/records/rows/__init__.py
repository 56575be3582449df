"""Write what a step was as rows of numbers.

gathered   what a step has gathered
metrics    its numbers, of which lost is a part
timings    what it took
"""
