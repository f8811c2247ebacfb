"""One engine, asked in an API version that both sides speak.

Knows requests, answers and versions of the Docker Engine API. Refuses to know which engine is meant
and how bytes reach it.
"""
