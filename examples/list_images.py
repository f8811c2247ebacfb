"""List the images of the engine that the docker command would talk to, with their sizes."""

import asyncio

from docker_images import DockerClient, DockerImagesError


async def main() -> None:
    async with DockerClient() as client:
        try:
            images = await client.list_images(dangling=False)
        except DockerImagesError as error:
            raise SystemExit(str(error)) from error
        for image in images:
            made = f"{image.created_at:%Y-%m-%d}" if image.created_at else "no date   "
            names = ", ".join(str(reference) for reference in image.references)
            print(f"{image.short_id}  {made}  {image.size:>12,}  {names}")
        print(f"{len(images)} images, from API {client.api_version}")


if __name__ == "__main__":
    asyncio.run(main())
