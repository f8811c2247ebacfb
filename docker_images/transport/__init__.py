"""Bytes to an engine and back, and why they did not arrive.

Knows sockets, TLS, ssh, proxies, HTTP/1.1 and time limits. Refuses to know what is asked and what
the answer means.
"""
