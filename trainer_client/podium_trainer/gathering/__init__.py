"""Gather the groups that steps train on: some steps ahead, in order, with none left out for age."""
