"""deploy/kubernetes against the schemas of Kubernetes: there may be no cluster to try it on."""

from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from deploy.local.servers import REPOSITORY
from deploy.runtime.settings import RuntimeSettings
from gateway.settings import GatewaySettings
from schemas.topics import PARTITIONS_DEFAULT, Topics

FOLDER = REPOSITORY / "deploy" / "kubernetes"
VERSION = "1.32"  # The oldest that we name; `sleep` before the end is on by default from 1.30.
WORKLOADS = {"Deployment", "StatefulSet", "Job"}
KEDA = "keda.sh/v1alpha1"  # Its own kinds: Kubernetes has no schema for them.


def documents() -> list[dict[str, Any]]:
    """What the kustomization names, in its order."""
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    return [
        document
        for file in kustomization["resources"]
        for document in yaml.safe_load_all((FOLDER / file).read_text())
    ]


def workloads() -> dict[str, dict[str, Any]]:
    """The pods' specifications, by name."""
    return {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]
        for one in documents()
        if one["kind"] in WORKLOADS
    }


def environment(pod: dict[str, Any]) -> dict[str, str]:
    """What is set for its container itself."""
    (container,) = pod["containers"]
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


@pytest.mark.parametrize(
    "document", documents(), ids=lambda d: f"{d['kind']}-{d['metadata']['name']}"
)
def test_each_is_what_kubernetes_takes(document: dict[str, Any]) -> None:
    """The schema's own validation, and no field that it does not know."""
    if document["apiVersion"] == KEDA:
        pytest.skip("no schema")
    kubernetes_validate.validate(document, VERSION, strict=True)


def test_every_file_is_in_the_kustomization() -> None:
    """None is forgotten."""
    named = set(yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"])
    assert named | {"kustomization.yaml"} == {path.name for path in FOLDER.glob("*.yaml")}


def test_processes_end_before_they_are_killed() -> None:
    """The grace period of each is shorter than the pod's, the wait before it included."""
    for name, pod in workloads().items():
        if name == "setup":
            continue
        (container,) = pod["containers"]
        before = (
            container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        )
        grace = int(environment(pod)["SHUTDOWN_GRACE_SECONDS"])
        assert before + grace + 5 <= pod["terminationGracePeriodSeconds"], name


def test_a_restart_of_a_streams_pod_is_no_rebalance() -> None:
    """Its name in the group lasts, as the pod's does, and its session outlives an exchange."""
    pod = workloads()["streams"]
    (container,) = pod["containers"]
    names = [one["valueFrom"] for one in container["env"] if one["name"] == "GROUP_INSTANCE_ID"]
    assert names == [{"fieldRef": {"fieldPath": "metadata.name"}}]
    session = float(environment(pod)["SESSION_TIMEOUT_SECONDS"])
    assert session > pod["terminationGracePeriodSeconds"]


def test_pods_may_do_nothing_besides() -> None:
    """No root, nothing to write on but the state, no token of the cluster."""
    for name, pod in workloads().items():
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"], name
        assert container["securityContext"]["readOnlyRootFilesystem"], name
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
        assert pod["automountServiceAccountToken"] is False, name


def test_who_is_scaled_and_who_is_not() -> None:
    """Gateways and sinks by their autoscalers alone, streams by nobody."""
    fixed = {
        one["metadata"]["name"]: one["spec"].get("replicas")
        for one in documents()
        if one["kind"] in WORKLOADS - {"Job"}
    }
    assert fixed == {"gateway": None, "sinks": None, "streams": 2, "console": 1}
    scaled = {
        one["spec"]["scaleTargetRef"]["name"]: one["spec"]
        for one in documents()
        if one["kind"] in {"HorizontalPodAutoscaler", "ScaledObject"}
    }
    assert set(scaled) == {"gateway", "sinks"}
    assert scaled["sinks"]["maxReplicaCount"] <= PARTITIONS_DEFAULT
    trigger = scaled["sinks"]["triggers"][0]["metadata"]
    assert (trigger["topic"], trigger["consumerGroup"]) == (Topics().rated, Topics().sinks_group)


def test_what_is_configured_is_read() -> None:
    """Every variable of the ConfigMap is one of the settings, and Kafka is where KEDA asks it."""
    (data,) = (one["data"] for one in documents() if one["kind"] == "ConfigMap")
    known = {name.upper() for name in RuntimeSettings.model_fields} | {"SECRETS_DIR"}
    assert set(data) <= known
    (sinks,) = (one["spec"] for one in documents() if one["kind"] == "ScaledObject")
    asked = sinks["triggers"][0]["metadata"]["bootstrapServers"]
    assert asked == data["KAFKA_BOOTSTRAP_SERVERS"]


def test_a_gateways_memory_holds_what_it_may_hold() -> None:
    """Bodies and records that wait for Kafka, at their most, fit with 256 MiB to spare."""
    (container,) = workloads()["gateway"]["containers"]
    limit = container["resources"]["limits"]["memory"]
    assert limit.endswith("Mi")
    fields = GatewaySettings.model_fields
    held = fields["bodies_bytes_max"].default + fields["produce_buffer_bytes_max"].default
    assert (int(limit.removesuffix("Mi")) - 256) << 20 >= held
