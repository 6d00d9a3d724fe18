import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PELLUCID = {f"PELLUCID_{name.upper()}" for name in Settings.model_fields}


def servers(compose):
    return {
        name: service
        for name, service in compose["services"].items()
        if "server" in service.get("networks", {}).get("default", {}).get("aliases", [])
    }


def test_the_file_fits_the_specification(compose):
    specification = pytest.importorskip("compose_spec")
    # With its YAML merge keys resolved, as `docker compose` does.
    specification.PyCompose.from_yaml(yaml.safe_dump(compose)).validate()


def test_every_service_has_a_profile_and_a_plain_up_starts_one_server(compose):
    chosen = dict(line.split("=", 1) for line in (ROOT / ".env").read_text().splitlines() if not line.startswith("#"))
    up = [name for name, s in compose["services"].items() if chosen["COMPOSE_PROFILES"] in s["profiles"]]
    assert up == ["pellucid"]


def test_profiles(compose):
    named = {profile for service in compose["services"].values() for profile in service["profiles"]}
    assert named == {"cpu", "gpu", "scale", "observability"}


def test_at_most_one_server_of_a_profile_takes_the_port(compose):
    taken = [
        (profile, port)
        for s in compose["services"].values()
        for profile in s["profiles"]
        for port in s.get("ports", [])
    ]
    assert len(taken) == len(set(taken))


def test_what_is_built_are_stages_of_the_dockerfile(compose, dockerfile):
    names = {stage.name for stage in dockerfile.stages}
    built = {s["image"] for s in compose["services"].values() if "build" in s}
    for service in compose["services"].values():
        if "build" in service:
            assert service["build"]["target"] in names
            assert service["image"] == f"pellucid:{service['build']['target']}"
        elif service["image"].startswith("pellucid:"):
            assert service["image"] in built


def test_images_from_elsewhere_are_pinned(compose):
    for name, service in compose["services"].items():
        if not service["image"].startswith("pellucid:"):
            assert re.search(r":v?\d+(\.\d+)+", service["image"]), name


def test_variables_are_settings(compose):
    for name, service in compose["services"].items():
        given = {key for key in service.get("environment", {}) if key.startswith("PELLUCID_")}
        assert given <= PELLUCID, name


def test_settings_are_taken_by_the_server(compose, monkeypatch):
    for service in servers(compose).values():
        with monkeypatch.context() as patch:
            patch.setenv("PELLUCID_HOST", "0.0.0.0")
            for key, value in service["environment"].items():
                if key.startswith("PELLUCID_"):
                    patch.setenv(key, re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value))
            Settings()


def test_servers_listen_on_this_machine_alone_since_they_ask_for_no_keys(compose, dockerfile):
    port = dockerfile.effective("cpu", "EXPOSE")
    for service in servers(compose).values():
        assert service["environment"]["PELLUCID_AUTH"] == "off"
        assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
    for service in compose["services"].values():
        assert all(published.startswith("127.0.0.1:") for published in service.get("ports", []))


def test_servers_may_drain_before_they_are_killed(compose):
    drain = Settings.model_fields["drain_seconds"].default
    for service in servers(compose).values():
        assert timedelta(seconds=int(service["stop_grace_period"].removesuffix("s"))) > timedelta(seconds=drain + 10)


def test_every_service_is_hardened(compose):
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name


def test_mounted_files_are_there(compose):
    for name, service in compose["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), name
            else:
                assert source in compose["volumes"], name


def test_prometheus_scrapes_the_servers(compose, dockerfile):
    configured = yaml.safe_load((ROOT / "deploy" / "observability" / "prometheus.yml").read_text())
    found = configured["scrape_configs"][0]["dns_sd_configs"][0]
    assert found["port"] == int(dockerfile.effective("cpu", "EXPOSE"))
    assert found["names"] == ["server"]
    assert len(servers(compose)) >= 2


def test_grafana_finds_prometheus_and_the_dashboard(compose):
    grafana = ROOT / "deploy" / "observability" / "grafana"
    source = yaml.safe_load((grafana / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"][0]
    dashboard = json.loads((grafana / "dashboards" / "pellucid.json").read_text())
    assert dashboard["templating"]["list"][0]["current"]["value"] == source["uid"]
    assert source["url"] == "http://prometheus:9090"
    provider = yaml.safe_load((grafana / "provisioning" / "dashboards" / "pellucid.yml").read_text())["providers"][0]
    mounts = {v.split(":")[1]: v.split(":")[0] for v in compose["services"]["grafana"]["volumes"]}
    assert (ROOT / mounts[provider["options"]["path"]] / "pellucid.json").exists()


def test_what_a_service_waits_for_is_in_its_profile(compose):
    for name, service in compose["services"].items():
        for other in service.get("depends_on", []):
            assert set(service["profiles"]) <= set(compose["services"][other]["profiles"]), name


def test_servers_and_workers_open_the_same_stores(compose):
    services = compose["services"]
    stores = {"PELLUCID_BLOB_URL", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    first, *others = (
        {key: s["environment"][key] for key in stores}
        for s in map(services.get, ("pellucid-scale", "ray-worker", "bucket"))
    )
    assert all(other == first for other in others)
    bucket = first["PELLUCID_BLOB_URL"].removeprefix("s3://").split("/")[0]
    assert f"makedirs('{bucket}'" in services["bucket"]["command"][0]
    keys = json.loads(compose["configs"]["s3"]["content"])["identities"][0]["credentials"][0]
    assert keys == {"accessKey": first["AWS_ACCESS_KEY_ID"], "secretKey": first["AWS_SECRET_ACCESS_KEY"]}


def test_the_database_is_the_one_that_is_made(compose):
    from sqlalchemy import make_url

    url = make_url(
        compose["services"]["pellucid-scale"]["environment"]["PELLUCID_DATABASE_URL"].replace(
            "${POSTGRES_PASSWORD:-pellucid}", "x"
        )
    )
    made = compose["services"]["postgres"]["environment"]
    assert (url.host, url.username, url.database) == ("postgres", made["POSTGRES_USER"], made["POSTGRES_DB"])


def test_as_many_ray_workers_as_replicas_are_asked_for(compose):
    asked = compose["services"]["pellucid-scale"]["environment"]["PELLUCID_RAY_REPLICAS"]
    assert compose["services"]["ray-worker"]["deploy"]["replicas"] == int(asked)
