"""Golden tables: kubectl's headings, order, abbreviations and limits."""

from __future__ import annotations

from typing import Any

from nslab.apiserver.tables import pod_status, timestamp
from nslab.cli import tables

Body = dict[str, Any]
CREATED = "2026-01-01T00:00:00Z"
NOW = timestamp(CREATED) + 300


def body(kind: str, name: str, namespace: str = "default", /, **fields: Any) -> Body:
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace, "creationTimestamp": CREATED}, **fields}


def pod(name: str, *, ready: bool, state: Body, restarts: int = 0, last: Body | None = None) -> Body:
    status = {"ready": ready, "restartCount": restarts, "state": state, "lastState": last or {}}
    return body("Pod", name, spec={"containers": [{"name": "c"}], "nodeName": "node-1"}, status={
        "phase": "Running", "podIP": "10.8.0.2", "containerStatuses": [status],
    })


PODS = [
    pod("web-0", ready=True, state={"running": {}}),
    pod("web-1", ready=False, state={"waiting": {"reason": "CrashLoopBackOff"}}, restarts=3,
        last={"terminated": {"finishedAt": "2026-01-01T00:04:00Z"}}),
]


def test_pods() -> None:
    assert tables.render("pods", PODS, now=NOW) == (
        "NAME    READY   STATUS             RESTARTS      AGE\n"
        "web-0   1/1     Running            0             5m\n"
        "web-1   0/1     CrashLoopBackOff   3 (60s ago)   5m\n"
    )


def test_wide_pods() -> None:
    assert tables.render("pods", PODS[:1], now=NOW, wide=True) == (
        "NAME    READY   STATUS    RESTARTS   AGE   IP         NODE     NOMINATED NODE   READINESS GATES\n"
        "web-0   1/1     Running   0          5m    10.8.0.2   node-1   <none>           <none>\n"
    )


def test_namespace_prefix_and_no_headings() -> None:
    assert tables.render("pods", PODS[:1], now=NOW, namespaced=True) == (
        "NAMESPACE   NAME    READY   STATUS    RESTARTS   AGE\n"
        "default     web-0   1/1     Running   0          5m\n"
    )
    text = tables.render("pods", PODS[:1], now=NOW, namespaced=True, prefix="pod/", headings=False)
    assert text == "default   pod/web-0   1/1   Running   0     5m\n"


def test_services() -> None:
    services = [
        body("Service", "vip", spec={
            "type": "LoadBalancer", "clusterIP": "10.12.0.2", "selector": {"app": "web"},
            "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 443, "protocol": "TCP"}],
        }, status={"loadBalancer": {"ingress": [{"ip": "203.0.113.10"}]}}),
        body("Service", "soon", spec={"type": "LoadBalancer", "clusterIP": "10.12.0.3", "ports": []}),
        body("Service", "head", spec={
            "type": "ClusterIP", "clusterIP": "None", "ports": [{"port": 53, "protocol": "UDP"}],
            "externalIPs": ["203.0.113.9"],
        }),
        body("Service", "away", spec={"type": "ExternalName", "externalName": "example.com"}),
    ]
    assert tables.render("services", services, now=NOW, wide=True) == (
        "NAME   TYPE           CLUSTER-IP   EXTERNAL-IP    PORT(S)                AGE   SELECTOR\n"
        "vip    LoadBalancer   10.12.0.2    203.0.113.10   80:30080/TCP,443/TCP   5m    app=web\n"
        "soon   LoadBalancer   10.12.0.3    <pending>      <none>                 5m    <none>\n"
        "head   ClusterIP      None         203.0.113.9    53/UDP                 5m    <none>\n"
        "away   ExternalName   <none>       example.com    <none>                 5m    <none>\n"
    )


def test_endpoints_show_three_and_count_the_rest() -> None:
    ips = [{"ip": f"10.8.0.{number}"} for number in range(2, 7)]
    bodies = [
        body("Endpoints", "web", subsets=[{"addresses": ips, "ports": [{"port": 80}]}]),
        body("Endpoints", "one", subsets=[{"addresses": ips[:1]}]),
        body("Endpoints", "none"),
    ]
    assert tables.render("endpoints", bodies, now=NOW) == (
        "NAME   ENDPOINTS                                         AGE\n"
        "web    10.8.0.2:80,10.8.0.3:80,10.8.0.4:80 + 2 more...   5m\n"
        "one    10.8.0.2                                          5m\n"
        "none   <none>                                            5m\n"
    )


