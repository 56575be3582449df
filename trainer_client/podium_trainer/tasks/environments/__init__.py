"""Make tasks of the environments of others.

servers            environments behind servers: OpenEnv's sessions, and POST /reset and POST /step
episodes           one attempt at such a server
verifiers_tasks    tasksets of the library verifiers
verifiers_episode  one attempt at such a task
policy_endpoint    what verifiers asks for completions
"""
