"""Clean a CI machine: keep two versions of each repository, and what is used, new or labelled.

Prints what can be removed, and why. With --remove it runs `docker rmi` for exactly that: the
library itself removes nothing.
"""

import subprocess
import sys
from datetime import timedelta

from docker_images import CleanupPlan, DockerImagesError, plan_cleanup, sync


def planned() -> CleanupPlan:
    images = sync.list_images(all=True, containers=True)
    labelled = sync.list_images(all=True, label="keep")  # on any of their platforms
    return plan_cleanup(
        images,
        keep_latest=2,
        older_than=timedelta(days=7),
        keep_images=labelled,
        keep_reference="ci/*",
    )


def main() -> int:
    try:
        plan = planned()
    except DockerImagesError as error:
        print(error, file=sys.stderr)
        return 1
    for one in plan.remove:
        print("remove" if one.whole else "untag", *one.names, "-", one.reason.value)
    most = (
        "an unknown size" if plan.frees_at_most is None else f"{plan.frees_at_most / 1e6:,.1f} MB"
    )
    print(f"{len(plan.names)} names can go, {len(plan.keep)} images stay; frees at most {most}")
    for argument, text in plan.unmatched:
        print(f"warning: no image matches {argument}={text!r}", file=sys.stderr)
    if "--remove" in sys.argv and plan.names:
        return subprocess.run(["docker", "rmi", "--no-prune", *plan.names], check=False).returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
