"""The pages without a service: `podium view` and `podium export`."""
