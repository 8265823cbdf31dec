{{- define "pinion.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "pinion.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "pinion.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pinion.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "pinion.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "pinion.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "pinion.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "pinion.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "pinion.image" -}}
{{- $repository := required "image.repository: say which image to run" .Values.image.repository }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* The port that Pinion listens on. */}}
{{- define "pinion.port" -}}
{{- .Values.config.server.listen | splitList ":" | last }}
{{- end }}

{{/* pinion.toml. Helm keeps whole numbers as floats; TOML distinguishes them. */}}
{{- define "pinion.toml" -}}
{{- regexReplaceAll "(?m)^(\\s*[a-z_]+ = -?[0-9]+)\\.0$" (toToml .Values.config | trim) "${1}" }}
{{- end }}

{{/* What the schema can't say. */}}
{{- define "pinion.check" -}}
{{- if not .Values.config.repository }}
{{- fail "config.repository: name at least one repository, such as `[{url: https://github.com/acme/environments.git}]`" }}
{{- end }}
{{- if regexMatch "^(127\\.|\\[::1\\])" .Values.config.server.listen }}
{{- fail "config.server.listen: on loopback neither probes nor Prometheus reach Pinion; say 0.0.0.0:9780 or [::]:9780" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "ingress.hosts: say at least one `host` that the ingress answers to" }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "httpRoute.parentRefs: name at least one Gateway" }}
{{- end }}
{{- if and (eq .Values.dnsPolicy "None") (not .Values.dnsConfig.nameservers) }}
{{- fail "dnsConfig.nameservers: with `dnsPolicy: None` say at least one" }}
{{- end }}
{{- $files := list }}
{{- range .Values.config.repository }}
{{- with .auth }}
{{- $files = concat $files (list .token_file .ssh_key_file) }}
{{- end }}
{{- end }}
{{- $files = append $files .Values.config.server.token_file | compact }}
{{- $paths := list }}
{{- range .Values.secrets }}
{{- $paths = append $paths (printf "/run/secrets/pinion/%s" .path) }}
{{- end }}
{{- range $files }}
{{- if and (hasPrefix "/run/secrets/pinion/" .) (not (has . $paths)) }}
{{- fail (printf "config names the file %s, but no entry of `secrets` has the path %s" . (trimPrefix "/run/secrets/pinion/" .)) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Where people find the runbook: as said, or Pinion's own of this version. */}}
{{- define "pinion.runbookUrl" -}}
{{- default (printf "%s/blob/v%s/docs/runbook.md" .Chart.Home .Chart.AppVersion) .Values.prometheusRule.runbookUrl }}
{{- end }}
