"""List the images of a container engine, as typed objects, the same way on every engine.

    from docker_images import DockerClient

    async with DockerClient() as client:
        for image in await client.list_images():
            print(image.id, image.repo_tags, image.size, image.created_at)
"""
