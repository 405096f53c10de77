"""The fields of a KubeRay `RayService` (ray.io/v1, KubeRay 1.6) and of the pods in it.

Read from KubeRay's `ray-operator/apis/ray/v1` and Kubernetes' core/v1. Kubernetes prunes a field
that it does not know, unless whoever applies the file asks it to refuse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import create_model

if TYPE_CHECKING:
    from pydantic import BaseModel


def _fields(name: str, plain: str, **inner: Any) -> type[BaseModel]:  # noqa: ANN401 - types
    fields: dict[str, Any] = dict.fromkeys(plain.split(), (Any, None))
    fields |= {field: (annotation, None) for field, annotation in inner.items()}
    made: type[BaseModel] = create_model(name, **fields)
    return made


_Resources = _fields("Resources", "claims limits requests")
_Probe = _fields(
    "Probe",
    "exec failureThreshold grpc httpGet initialDelaySeconds periodSeconds successThreshold "
    "tcpSocket terminationGracePeriodSeconds timeoutSeconds",
)
_Variable = _fields("Variable", "name value valueFrom")
_Container = _fields(
    "Container",
    "args command envFrom image imagePullPolicy lifecycle name ports resizePolicy restartPolicy "
    "restartPolicyRules securityContext stdin stdinOnce terminationMessagePath "
    "terminationMessagePolicy tty volumeDevices volumeMounts workingDir",
    env=list[_Variable],  # type: ignore[valid-type]  # made above, so no type to the checker
    resources=_Resources,
    livenessProbe=_Probe,
    readinessProbe=_Probe,
    startupProbe=_Probe,
)
_Pod = _fields(
    "Pod",
    "activeDeadlineSeconds affinity automountServiceAccountToken dnsConfig dnsPolicy "
    "enableServiceLinks ephemeralContainers hostAliases hostIPC hostNetwork hostPID hostUsers "
    "hostname hostnameOverride imagePullSecrets nodeName nodeSelector os overhead "
    "preemptionPolicy priority priorityClassName readinessGates resourceClaims resources "
    "restartPolicy runtimeClassName schedulerName schedulingGates securityContext "
    "serviceAccount serviceAccountName setHostnameAsFQDN shareProcessNamespace subdomain "
    "terminationGracePeriodSeconds tolerations topologySpreadConstraints volumes",
    containers=list[_Container],  # type: ignore[valid-type]
    initContainers=list[_Container],  # type: ignore[valid-type]
)
_Template = _fields("Template", "metadata", spec=_Pod)
_Head = _fields(
    "Head",
    "headService enableIngress resources labels rayStartParams serviceType",
    template=_Template,
)
_Worker = _fields(
    "Worker",
    "suspend groupName replicas minReplicas maxReplicas idleTimeoutSeconds resources labels "
    "rayStartParams scaleStrategy numOfHosts",
    template=_Template,
)
_Credential = _fields("Credential", "value valueFrom")
_Cluster = _fields(
    "Cluster",
    "upgradeStrategy suspend managedBy headServiceAnnotations enableInTreeAutoscaling "
    "networkIsolation tlsOptions rayVersion",
    authOptions=_fields("Auth", "mode enableK8sTokenAuth secretName"),
    autoscalerOptions=_fields(
        "Autoscaler",
        "image imagePullPolicy securityContext idleTimeoutSeconds upscalingMode version env "
        "envFrom volumeMounts",
        resources=_Resources,
    ),
    gcsFaultToleranceOptions=_fields(
        "GcsFaultTolerance",
        "externalStorageNamespace redisAddress backend storage",
        redisUsername=_Credential,
        redisPassword=_Credential,
    ),
    headGroupSpec=_Head,
    workerGroupSpecs=list[_Worker],  # type: ignore[valid-type]
)
_Spec = _fields(
    "Spec",
    "rayClusterDeletionDelaySeconds serviceUnhealthySecondThreshold "
    "deploymentUnhealthySecondThreshold serveService managedBy serveConfigV2 "
    "excludeHeadPodFromServeSvc",
    upgradeStrategy=_fields("Upgrade", "type clusterUpgradeOptions"),
    rayClusterConfig=_Cluster,
)
RAY_SERVICE = _fields("RayService", "apiVersion kind metadata status", spec=_Spec)
"""To be compared with by `schema.unknown_keys`; values are not looked at."""
