"""What the audited cluster is filled with: Pods, ConfigMaps, Deployments and custom resources, part of them wrong."""

import json
import threading

from control_plane import Client

NAMESPACES = 20
WIDGET = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.bench.gatepost.dev"},
    "spec": {
        "group": "bench.gatepost.dev", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {
            "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}],
    },
}
# Of ten objects, one after the other.
KINDS = ["Pod", "ConfigMap", "Pod", "Deployment", "ConfigMap", "Pod", "Widget", "Deployment", "ConfigMap", "Pod"]
PATHS = {
    "Pod": "/api/v1/namespaces/{}/pods", "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments", "Widget": "/apis/bench.gatepost.dev/v1/namespaces/{}/widgets",
}


def container(name, number, wrong):
    """Returns a container; which of its fields are missing follows from `wrong`."""
    value = {"name": name, "image": f"registry.example/{name}" + ("" if wrong & 1 else f":1.{number % 7}.0")}
    value["resources"] = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}}
    if wrong & 2:
        del value["resources"]["limits"]
    if wrong & 4:
        value["securityContext"] = {"privileged": True}
    if not wrong & 8:
        probe = {"httpGet": {"path": "/", "port": 8080}}
        value |= {"livenessProbe": probe, "readinessProbe": probe}
    value["env"] = [{"name": f"VARIABLE_{n}", "value": f"{name}-{number}-{n}"} for n in range(8)]
    return value


def made(number):
    """Returns `(path, object)` of a number."""
    kind, namespace = KINDS[number % len(KINDS)], f"team-{number % NAMESPACES:02}"
    labels = {"app": f"app-{number}"} if number % 3 else {"app": f"app-{number}", "owner": "team"}
    value = {"kind": kind, "metadata": {"name": f"object-{number}", "labels": labels}}
    pod = {"containers": [container("app", number, number * 7 % 16), container("sidecar", number, number * 3 % 16)]}
    match kind:
        case "Pod":
            value |= {"apiVersion": "v1", "spec": pod}
        case "Deployment":
            template = {"metadata": {"labels": {"app": f"app-{number}"}}, "spec": pod}
            selector = {"matchLabels": {"app": f"app-{number}"}}
            value |= {"apiVersion": "apps/v1", "spec": {"replicas": 1 + number % 3, "selector": selector, "template": template}}
        case "ConfigMap":
            value |= {"apiVersion": "v1", "data": {f"key-{n}": f"value {number} {n} " * 4 for n in range(10)}}
        case "Widget":
            value |= {"apiVersion": "bench.gatepost.dev/v1", "spec": {"size": number, "parts": [str(n) for n in range(20)]}}
    return PATHS[kind].format(namespace), value


def fill(plane, count, threads=6):
    """Creates objects over a few connections."""
    plane.apply(json.dumps(WIDGET))
    names = [f"team-{number:02}" for number in range(NAMESPACES)]
    items = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names]
    items += [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}} for name in names]
    plane.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    faults = []

    def create(first):
        client = Client(plane.port)
        for number in range(first, count, threads):
            path, value = made(number)
            status = client.ask("POST", path, json.dumps(value))[0]
            if status != 201:
                faults.append(f"{path}: {status}")
                return

    creating = [threading.Thread(target=create, args=(first,)) for first in range(threads)]
    for thread in creating:
        thread.start()
    for thread in creating:
        thread.join()
    if faults:
        raise SystemExit("\n".join(faults))
