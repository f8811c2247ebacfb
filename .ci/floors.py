"""Print the oldest versions that pyproject.toml allows, as pins for pip."""

import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
extras = (name for names in project["optional-dependencies"].values() for name in names)
print(*(name.replace(">=", "==") for name in (*project["dependencies"], *extras)))
