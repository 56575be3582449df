"""The subcommands for who runs the service: API keys, and what was spent."""
