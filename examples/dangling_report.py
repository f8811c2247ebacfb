"""Report the images without a tag or digest, largest first; exit with 1 if there are any."""

import sys

from docker_images import DockerImagesError, sync


def main() -> int:
    try:
        images = sync.list_images(dangling=True, containers=True)
    except DockerImagesError as error:
        print(error, file=sys.stderr)
        return 2
    for image in sorted(images, key=lambda image: image.size, reverse=True):
        made = f"{image.created_at:%Y-%m-%d}" if image.created_at else "no date"
        use = {True: "in use", False: "unused", None: "perhaps in use"}[image.in_use]
        print(f"{image.short_id}  {image.size / 1e6:>10,.1f} MB  {made:<10}  {use}")
    print(f"{len(images)} dangling images, {sum(image.size for image in images) / 1e6:,.1f} MB")
    return 1 if images else 0


if __name__ == "__main__":
    sys.exit(main())
