{{/* What the operator may do in a namespace that it watches. Secrets: generated ones are created once and read;
they are never listed, watched, changed or deleted. */}}
{{- define "wsc-operator.rules" -}}
- apiGroups: [wsc.dev]
  resources: [wscclusters]
  verbs: [get, list, watch]
- apiGroups: [wsc.dev]
  resources: [wscclusters/status]
  verbs: [patch]
# Needed to set owner references where the API server checks the right to do so.
- apiGroups: [wsc.dev]
  resources: [wscclusters/finalizers]
  verbs: [update]
# patch: an annotation makes the kubelet bring changed settings at once.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch, delete]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create]
- apiGroups: [""]
  resources: [services, serviceaccounts, configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
# The last good template of a rollout that is stuck.
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [ingresses, networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# Kinds that are used where their definitions are installed.
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors, prometheusrules]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* Leader election, in the operator's own namespace. */}}
{{- define "wsc-operator.leaderRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, create, update]
{{- end -}}
