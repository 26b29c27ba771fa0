{{/* Names and labels take a list: the root, and "webhook", "gateway" or "valkey". */}}

{{- define "cambist.name" -}}
{{- $root := index . 0 }}
{{- $release := $root.Release.Name }}
{{- $full := $root.Values.fullnameOverride | default (contains "cambist" $release | ternary $release (printf "%s-cambist" $release)) }}
{{- printf "%s-%s" ($full | trunc 50 | trimSuffix "-") (index . 1) }}
{{- end }}

{{- define "cambist.selector" -}}
app.kubernetes.io/name: cambist-{{ index . 1 }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
{{- end }}

{{- define "cambist.labels" -}}
{{- $root := index . 0 }}
{{- include "cambist.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "cambist.metadata" -}}
name: {{ include "cambist.name" . }}
namespace: {{ (index . 0).Release.Namespace }}
labels:
  {{- include "cambist.labels" . | nindent 2 }}
{{- end }}

{{- define "cambist.image" -}}
{{- with .Values.image -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ with .digest }}@{{ . }}{{ end }}
{{- end }}
{{- end }}

{{/* The part of the pod spec that webhook and gateway share. */}}
{{- define "cambist.pod" -}}
{{- $root := index . 0 -}}
serviceAccountName: {{ include "cambist.name" . }}
automountServiceAccountToken: {{ and (eq (index . 1) "gateway") (eq (include "cambist.readsClusterKeys" $root) "true") }}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  seccompProfile:
    type: RuntimeDefault
# Spreads the pods over nodes, so that one node's failure leaves a pod.
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "cambist.selector" . | nindent 8 }}
{{- include "cambist.scheduling" . }}
{{- end }}

{{/* Where the pod runs, and with which Secrets its images are pulled. */}}
{{- define "cambist.scheduling" -}}
{{- $root := index . 0 }}
{{- $values := index $root.Values (index . 1) -}}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with index $values $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* The Secret with the certificate of the gateway. Empty: the gateway has no TLS. */}}
{{- define "cambist.gatewayTls" -}}
{{- with .Values.gateway.tls -}}
{{ .secret | default (empty .issuerRef | ternary "" (printf "%s-tls" (include "cambist.name" (list $ "gateway")))) }}
{{- end }}
{{- end }}

{{- define "cambist.scheme" -}}
{{ or (include "cambist.gatewayTls" .) .Values.gateway.spiffe.listener | empty | ternary "http" "https" }}
{{- end }}

{{/* "true" if the gateway verifies tokens by the keys of the cluster, which it reads with its own service account token. */}}
{{- define "cambist.readsClusterKeys" -}}
{{- with .Values.gateway.agents -}}{{ if and .known .issuer }}true{{ end }}{{- end }}
{{- end }}

{{/* The content of cambist.yaml. */}}
{{- define "cambist.gatewayConfig" -}}
{{- $config := deepCopy .Values.gateway.config }}
{{- $tls := .Values.gateway.tls }}
{{- if include "cambist.gatewayTls" . }}
{{- $folder := "/var/run/secrets/tls" }}
{{- $files := dict "certificate" (dict "file" (print $folder "/tls.crt")) "private_key" (dict "file" (print $folder "/tls.key")) }}
{{- if $tls.admin }}
{{- $_ := set $config "admin" (dict "address" $config.admin "tls" $files) }}
{{- end }}
{{- $clients := dict }}
{{- if $tls.clientCa }}
{{- $clients = dict "client_ca" (dict "file" $tls.clientCa) "client_certificate" $tls.clientCertificate }}
{{- end }}
{{- $_ := set $config "listen" (dict "address" $config.listen "tls" (merge $clients $files)) }}
{{- end }}
{{- $spiffe := .Values.gateway.spiffe }}
{{- with $spiffe.socket }}
{{- $_ := set $config "spiffe" (dict "socket" (print "unix:///spiffe-workload-api/" .)) }}
{{- end }}
{{- if $spiffe.listener }}
{{- $_ := set $config "listen" (dict "address" $config.listen "tls" "spiffe") }}
{{- end }}
{{- with .Values.gateway.agents }}
{{- if .known }}
{{- $agents := dict "known" .known }}
{{- if .issuer }}
{{- $folder := "/var/run/secrets/kubernetes.io/serviceaccount" }}
{{- $keys := dict "jwks_uri" "https://kubernetes.default.svc/openid/v1/jwks" "jwks_token" (dict "file" (print $folder "/token")) }}
{{- $ca := dict "tls" (dict "ca" (dict "file" (print $folder "/ca.crt"))) }}
{{- $_ := set $agents "token" (merge (pick . "header" "audience" "issuer") $keys $ca) }}
{{- end }}
{{- if or $tls.clientCa $spiffe.listener }}
{{- $_ := set $agents "certificate" true }}
{{- end }}
{{- $_ := set $config "agents" $agents }}
{{- end }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{- define "cambist.containerSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
privileged: false
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Labels and annotations of a pod. */}}
{{- define "cambist.podMetadata" -}}
{{- $values := index (index . 0).Values (index . 1) -}}
labels:
  {{- include "cambist.selector" . | nindent 2 }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "cambist.podMonitor" -}}
{{- $monitor := (index . 0).Values.monitoring.podMonitor -}}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  {{- include "cambist.metadata" . | nindent 2 }}
    {{- with $monitor.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels:
      {{- include "cambist.selector" . | nindent 6 }}
  podMetricsEndpoints:
    - port: cambist-admin
      path: /metrics
      interval: {{ $monitor.interval }}
      {{- $root := index . 0 }}
      {{- if and (eq (index . 1) "gateway") $root.Values.gateway.tls.admin }}
      scheme: https
      tlsConfig:
        serverName: {{ include "cambist.name" . }}.{{ $root.Release.Namespace }}.svc
        ca:
          secret:
            name: {{ include "cambist.gatewayTls" $root }}
            key: ca.crt
      {{- end }}
{{- end }}

{{/* The NetworkPolicy rule for clients that read the metrics. */}}
{{- define "cambist.monitoringRule" -}}
- from:
    {{- toYaml . | nindent 4 }}
  ports:
    # A number, because several network plugins do not know port names.
    - port: 9180
{{- end }}
