"""Make tasks of the environments of others.

servers      environments behind servers: OpenEnv's sessions, and POST /reset and POST /step
episodes     one attempt at such a server
"""
