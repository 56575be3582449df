"""The routes for who runs the service: its API keys."""
