{{- define "podium.labels" -}}
app.kubernetes.io/name: podium
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "podium.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "podium.pod" -}}
automountServiceAccountToken: false
# A Service called podium would set PODIUM_PORT to its own URL.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "podium.judges" -}}
{{- $file := deepCopy .Values.judges -}}
{{- if .Values.judgePool.enabled -}}
{{- $judge := required "judgePool.judge must be one of judges.judges" (index $file.judges .Values.judgePool.judge) -}}
{{- $urls := list -}}
{{- range $i := until (int .Values.judgePool.replicas) -}}
{{- $urls = append $urls (printf "http://%s-judge-%d.%s-judge:8000/v1" $.Release.Name $i $.Release.Name) -}}
{{- end -}}
{{- $_ := set $judge "base_urls" $urls -}}
{{- end -}}
{{- toYaml $file -}}
{{- end }}

{{- define "podium.ray" -}}
image: "{{ .Values.ray.image.repository }}:{{ .Values.ray.image.tag }}"
workingDir: /runs
env:
  - {name: PODIUM_URL, value: "http://{{ .Release.Name }}:8000"}
  - {name: HF_HOME, value: /runs/huggingface}
  - name: PODIUM_API_KEY
    valueFrom: {secretKeyRef: {name: {{ .Values.service.secret | quote }}, key: api-key}}
{{- if .Values.ray.huggingFaceSecret }}
  - name: HF_TOKEN
    valueFrom: {secretKeyRef: {name: {{ .Values.ray.huggingFaceSecret | quote }}, key: token}}
{{- end }}
{{ include "podium.container" . }}
volumeMounts:
  - {name: runs, mountPath: /runs}
  - {name: shm, mountPath: /dev/shm}
{{- end }}

{{- define "podium.rayVolumes" -}}
- name: runs
  persistentVolumeClaim: {claimName: {{ .Release.Name }}-runs}
- name: shm
  emptyDir: {medium: Memory, sizeLimit: 16Gi}
{{- end }}
