import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from service.settings import Settings

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
PELLUCID = {f"PELLUCID_{name.upper()}" for name in Settings.model_fields}
VARIANTS = sorted(path.parent.name for path in FOLDER.glob("*/kustomization.yaml"))


@pytest.fixture(scope="module")
def deployment(manifests):
    return next(document for _, document in manifests if document["kind"] == "Deployment")


@pytest.fixture(scope="module")
def container(deployment):
    return deployment["spec"]["template"]["spec"]["containers"][0]


def test_objects_fit_the_schemas_of_kubernetes(manifests):
    validator = pytest.importorskip("kubernetes_validate")
    for path, document in manifests:
        if "ray.io" in document["apiVersion"] or "coreos.com" in document["apiVersion"]:
            continue  # no part of Kubernetes
        try:
            validator.validate(document, "1.37", strict=True)
        except Exception as error:
            raise AssertionError(f"{path}: {error}") from error


@pytest.mark.parametrize("variant", VARIANTS)
def test_kustomize_builds(variant):
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run([program, "kustomize", FOLDER / variant], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    objects = list(yaml.safe_load_all(done.stdout))
    assert {each["metadata"].get("namespace", "pellucid") for each in objects} == {"pellucid"}
    names = [each["metadata"]["name"] for each in objects if each["kind"] == "ConfigMap"]
    pods = [each["spec"]["template"]["spec"] for each in objects if each["kind"] == "Deployment"]
    used = [
        source["configMapRef"]["name"]
        for p in pods
        for source in p["containers"][0]["envFrom"]
        if "configMapRef" in source
    ]
    assert used and set(used) <= set(names)


def test_settings_exist_and_are_taken(monkeypatch):
    for variant in VARIANTS:
        built = yaml.safe_load((FOLDER / variant / "kustomization.yaml").read_text())
        for generator in built.get("configMapGenerator", []):
            given = dict(text.split("=") for text in generator["literals"])
            assert set(given) <= PELLUCID
            with monkeypatch.context() as patch:
                for name, value in given.items():
                    patch.setenv(name, value)
                Settings()


def test_variables_are_settings(container):
    assert {each["name"] for each in container["env"] if each["name"].startswith("PELLUCID_")} <= PELLUCID


def test_the_service_does_not_overwrite_the_port(deployment):
    # Kubernetes tells every pod of a Service named pellucid PELLUCID_PORT=tcp://...
    assert "PELLUCID_PORT" in PELLUCID
    assert deployment["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_ports_and_probes_agree(container, dockerfile, manifests):
    (port,) = container["ports"]
    assert port["containerPort"] == int(dockerfile.effective("cpu", "EXPOSE"))
    for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        assert container[probe]["httpGet"] == {"path": path, "port": port["name"]}
    service = next(document for _, document in manifests if document["kind"] == "Service")
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]


def test_a_pod_may_drain(deployment, container):
    spec = deployment["spec"]["template"]["spec"]
    wait = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] > wait + Settings.model_fields["drain_seconds"].default + 10
    # Long enough for the endpoint to be taken out at two failed probes' time, too.
    assert wait >= 5


