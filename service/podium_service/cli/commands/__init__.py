"""The subcommands of `podium`, one file each; `main` registers them.

To add one: write a file with a function whose parameters are typer options, import what is slow to
load inside the function, and register it in `main`.
"""
