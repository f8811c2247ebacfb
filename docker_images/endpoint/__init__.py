"""Which engine is meant: the rules of the docker command, its configuration, and its proxies.

Reads the environment and files. Refuses to connect to anything.
"""
