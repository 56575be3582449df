"""How near to the truth the service's rewards are, per token of the judge, and under attack."""
