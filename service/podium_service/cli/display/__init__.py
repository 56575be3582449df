"""Tables for a terminal: rankings, judges, API keys, cards and comparisons."""
