"""Labs of any size, as the YAML that a user would write."""

from __future__ import annotations


def topology(name: str, *, nodes: int, services: int, endpoints: int) -> str:
    """A lab of `services` Services, each with a Deployment of `endpoints` Pods behind it."""
    documents = [f"apiVersion: nslab.dev/v1\nkind: Lab\nmetadata: {{name: {name}}}\nspec: {{nodes: {nodes}}}\n"]
    for number in range(services):
        documents.append(
            f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: app-{number}}}\n"
            f"spec:\n  replicas: {endpoints}\n  selector: {{matchLabels: {{app: app-{number}}}}}\n"
            f"  template:\n    metadata: {{labels: {{app: app-{number}}}}}\n"
            "    spec: {containers: [{name: app, image: app, ports: [{containerPort: 8080}]}]}\n"
        )
        documents.append(service(number))
    return "---\n".join(documents)


def service(number: int) -> str:
    """One Service of port 80, as a manifest has it."""
    return (
        f"apiVersion: v1\nkind: Service\nmetadata:\n  name: app-{number}\n  labels:\n    app: app-{number}\n"
        f"spec:\n  selector:\n    app: app-{number}\n"
        "  ports:\n    - name: http\n      port: 80\n      targetPort: 8080\n"
    )


def services_only(count: int, addresses: int) -> str:
    """`count` Services without selectors and their EndpointSlices of `addresses` addresses each, on one node."""
    documents = [
        "apiVersion: nslab.dev/v1\nkind: Lab\nmetadata: {name: bench}\n"
        "spec: {nodes: 1, vpc: {serviceRange: 10.64.0.0/16}}\n"
    ]
    for number in range(count):
        documents.append(
            f"apiVersion: v1\nkind: Service\nmetadata:\n  name: app-{number}\n"
            "spec:\n  ports:\n    - name: http\n      port: 80\n      targetPort: 8080\n"
        )
        listed = "".join(
            f"  - addresses: [10.8.{(number * addresses + i) // 250 % 250}.{(number * addresses + i) % 250 + 2}]\n"
            for i in range(addresses)
        )
        documents.append(
            f"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: app-{number}-slice\n"
            f"  labels: {{kubernetes.io/service-name: app-{number}}}\naddressType: IPv4\n"
            f"ports:\n  - {{name: http, port: 8080}}\nendpoints:\n{listed}"
        )
    return "---\n".join(documents)
