import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy"))


@pytest.fixture(scope="session")
def compose():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="session")
def dockerfile():
    import dockerfile

    return dockerfile.parse((ROOT / "Dockerfile").read_text())


@pytest.fixture(scope="session")
def extras():
    import tomllib

    return set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


@pytest.fixture(scope="session")
def manifests():
    """(file, document) of every Kubernetes object in the repository."""
    found = []
    for path in sorted((ROOT / "deploy" / "kubernetes").rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document and "apiVersion" in document and document["kind"] != "Kustomization":
                found.append((path.relative_to(ROOT), document))
    return found
