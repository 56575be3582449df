"""Dispatch calls to a judge's endpoints: which may start, when, where to and at what cost.

A group is admitted or refused early (`admission`). Each of its calls (`calls`) then waits for a
place at an endpoint (`endpoint_queue`) and for the judge's rate (`rate_limit`), fairly between API
keys (`fair_queue`), and reserves what it may cost (`spend_limit`); a late one may be sent a second
time (`hedging`). `request_context` says whose request it is.
"""
