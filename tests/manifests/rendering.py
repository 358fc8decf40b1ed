"""What the golden files and the tests render: one job, its profiles, every stage of interest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from distillery.api.v1alpha1.common import Storage
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.api.v1alpha1.distillation_profile import DistillationProfile
from distillery.manifests.names import attempt_name, record_name, reports_name
from distillery.manifests.rayjob import rayjob
from distillery.manifests.sizing import workers_of
from distillery.planning.profile import BuiltinProfile, Profile, resolve
from distillery.planning.record import JobRef
from distillery.stages.assignment import Assignment
from distillery.stages.stage import STAGE_NAMES, StageName, StageRun

REF = JobRef("ticket-routing", "support", "5c0f7a1e-3b52-4d0c-9d52-1f6f5a0f8f7b")
STORAGE = {
    "uri": "s3://models/distillery",
    "endpoint": "http://s3:9000",
    "credentialsSecret": "s3-credentials",
}
SPEC: dict[str, Any] = {
    "storage": STORAGE,
    "task": {"output": {"format": "label", "labels": ["billing", "login"]}},
    "dataset": {
        "sources": [
            {"uri": "s3://logs/tickets/*.jsonl", "credentialsSecret": "log-reader"},
            {"uri": "s3://models/more/*.jsonl"},
        ],
        "input": "{text}",
    },
    "teacher": {
        "model": "large",
        "endpoint": {
            "url": "https://api.example.com/v1",
            "apiKeySecret": {"name": "teacher", "key": "api-key"},
        },
    },
    "student": {"base": {"hub": "organisation/model"}},
}
BUILTIN = BuiltinProfile(image="example.com/distillery/worker:1.2.3", ray_version="2.60.0")
PLAIN = resolve(None, BUILTIN)
FULL_TEMPLATES: dict[str, Any] = {
    "default": {
        "head": {
            "metadata": {"labels": {"team": "support"}, "annotations": {"example.com/cost-centre": "17"}},
            "spec": {
                "nodeSelector": {"pool": "general"},
                "tolerations": [{"key": "batch", "operator": "Exists"}],
                "priorityClassName": "batch",
                "containers": [{"env": [{"name": "HF_HUB_OFFLINE", "value": "1"}]}],
            },
        },
        "worker": {"spec": {"nodeSelector": {"pool": "general"}, "runtimeClassName": "gvisor"}},
    },
    "student": {
        "head": {
            "spec": {"containers": [{"resources": {"requests": {"memory": "6Gi"}, "limits": {"cpu": "2"}}}]}
        },
        "worker": {
            "metadata": {"labels": {"team": "training"}},
            "spec": {
                "nodeSelector": {"pool": "gpu"},
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
                "affinity": {
                    "podAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": [
                            {
                                "labelSelector": {"matchLabels": {"distillery.dev/stage": "student"}},
                                "topologyKey": "topology.kubernetes.io/zone",
                            }
                        ]
                    }
                },
                "topologySpreadConstraints": [
                    {
                        "maxSkew": 1,
                        "topologyKey": "kubernetes.io/hostname",
                        "whenUnsatisfiable": "ScheduleAnyway",
                        "labelSelector": {"matchLabels": {"distillery.dev/stage": "student"}},
                    }
                ],
                "volumes": [{"name": "hub", "persistentVolumeClaim": {"claimName": "hub", "readOnly": True}}],
                "containers": [
                    {
                        "name": "ray-worker",
                        "env": [{"name": "HF_HOME", "value": "/hub"}],
                        "volumeMounts": [{"name": "hub", "mountPath": "/hub", "readOnly": True}],
                    }
                ],
            },
        },
    },
}


@dataclass(frozen=True)
class Case:
    """One RayJob to render."""

    name: str
    stage: StageName
    workers: dict[str, Any] = field(default_factory=dict)
    profile: Profile = PLAIN

    @property
    def assignment(self) -> Assignment:
        return make_assignment(self.stage, self.spec)

    @property
    def spec(self) -> DistillationJobSpec:
        return make_spec(**{self.stage: {"workers": self.workers}} if self.workers else {})

    def render(self) -> dict[str, Any]:
        return rayjob(REF, name_of(self.stage), self.assignment, self.spec, self.profile)


def make_spec(**sections: Any) -> DistillationJobSpec:
    """Return the spec with some fields of its sections replaced."""
    data = {**SPEC, **{name: {**SPEC[name], **fields} for name, fields in sections.items()}}
    return DistillationJobSpec.model_validate(data)


def make_profile(**spec: Any) -> Profile:
    """Return the effective settings of a profile."""
    data = {"metadata": {"name": "standard"}, "spec": spec}
    return resolve(DistillationProfile.model_validate(data), BUILTIN)


def name_of(stage: StageName, attempt: int = 1) -> str:
    return attempt_name(REF, stage, attempt, f"identity of {stage}")


def make_assignment(stage: StageName, spec: DistillationJobSpec, attempt: int = 1) -> Assignment:
    run = StageRun(
        stage=stage,
        recipe=f"recipe of {stage}",
        params={"readable": True},
        consumes=[],
        spec_digest="digest of the spec",
        job_name=REF.name,
        job_uid=REF.uid,
    )
    return Assignment(
        run=run,
        attempt=attempt,
        storage=Storage.model_validate(STORAGE),
        namespace=REF.namespace,
        record=record_name(REF),
        reports=reports_name(REF),
        workers=workers_of(spec, stage),
    )


FULL = make_profile(
    imagePullPolicy="Always",
    imagePullSecrets=["registry"],
    serviceAccountName="distiller",
    queueLabels={"kueue.x-k8s.io/queue-name": "batch", "kueue.x-k8s.io/priority-class": "low"},
    pods=FULL_TEMPLATES,
)
GPU = {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "1"}
CASES = (
    *(Case(f"{stage}", stage) for stage in STAGE_NAMES),
    *(Case(f"{stage}-workers", stage, {"replicas": 2}) for stage in ("teacher", "student")),
    *(Case(f"{stage}-gpu", stage, {"replicas": 4, "resources": GPU}) for stage in ("teacher", "student")),
    *(Case(f"{stage}-full", stage, profile=FULL) for stage in STAGE_NAMES),
    Case("student-gpu-full", "student", {"replicas": 4, "resources": GPU}, FULL),
    Case("teacher-workers-full", "teacher", {"replicas": 2}, FULL),
)