def test_endpointslices() -> None:
    bodies = [
        body("EndpointSlice", "web-abc", addressType="IPv4", ports=[{"port": 80}, {"port": None}],
             endpoints=[{"addresses": ["10.8.0.2"]}, {"addresses": ["10.8.0.3"]}]),
        body("EndpointSlice", "none", addressType="IPv4"),
    ]
    assert tables.render("endpointslices", bodies, now=NOW) == (
        "NAME      ADDRESSTYPE   PORTS     ENDPOINTS           AGE\n"
        "web-abc   IPv4          80,*      10.8.0.2,10.8.0.3   5m\n"
        "none      IPv4          <unset>   <unset>             5m\n"
    )


def test_nodes() -> None:
    ready = [{"type": "Ready", "status": "True"}]
    nodes = [
        body("Node", "node-1", "", spec={}, status={
            "conditions": ready, "nodeInfo": {"kubeletVersion": "v1.33"},
            "addresses": [{"type": "InternalIP", "address": "10.128.0.2"}],
        }),
        body("Node", "node-2", "", spec={"unschedulable": True}, status={"conditions": ready}),
    ]
    assert tables.render("nodes", nodes, now=NOW) == (
        "NAME     STATUS                     ROLES    AGE   VERSION\n"
        "node-1   Ready                      <none>   5m    v1.33\n"
        "node-2   Ready,SchedulingDisabled   <none>   5m    \n"
    )
    assert tables.render("nodes", nodes[:1], now=NOW, wide=True).splitlines()[1].split() == [
        "node-1", "Ready", "<none>", "5m", "v1.33", "10.128.0.2", "<none>", "<unknown>", "<unknown>", "<unknown>",
    ]


TEMPLATE = {"spec": {"containers": [{"name": "a", "image": "nginx"}, {"name": "b", "image": "redis"}]}}


def test_workloads() -> None:
    selector = {"matchLabels": {"app": "web"}, "matchExpressions": [
        {"key": "tier", "operator": "In", "values": ["b", "a"]}, {"key": "canary", "operator": "DoesNotExist"},
    ]}
    spec = {"replicas": 3, "selector": selector, "template": TEMPLATE}
    status = {"replicas": 3, "readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 2}
    deployment = body("Deployment", "web", spec=spec, status=status)
    assert tables.render("deployments", [deployment], now=NOW, wide=True) == (
        "NAME   READY   UP-TO-DATE   AVAILABLE   AGE   CONTAINERS   IMAGES        SELECTOR\n"
        "web    2/3     3            2           5m    a,b          nginx,redis   app=web,tier in (a,b),!canary\n"
    )
    assert tables.render("replicasets", [body("ReplicaSet", "web", spec=spec, status=status)], now=NOW) == (
        "NAME   DESIRED   CURRENT   READY   AGE\nweb    3         3         2       5m\n"
    )
    assert tables.render("statefulsets", [body("StatefulSet", "db", spec=spec, status=status)], now=NOW) == (
        "NAME   READY   AGE\ndb     2/3     5m\n"
    )
    old = body("ReplicationController", "old", spec={"replicas": 1, "selector": {"app": "old"}, "template": TEMPLATE})
    assert tables.render("replicationcontrollers", [old], now=NOW, wide=True).splitlines()[1].endswith("app=old")


def test_daemonsets_and_jobs() -> None:
    status = {"desiredNumberScheduled": 2, "currentNumberScheduled": 2, "numberReady": 1}
    assert tables.render("daemonsets", [body("DaemonSet", "log", status=status)], now=NOW) == (
        "NAME   DESIRED   CURRENT   READY   UP-TO-DATE   AVAILABLE   NODE SELECTOR   AGE\n"
        "log    2         2         1       0            0           <none>          5m\n"
    )
    status = {"active": 2, "startTime": CREATED}
    job = body("Job", "load", spec={"completions": 2, "template": TEMPLATE}, status=status)
    assert tables.render("jobs", [job], now=NOW) == (
        "NAME   STATUS    COMPLETIONS   DURATION   AGE\nload   Running   0/2           5m         5m\n"
    )
    status = {"succeeded": 2, "startTime": CREATED, "completionTime": CREATED.replace(":00Z", ":30Z")}
    status["conditions"] = [{"type": "Complete", "status": "True"}]
    queue = body("Job", "load", spec={"parallelism": 3, "template": TEMPLATE}, status=status)
    assert tables.render("jobs", [queue], now=NOW).splitlines()[1].split() == [
        "load", "Complete", "2/1", "of", "3", "30s", "5m",
    ]


def test_a_pod_that_ends_is_terminating() -> None:
    ending = pod("web-0", ready=True, state={"running": {}})
    ending["metadata"]["deletionTimestamp"] = CREATED
    assert pod_status(ending, NOW) == "Terminating"
