"""`python -m docker_images` is the command `docker-images`."""

import sys

from docker_images.cli import main

if __name__ == "__main__":
    sys.exit(main())
