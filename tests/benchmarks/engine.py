"""A real dockerd in a temporary folder, filled with images from an archive made here.

No registry is asked: `docker load` takes many small images that share one layer.
"""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .bodies import make_images


@contextmanager
def engine(host: str | None, images: int) -> Iterator[str | None]:
    """Give `host`, or start an engine with so many images; None where that is not possible."""
    if host or os.geteuid() or not shutil.which("dockerd") or not shutil.which("docker"):
        yield host
        return
    with tempfile.TemporaryDirectory(prefix="engine-", dir="/tmp") as name:
        folder = Path(name)
        address = f"unix://{folder}/docker.sock"
        words = ["dockerd", f"--data-root={folder}/data", f"--exec-root={folder}/exec"]
        words += [f"--pidfile={folder}/pid", f"--host={address}", "--storage-driver=vfs"]
        words += ["--iptables=false", "--ip6tables=false", "--bridge=none"]
        with (folder / "log").open("wb") as log, subprocess.Popen(words, stderr=log) as process:
            try:
                _wait(folder / "docker.sock", process)
                archive = folder / "images.tar"
                archive.write_bytes(_archive(images))
                load = ["docker", "--host", address, "load", "--quiet", "--input", str(archive)]
                subprocess.run(load, check=True, stdout=subprocess.DEVNULL)
                yield address
            finally:
                process.terminate()


def _wait(socket: Path, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        if socket.exists():
            return
        if process.poll() is not None:
            raise SystemExit(f"dockerd ended with code {process.returncode}")
        time.sleep(0.1)
    raise SystemExit("dockerd did not start within 30 seconds")


def _archive(count: int) -> bytes:
    content = _tar({"hello": b"hello\n"})
    layer = hashlib.sha256(content).hexdigest()
    files, manifest = {"layer.tar": content}, []
    for image in make_images(count):
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(image["Created"]))
        config = {
            "architecture": "amd64",
            "os": "linux",
            "created": moment,
            "config": {"Labels": image["Labels"], "Env": [image["Id"]]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
        }
        text = json.dumps(config).encode()
        name = hashlib.sha256(text).hexdigest() + ".json"
        files[name] = text
        tags = image["RepoTags"] or []
        manifest.append({"Config": name, "RepoTags": tags, "Layers": ["layer.tar"]})
    files["manifest.json"] = json.dumps(manifest).encode()
    return _tar(files)


def _tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return stream.getvalue()
