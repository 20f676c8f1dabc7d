{{- /* The name of all objects of a release. */ -}}
{{- define "evenkeel.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "evenkeel.controller" -}}{{ include "evenkeel.fullname" . }}-controller{{- end -}}
{{- define "evenkeel.operator" -}}{{ include "evenkeel.fullname" . }}-operator{{- end -}}
{{- define "evenkeel.agent" -}}{{ include "evenkeel.fullname" . }}-agent{{- end -}}

{{- define "evenkeel.controllerAccount" -}}
{{- .Values.controller.serviceAccount.name | default (include "evenkeel.controller" .) -}}
{{- end -}}

{{- /* Labels of an object: the context and the component. */ -}}
{{- define "evenkeel.labels" -}}
{{- $context := index . 0 -}}
{{- $component := index . 1 -}}
app.kubernetes.io/name: evenkeel-{{ $component }}
app.kubernetes.io/instance: {{ $context.Release.Name }}
app.kubernetes.io/component: {{ $component }}
app.kubernetes.io/part-of: evenkeel
app.kubernetes.io/version: {{ $context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $context.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $context.Chart.Name $context.Chart.Version | replace "+" "_" }}
{{- with $context.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Labels that select a component's pods. They cannot change later. */ -}}
{{- define "evenkeel.selector" -}}
{{- $context := index . 0 -}}
{{- $component := index . 1 -}}
app.kubernetes.io/name: evenkeel-{{ $component }}
app.kubernetes.io/instance: {{ $context.Release.Name }}
{{- end -}}

{{- /* An image: the context and its values. */ -}}
{{- define "evenkeel.image" -}}
{{- $context := index . 0 -}}
{{- $image := index . 1 -}}
{{- $image.repository }}:{{ $image.tag | default $context.Chart.AppVersion }}{{ with $image.digest }}@{{ . }}{{ end }}
{{- end -}}

{{- /* What the policies about nodes look at. */ -}}
{{- define "evenkeel.nodeVariables" -}}
- name: annotations
  expression: object.metadata.?annotations.orValue({})
- name: oldAnnotations
  expression: oldObject.metadata.?annotations.orValue({})
{{- end -}}

{{- /* What may change of a node: who changes it, and the keys of taints that are its to
       set. All fields of a node's spec but two are named: a test compares them with the
       API's. */ -}}
{{- define "evenkeel.nodeValidations" -}}
{{- $who := index . 0 -}}
{{- $taints := index . 1 -}}
- expression: "!has(request.subResource) || request.subResource == ''"
  message: {{ $who }} changes nodes themselves, none of their subresources
- expression: object.metadata.?labels == oldObject.metadata.?labels
  message: {{ $who }} does not change a node's labels
- expression: >-
    variables.annotations.all(k, k == 'evenkeel.dev/interruption' || (k in variables.oldAnnotations && variables.oldAnnotations[k] == variables.annotations[k])) &&
    variables.oldAnnotations.all(k, k == 'evenkeel.dev/interruption' || k in variables.annotations)
  message: of a node's annotations, {{ $who }} sets evenkeel.dev/interruption and no other
# Never one without the other: who cordons says why, and a cordon without a Record is a
# person's.
- expression: >-
    object.spec.?unschedulable.orValue(false) == oldObject.spec.?unschedulable.orValue(false) ||
    (object.spec.?unschedulable.orValue(false) ? 'evenkeel.dev/interruption' in variables.annotations : 'evenkeel.dev/interruption' in variables.oldAnnotations)
  message: {{ $who }} cordons only nodes that it gives a Record, and uncordons only those that have one
{{- if $taints }}
- expression: >-
    object.spec.?taints.orValue([]).filter(t, !(t.key in {{ toJson $taints }})) ==
    oldObject.spec.?taints.orValue([]).filter(t, !(t.key in {{ toJson $taints }}))
  message: of a node's taints, {{ $who }} changes {{ join ", " $taints }} and no other
- expression: >-
    object.spec.?taints.orValue([]).filter(t, t.key in {{ toJson $taints }}).all(t, t in oldObject.spec.?taints.orValue([])) ||
    'evenkeel.dev/interruption' in variables.oldAnnotations
  message: {{ $who }} taints only nodes that have a Record
{{- else }}
- expression: object.spec.?taints == oldObject.spec.?taints
  message: {{ $who }} does not change a node's taints
{{- end }}
- expression: >-
    object.spec.?podCIDR == oldObject.spec.?podCIDR &&
    object.spec.?podCIDRs == oldObject.spec.?podCIDRs &&
    object.spec.?providerID == oldObject.spec.?providerID &&
    object.spec.?podPreemptionPolicy == oldObject.spec.?podPreemptionPolicy &&
    object.spec.?externalID == oldObject.spec.?externalID &&
    object.spec.?configSource == oldObject.spec.?configSource
  message: of a node's spec, {{ $who }} changes {{ if $taints }}the cordon and taints{{ else }}the cordon{{ end }} only
- expression: >-
    object.metadata.?ownerReferences == oldObject.metadata.?ownerReferences &&
    object.metadata.?finalizers == oldObject.metadata.?finalizers
  message: {{ $who }} changes neither owners nor finalizers
{{- end -}}
