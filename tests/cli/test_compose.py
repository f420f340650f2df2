"""The containers: a compose file that is one, and what it promises of each of them."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import ruamel.yaml

from tests.cli.installation import Factory

ROOT = Path(__file__).parents[2]
FILE = ROOT / "compose.yaml"


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, object]]:
    content = ruamel.yaml.YAML(typ="safe").load(FILE.read_text(encoding="utf-8"))
    found: dict[str, dict[str, object]] = content["services"]
    return found


def test_the_compose_file_follows_the_specification() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]

    done = subprocess.run(check, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout


def test_nothing_is_published(services: dict[str, dict[str, object]]) -> None:
    assert not [name for name, service in services.items() if "ports" in service]
    assert not [name for name, service in services.items() if service.get("network_mode") == "host"]


def test_no_container_may_do_more_than_it_must(services: dict[str, dict[str, object]]) -> None:
    for service in services.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"] is True
        assert "privileged" not in service


def test_spokes_wait_for_their_profile_and_the_core_does_not(services: dict[str, dict[str, object]]) -> None:
    assert {name for name, service in services.items() if "profiles" not in service} == {
        "setup",
        "nats",
        "hub",
        "clipool",
    }


def test_every_command_is_one_that_exists(services: dict[str, dict[str, object]], factory: Factory) -> None:
    for service in services.values():
        command = service.get("command")
        if isinstance(command, list):
            words = [word for word in command if not str(word).startswith(("-", "/", "0."))]
            assert factory.run(*words, "--help").returncode == 0, command


def test_the_configuration_that_it_mounts_is_one(services: dict[str, dict[str, object]], factory: Factory) -> None:
    command = services["setup"]["command"]
    assert isinstance(command, list)
    file = factory.folder / "nats.conf"
    here = [str(file) if word == "/etc/factory-nats/nats.conf" else str(word) for word in command]

    written = factory.run(*here)
    server = Path(sys.executable).with_name("nats-server")
    checked = subprocess.run([server, "-t", "-c", file], capture_output=True, text=True)

    assert written.returncode == 0, written.stderr
    assert checked.returncode == 0, checked.stderr
    assert 'host: "0.0.0.0"' in file.read_text()


def test_the_image_names_no_registry_and_runs_as_nobody_special() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    images = [shlex.split(line)[1] for line in lines if line.startswith("FROM ")]

    assert not [image for image in images if re.match(r"[^/]*[.:][^/]*/", image)]
    assert not [line for line in lines if "://" in line or "index-url" in line]
    assert "USER factory" in lines
