"""What changes: lists that are made when an engine's events, or the clock, say so.

Knows when to look and what an update is. Refuses to know how a list is made and how a stream of
events reads.
"""

from docker_images.watch.watching import ImagesUpdate, ImagesWatch

__all__ = ["ImagesUpdate", "ImagesWatch"]
