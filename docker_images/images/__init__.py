"""What an image is, and how a list of them is read: types, names, decoding, meaning, order. Pure.

Refuses to know engines, API versions and the network: bytes and plain values come in, images go
out.
"""