def test_pods_meet_the_restricted_standard(manifests, deployment, container, dockerfile):
    spec = deployment["spec"]["template"]["spec"]
    uid, gid = (int(number) for number in dockerfile.effective("cpu", "USER").split(":"))
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["fsGroup"]) == (uid, gid)
    assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    namespace = next(document for _, document in manifests if document["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_selectors_find_the_pods(manifests, deployment):
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    for path, document in manifests:
        selector = document.get("spec", {}).get("selector", {})
        if document["kind"] in ("Service", "PodDisruptionBudget", "Deployment"):
            assert selector.get("matchLabels", selector).items() <= labels, path


def test_the_autoscaler_s_metric_is_made_by_the_adapter(manifests):
    autoscaler = next(document for _, document in manifests if document["kind"] == "HorizontalPodAutoscaler")
    (metric,) = autoscaler["spec"]["metrics"]
    rules = yaml.safe_load((FOLDER / "metrics" / "prometheus-adapter.yaml").read_text())["rules"]["external"]
    assert metric["external"]["metric"]["name"] == rules[0]["name"]["as"]
    assert "pellucid_queue_depth{" in rules[0]["metricsQuery"]
    assert autoscaler["spec"]["scaleTargetRef"]["name"] == "pellucid"


def test_nothing_is_let_through_but_by_name(manifests):
    policies = {
        document["metadata"]["name"]: document["spec"]
        for _, document in manifests
        if document["kind"] == "NetworkPolicy"
    }
    assert policies["nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert policies["server"]["ingress"][0]["ports"] == [{"port": 8000, "protocol": "TCP"}]


def test_members_of_the_ray_cluster_have_the_version_of_the_images(manifests):
    cluster = ray_service(manifests)["spec"]["rayClusterConfig"]
    pinned = (FOLDER.parent / "constraints.txt").read_text().splitlines()
    assert f"ray=={cluster['rayVersion']}" in pinned


def ray_service(manifests):
    return next(document for _, document in manifests if document["kind"] == "RayService")


def test_the_ray_service_deploys_what_its_servers_look_for(manifests):
    schema = pytest.importorskip("ray.serve.schema")
    service = ray_service(manifests)
    (application,) = schema.ServeDeploySchema.model_validate(
        yaml.safe_load(service["spec"]["serveConfigV2"])
    ).applications
    from service.engine.ray import application as module
    from service.engine.ray import cluster

    assert application.name == cluster.APPLICATION
    assert application.import_path == f"{module.__name__}:{module.build.__name__}"
    assert application.route_prefix is None
    patched = yaml.safe_load((FOLDER / "ray" / "kustomization.yaml").read_text())["configMapGenerator"][0]
    assert {"PELLUCID_ENGINE=ray", "PELLUCID_RAY_DEPLOYS=off"} <= set(patched["literals"])
    for group in (
        service["spec"]["rayClusterConfig"]["headGroupSpec"],
        *service["spec"]["rayClusterConfig"]["workerGroupSpecs"],
    ):
        sources = group["template"]["spec"]["containers"][0]["envFrom"]
        assert {"configMapRef": {"name": patched["name"]}} in sources


def test_pods_of_the_ray_cluster_fit_the_schemas_and_the_restricted_standard(manifests):
    validator = pytest.importorskip("kubernetes_validate")
    cluster = ray_service(manifests)["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        described = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, "spec": pod}
        validator.validate(described, "1.37", strict=True)
        assert group["template"]["metadata"]["labels"]["pellucid/ray"] == "member"
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
        assert pod["enableServiceLinks"] is False
        # The image has no wget, which KubeRay's own probes call.
        for probe in ("livenessProbe", "readinessProbe"):
            assert pod["containers"][0][probe]["exec"]["command"][0] == "python3"
    assert cluster["autoscalerOptions"]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_servers_join_the_head_of_the_ray_cluster(manifests):
    service = ray_service(manifests)
    patches = yaml.safe_load((FOLDER / "ray" / "kustomization.yaml").read_text())["patches"]
    patch = yaml.safe_load(patches[1]["patch"])
    (command,) = patch["spec"]["template"]["spec"]["containers"][0]["args"]
    # KubeRay names the head's Service after the RayService, whichever cluster it has at the moment.
    assert f"--address={service['metadata']['name']}-head-svc:6379 " in command
    assert command.endswith("exec pellucid serve")


def test_metrics_are_scraped_with_a_key(manifests):
    monitor = next(document for _, document in manifests if document["kind"] == "PodMonitor")
    assert monitor["spec"]["podMetricsEndpoints"][0]["authorization"]["credentials"]["name"] == "pellucid-prometheus"
