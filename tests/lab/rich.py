"""A lab with an object of every kind that a lab runs, as its file."""

POD = """\
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: web, image: nginx, ports: [{name: http, containerPort: 80}]}]}
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
"""
RICH = f"""\
apiVersion: nslab.dev/v1
kind: Lab
metadata: {{name: rich}}
spec: {{nodes: [{{name: a}}, {{name: b}}]}}
---
{POD}---
{SERVICE}---
apiVersion: v1
kind: Service
metadata: {{name: udp}}
spec: {{selector: {{app: rc}}, ports: [{{port: 53, protocol: UDP}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: silent, labels: {{kind: odd}}}}
spec: {{selector: {{app: nothing}}, ports: [{{port: 9}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: deep, namespace: shop}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: deep}}}}
  template:
    metadata: {{labels: {{app: deep}}}}
    spec: {{containers: [{{name: deep, image: nginx}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: deep, namespace: shop}}
spec: {{selector: {{app: deep}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: ReplicationController
metadata: {{name: rc}}
spec:
  replicas: 1
  selector: {{app: rc}}
  template:
    metadata: {{labels: {{app: rc}}}}
    spec: {{containers: [{{name: rc, image: nginx, ports: [{{containerPort: 53, protocol: UDP}}]}}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: sts}}
spec:
  serviceName: sts
  selector: {{matchLabels: {{app: sts}}}}
  template:
    metadata: {{labels: {{app: sts}}}}
    spec: {{containers: [{{name: sts, image: host, command: [sh, -c, "echo one; echo two; exec sleep 1000"]}}]}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: ds}}
spec:
  selector: {{matchLabels: {{app: ds}}}}
  template:
    metadata: {{labels: {{app: ds}}}}
    spec: {{containers: [{{name: ds, image: nginx, ports: [{{containerPort: 80}}]}}]}}
---
apiVersion: batch/v1
kind: Job
metadata: {{name: job}}
spec: {{template: {{spec: {{restartPolicy: Never, containers: [{{name: job, image: busybox}}]}}}}}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: nobody}}
"""
KINDS = ("nodes", "pods", "services", "endpoints", "endpointslices", "deployments", "replicasets",
         "replicationcontrollers", "statefulsets", "daemonsets", "jobs", "namespaces")
