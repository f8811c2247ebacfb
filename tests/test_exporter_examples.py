"""examples/exporter, checked by Prometheus' and systemd's own tools."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import engines
import pytest

from docker_images.cli.arguments import parse
from docker_images.metrics import FAMILIES

FOLDER = Path(__file__).parent.parent / "examples/exporter"
UNIT = FOLDER / "docker-images-exporter.service"
COMPOSE = (FOLDER / "compose.yaml").read_text()
SERIES = {
    f"{one.name}{suffix}"
    for one in FAMILIES
    for suffix in (("_sum", "_count") if one.kind == "summary" else ("",))
}


def checked(*command: str, cwd: Path = FOLDER) -> str:
    """What a tool says; the test fails where it complains, and is skipped where it is missing."""
    if shutil.which(command[0]) is None:
        engines.absent(f"ENGINE MISSING: {command[0]} is not here; Debian's package is prometheus")
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_and_the_configuration_are_what_prometheus_takes() -> None:
    assert "SUCCESS: 6 rules found" in checked("promtool", "check", "rules", "alerts.yml")
    assert "SUCCESS" in checked("promtool", "check", "config", "prometheus.yml")


def test_the_rules_name_series_that_there_are() -> None:
    names = set(re.findall(r"\bdocker_images\w*", (FOLDER / "alerts.yml").read_text()))
    assert names <= SERIES
    assert len(names) >= 6


CASES = """
rule_files: [alerts.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'up{job="docker-images", instance="a"}', values: '1x10 0x60'}
      - {series: 'docker_images_up{engine="down"}', values: '1x10 0x60'}
      - {series: 'docker_images_up{engine="stuck"}', values: '1x60'}
      - {series: 'docker_images_last_list_timestamp_seconds{engine="down"}', values: '0x60'}
      - {series: 'docker_images_last_list_timestamp_seconds{engine="stuck"}', values: '0x60'}
    alert_rule_test:
      - {eval_time: 14m, alertname: ImagesEngineDown, exp_alerts: []}
      - eval_time: 17m
        alertname: ImagesEngineDown
        exp_alerts:
          - exp_labels: {severity: warning, engine: down}
            exp_annotations: {summary: The engine down cannot be asked for its images}
      - eval_time: 17m
        alertname: ImagesExporterDown
        exp_alerts:
          - exp_labels: {severity: warning, job: docker-images, instance: a}
            exp_annotations: {summary: The exporter of images at a does not answer}
      - eval_time: 30m
        alertname: ImagesListOld
        exp_alerts:
          - exp_labels: {severity: warning, engine: stuck}
            exp_annotations: {summary: The list of images of stuck is 30m 0s old}
"""


def test_the_alerts_come_when_they_should(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "alerts.yml", tmp_path)
    (tmp_path / "cases.yml").write_text(CASES)
    assert "SUCCESS" in checked("promtool", "test", "rules", "cases.yml", cwd=tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        *re.findall(r"^ExecStart=\S*/(docker-images .*)$", UNIT.read_text(), re.MULTILINE),
        *re.findall(r"command: (docker-images .*)$", COMPOSE, re.MULTILINE),
    ],
)
def test_the_commands_are_ones_that_the_exporter_takes(line: str) -> None:
    name, options = parse(shlex.split(line)[1:])
    assert name == "exporter"
    assert [str(one) for one in options.engines] == ["unix:///var/run/docker.sock"]


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd here")
    unit = tmp_path / UNIT.name
    unit.write_text(
        re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE)
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert not [line for line in done.stderr.splitlines() if UNIT.name in line], done.stderr


def test_both_files_are_there_that_the_compose_file_mounts() -> None:
    mounted = re.findall(r"- \./(\S+?):", COMPOSE)
    assert mounted == ["prometheus.yml", "alerts.yml"]
    assert all((FOLDER / name).exists() for name in mounted)
