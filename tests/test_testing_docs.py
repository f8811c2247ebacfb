"""Each example of docs/testing.md is a test module, and passes."""

import os
import re
import subprocess
import sys
from pathlib import Path

from conftest import INSTALLED

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "testing.md").read_text()


def test_every_example_passes(tmp_path: Path) -> None:
    examples = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    for number, example in enumerate(examples):
        (tmp_path / f"test_example_{number}.py").write_text(example)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q"),
            *(() if INSTALLED else ("-p", "pytest_docker_images")),
            *("-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function"),
            str(tmp_path),
        ],
        env={**os.environ} | ({} if INSTALLED else {"PYTHONPATH": str(ROOT)}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = int(re.search(r"(\d+) passed", done.stdout)[1])
    assert passed >= len(examples) > 8
