{{/*
The name of every object. For any release it sorts after spark-operator…: webhooks are called in the order of their names, and
what the operator adds to a pod is there before this one looks at it.
*/}}
{{- define "spark-webhook.name" -}}
{{- $name := hasPrefix "spark-webhook" .Release.Name | ternary .Release.Name (printf "spark-webhook-%s" .Release.Name) -}}
{{- $name | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "spark-webhook.selectorLabels" -}}
app.kubernetes.io/name: spark-webhook
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The metadata of an object: a dict of root, suffix of the name, cluster (not namespaced), another namespace, labels and annotations. */}}
{{- define "spark-webhook.metadata" -}}
name: {{ include "spark-webhook.name" .root }}{{ .suffix }}
{{- if not .cluster }}
namespace: {{ .namespace | default .root.Release.Namespace }}
{{- end }}
labels:
  {{- include "spark-webhook.selectorLabels" .root | nindent 2 }}
  app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
  {{- range $key, $value := merge (dict) (.labels | default dict) .root.Values.commonLabels }}
  {{ $key }}: {{ $value | quote }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- range $key, $value := . }}
  {{ $key }}: {{ $value | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{/* What doctor reads, but Secrets. */}}
{{- define "spark-webhook.doctorRules" -}}
- apiGroups: [admissionregistration.k8s.io]
  resources: [mutatingwebhookconfigurations]
  verbs: [get, list]
- apiGroups: [""]
  resources: [namespaces, pods]
  verbs: [get, list]
- apiGroups: [""]
  resources: [services, configmaps, serviceaccounts]
  verbs: [get]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list]
{{- end }}

{{- define "spark-webhook.image" -}}
{{- with .Values.image -}}
{{- if not .repository -}}
{{- fail "image.repository is not set: name the repository of the image, as in --set image.repository=registry.example/spark-webhook" -}}
{{- end -}}
{{- with .registry }}{{ . | trimSuffix "/" }}/{{ end -}}
{{- .repository -}}
{{- if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end }}

{{/* The names under which the API server calls, as a JSON list in a dict: templates return text only. */}}
{{- define "spark-webhook.dnsNames" -}}
{{- $service := include "spark-webhook.name" . -}}
{{- $namespaced := printf "%s.%s" $service .Release.Namespace -}}
{{- $names := list (printf "%s.svc" $namespaced) $service $namespaced (printf "%s.svc.cluster.local" $namespaced) -}}
{{- $host := get (urlParse .Values.webhook.url) "hostname" -}}
{{- if and $host (not (regexMatch "^[0-9.]+$|:" $host)) -}}
{{- $names = append $names $host -}}
{{- end -}}
{{- dict "names" $names | toJson -}}
{{- end }}

{{/* Whether a process signs its own certificate. */}}
{{- define "spark-webhook.signs" -}}
{{- if has .Values.certificates.mode (list "managed" "ca") }}true{{ end -}}
{{- end }}

{{/* The Secret that the pods mount. */}}
{{- define "spark-webhook.certificateSecret" -}}
{{- .Values.certificates.existingSecret | default (printf "%s-%s" (include "spark-webhook.name" .) (ternary "helm-ca" "tls" (eq .Values.certificates.mode "ca"))) -}}
{{- end }}

{{/*
The CA that the API server is to trust, as a dict in JSON of its certificate, and of its key where Helm made it, in PEM; empty where somebody
else writes it into the MutatingWebhookConfiguration. To be called once: a CA that the cluster does not have yet is another one each time. It
is Ed25519, because that is the one kind of key that Helm writes as PKCS#8.
*/}}
{{- define "spark-webhook.ca" -}}
{{- $certificates := .Values.certificates -}}
{{- $ca := dict -}}
{{- if has $certificates.mode (list "ca" "existingSecret") -}}
{{- $secret := include "spark-webhook.certificateSecret" . -}}
{{- $stored := (lookup "v1" "Secret" .Release.Namespace $secret).data | default dict -}}
{{- if $certificates.caBundle -}}
{{- $ca = dict "certificate" $certificates.caBundle -}}
{{- else if $certificates.existingSecret -}}
{{- $key := ternary "tls.crt" "ca.crt" (eq $certificates.mode "ca") -}}
{{- $certificate := get $stored $key | required (printf "certificates.caBundle is not set, and %s of Secret %s/%s cannot be read: write the CA into certificates.caBundle, in PEM" $key .Release.Namespace $secret) -}}
{{- $ca = dict "certificate" (b64dec $certificate) -}}
{{- else if and (get $stored "tls.crt") (get $stored "tls.key") -}}
{{- $ca = dict "certificate" (get $stored "tls.crt" | b64dec) "key" (get $stored "tls.key" | b64dec) -}}
{{- else -}}
{{- $made := genCAWithKey "spark-webhook CA" 3650 (genPrivateKey "ed25519") -}}
{{- $ca = dict "certificate" $made.Cert "key" $made.Key -}}
{{- end -}}
{{- end -}}
{{- $ca | toJson -}}
{{- end }}

{{/*
The match condition: as spark_webhook::registration::condition writes it, and a test holds them equal. A pod with a key of ours is sent, and
one in a namespace of the rules' defaults.
*/}}
{{- define "spark-webhook.matchCondition" -}}
{{- $conditions := list "has(object.metadata.annotations) && object.metadata.annotations.exists(key, key.startsWith('spark-operator.k8s.io/') || key.startsWith('sparkoperator.k8s.io/'))" -}}
{{- range .Values.rules.defaults -}}
{{- $including := list -}}
{{- $excluding := list -}}
{{- range .namespaces -}}
{{- $regex := trimPrefix "!" . | replace "." "[.]" | replace "*" ".*" | replace "?" "." -}}
{{- $matches := printf "request.namespace.matches('^%s$')" $regex -}}
{{- if hasPrefix "!" . -}}
{{- $excluding = append $excluding $matches -}}
{{- else -}}
{{- $including = append $including $matches -}}
{{- end -}}
{{- end -}}
{{- $condition := "true" -}}
{{- if and $including $excluding -}}
{{- $condition = printf "((%s) && !(%s))" (join " || " $including) (join " || " $excluding) -}}
{{- else if $including -}}
{{- $condition = printf "(%s)" (join " || " $including) -}}
{{- else if $excluding -}}
{{- $condition = printf "!(%s)" (join " || " $excluding) -}}
{{- end -}}
{{- if ne $condition (last $conditions) -}}
{{- $conditions = append $conditions $condition -}}
{{- end -}}
{{- end -}}
{{- join " || " $conditions -}}
{{- end }}
