"""Whatever another program wrote into an object, nothing that reads it fails."""

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller_world import MANIFEST, NAME, NAMESPACE, World
from distillery.api.yaml import load_yaml
from distillery.controller.cache import Cache
from distillery.controller.handlers import PROJECTIONS, VIEWS, Handlers
from distillery.controller.queue import WorkQueue
from distillery.controller.wanted import named
from distillery.kube.resources import DISTILLATION_JOBS
from distillery.manifests.metadata import ATTEMPT_LABEL, JOB_UID_LABEL, STAGE_LABEL

NAMES = [
    *("metadata", "spec", "status", "name", "namespace", "uid", "resourceVersion", "labels", "annotations"),
    *("ownerReferences", "controller", "kind", "apiVersion", "creationTimestamp", "deletionTimestamp"),
    *(
        "phase",
        "conditions",
        "type",
        "reason",
        "message",
        "containerStatuses",
        "initContainerStatuses",
        "state",
    ),
    *(
        "waiting",
        "terminated",
        "lastState",
        "jobStatus",
        "startTime",
        "endTime",
        "suspend",
        "nodeName",
        "profile",
    ),
    *(
        JOB_UID_LABEL,
        STAGE_LABEL,
        ATTEMPT_LABEL,
        "ray.io/node-type",
        "generation",
        "observedGeneration",
        "stages",
    ),
    *("containers", "resources", "requests", "limits", "cpu", "memory"),
]
WORDS = [
    "",
    "100m",
    "a",
    "True",
    "Failed",
    "DELETED",
    "0001-01-01T00:00:00",
    "9999-12-31T23:59:59-23:59",
    "١٢",
    "9" * 400,
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(st.sampled_from(NAMES[:3]), JSON, max_size=3)
KINDS = st.sampled_from([None, "ADDED", "MODIFIED", "DELETED", "ODD"])


JOB = (DISTILLATION_JOBS.plural, NAMESPACE, NAME)


async def _look(_key):
    return None


@given(st.lists(st.tuples(KINDS, DOCUMENTS), max_size=5))
@settings(max_examples=100)
def test_no_event_makes_a_handler_fail(events):
    async def story() -> None:
        handlers = Handlers(Cache(), WorkQueue(_look), lambda uid: None)
        for kind, document in events:
            for view in VIEWS.values():
                view(document)
            handlers.job(kind, document)
            metadata = document.get("metadata")
            handlers.config_map(kind, metadata if isinstance(metadata, dict) else {})
            for project in PROJECTIONS.values():
                handlers.child(kind, project(document))
            named(document)

    asyncio.run(story())


@given(DOCUMENTS)
@settings(max_examples=100)
def test_what_the_watches_keep_is_projected_as_the_whole_would_be(document):
    for resource, project in PROJECTIONS.items():
        kept = VIEWS[resource](document)
        assert kept is None or project(kept) == project(document)


GOOD = load_yaml(MANIFEST, "job.yaml")["spec"]
FIELDS = [
    "task",
    "dataset",
    "teacher",
    "student",
    "output",
    "base",
    "architecture",
    "slices",
    "where",
    "suspend",
]
SPECS = st.recursive(
    JSON, lambda inner: st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4), max_leaves=8
)


@given(
    spec=SPECS | st.builds(lambda key, value: {**GOOD, key: value}, st.sampled_from(FIELDS), SPECS),
    status=JSON,
)
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_no_spec_and_no_status_makes_a_look_fail(spec, status):
    """But for what the API server answers: an object that is odd is told so."""
    world = World()

    async def look() -> None:
        await world.apply()
        stored = world.api.objects[JOB]
        stored["spec"], stored["status"] = spec, status
        await world.operator.reconcile(NAMESPACE, NAME)

    asyncio.run(look())
    assert world.api.objects[JOB]["status"]["observedGeneration"] == 1


METADATA = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("labels", "annotations", "ownerReferences", "creationTimestamp"), JSON),
        "generation": JSON,
    },
)
SPEC = st.one_of(st.just("absent"), st.none(), JSON, st.just(GOOD))


@given(METADATA, SPEC, st.one_of(st.just("absent"), JSON))
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_no_document_makes_a_look_fail(metadata, spec, status):
    """Whatever the document holds beside its names, the status says what is wrong."""
    world = World()

    async def look() -> None:
        await world.apply()
        stored = world.api.objects[JOB]
        stored["metadata"] |= metadata
        for key, value in (("spec", spec), ("status", status)):
            stored.pop(key, None)
            if value != "absent":
                stored[key] = value
        await world.operator.reconcile(NAMESPACE, NAME)

    asyncio.run(look())
    assert isinstance(world.api.objects[JOB]["status"]["observedGeneration"], int)
