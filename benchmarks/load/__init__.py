"""The service under load, and beside it what one would use instead."""
