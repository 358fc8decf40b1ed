"""What an attempt's pods are made from: the digest by which an edit of their image or size is noticed. Pure."""

from __future__ import annotations

from distillery.api.v1alpha1.common import Storage
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.artifacts.manifest import digest
from distillery.manifests.pods import pod_shape
from distillery.manifests.secrets import secret_env, secret_uses
from distillery.manifests.sizing import workers_in
from distillery.planning.profile import Profile
from distillery.stages.stage import StageName


def shape_of(spec: DistillationJobSpec, storage: Storage, profile: Profile, stage: StageName) -> str:
    """Return the digest of all that people say about a stage's pods.

    It is taken of what was said, not of what is rendered: a newer release alone replaces no attempt.
    """
    workers = workers_in(spec, stage)
    said = {
        "image": [profile.image, profile.image_pull_policy, *profile.image_pull_secrets],
        "ray": profile.ray_version,
        "serviceAccount": profile.service_account_name,
        "head": pod_shape(profile, stage, "head"),
        "worker": pod_shape(profile, stage, "worker") if workers is not None else None,
        "workers": workers and workers.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "queue": dict(profile.queue_labels),
        "secrets": secret_env(secret_uses(spec, storage, stage)),
    }
    return digest(said)
