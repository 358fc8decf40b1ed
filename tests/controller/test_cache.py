from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from distillery.controller.cache import Cache, KnownJob
from distillery.planning.children import ClusterView, Owner, PodView, RayJobView


def pod(uid="p1", job="j1", **more) -> PodView:
    return PodView("a", f"pod-{uid}", uid, job, "teacher.1", 0.0, **more)


def rayjob(uid="r1", job="j1", **more) -> RayJobView:
    return RayJobView("a", f"ray-{uid}", uid, job, "teacher.1", 0.0, **more)


def test_children_are_kept_by_job_and_only_news_count():
    cache = Cache()
    assert cache.upsert(pod())
    assert not cache.upsert(pod())
    assert cache.upsert(pod(phase="Running"))
    assert cache.upsert(rayjob(job="j2"))
    assert cache.children("a", "j1") == (pod(phase="Running"),)
    assert cache.children("a", "j2") == (rayjob(job="j2"),)
    cache.delete(pod())
    assert cache.children("a", "j1") == ()


def test_an_event_that_comes_after_the_deletion_does_not_bring_an_object_back():
    cache = Cache()
    cache.upsert(pod())
    cache.delete(pod())
    assert not cache.upsert(pod())
    assert cache.relist(PodView, [pod()], cache.mark()) == []
    assert cache.children("a", "j1") == ()


def test_a_list_removes_what_is_not_in_it_adds_what_is_new_and_touches_no_other_kind():
    cache = Cache()
    cache.upsert(pod("gone"))
    cache.upsert(pod("same", job="j2"))
    cache.upsert(rayjob())
    listed = [pod("same", job="j2"), pod("new", job="j3")]
    assert cache.relist(PodView, listed, cache.mark()) == [("a", "j1"), ("a", "j3")]
    assert cache.children("a", "j1") == (rayjob(),)
    assert cache.children("a", "j3") == (pod("new", job="j3"),)


def test_what_an_event_has_shown_since_the_list_began_wins():
    cache = Cache()
    cache.upsert(pod("old"))
    mark = cache.mark()
    cache.upsert(pod("old", phase="Running"))
    cache.upsert(pod("born"))
    assert cache.relist(PodView, [pod("old")], mark) == []
    assert set(cache.children("a", "j1")) == {pod("old", phase="Running"), pod("born")}


def test_deletions_are_remembered_only_until_the_lists_have_caught_up():
    cache = Cache()
    cache.delete(pod("before"))
    mark = cache.mark()
    cache.delete(pod("after"))
    cache.settle(mark)
    assert cache.upsert(pod("before"))
    assert not cache.upsert(pod("after"))


def test_jobs_are_found_by_uid_name_and_profile():
    cache = Cache()
    cache.know_job("u1", KnownJob(("a", "one"), "gpu"))
    cache.know_job("u2", KnownJob(("a", "two")))
    cache.know_job("u3", KnownJob(("b", "three"), "cpu"))
    assert cache.job("u1") == ("a", "one")
    assert cache.jobs_with_profile("gpu") == [("a", "one"), ("a", "two")]
    cache.forget_job("u1")
    assert cache.job("u1") is None
    assert not cache.has_job(("a", "one"))
    assert cache.has_job(("b", "three"))


UIDS = st.sampled_from(["x", "y", "z"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("change"), UIDS, st.integers(0, 3)),
        st.tuples(st.just("remove"), UIDS, st.just(0)),
        st.tuples(st.just("lose"), UIDS, st.just(0)),
        st.tuples(st.just("list"), st.just("x"), st.integers(0, 5)),
    ),
    max_size=30,
)


@given(STEPS)
def test_whatever_events_are_lost_a_list_makes_the_cache_agree_with_the_cluster(steps):
    """Lists are read at one moment and arrive some events later, as over the network. Labels may be changed, too."""
    cache, cluster, dead, late = Cache(), {}, set(), []

    def arrive(pending):
        cache.relist(ClusterView, pending[1], pending[2])

    for what, uid, number in steps:
        if what == "change" and uid not in dead:
            cluster[uid] = ClusterView("a", uid, uid, "j", "teacher.1", float(number))
            cache.upsert(cluster[uid])
        elif what in ("remove", "lose") and uid in cluster:
            view = cluster.pop(uid)
            dead.add(uid)
            if what == "remove":
                cache.delete(view)
        elif what == "list":
            late.append([number, list(cluster.values()), cache.mark()])
        for pending in late:
            pending[0] -= 1
        for pending in [p for p in late if p[0] <= 0]:
            arrive(pending)
        late = [p for p in late if p[0] > 0]
    for pending in late:
        arrive(pending)
    cache.relist(ClusterView, cluster.values(), cache.mark())
    for job in ("j0", "j1"):
        expected = [cluster[uid] for uid in sorted(cluster) if cluster[uid].job_uid == job]
        assert list(cache.children("a", job)) == expected


def test_what_says_in_another_namespace_that_it_belongs_to_a_job_is_kept_apart():
    cache = Cache()
    cache.upsert(pod())
    cache.upsert(replace(pod("theirs"), namespace="b"))
    assert cache.children("a", "j1") == (pod(),)
    assert cache.children("b", "j1") == (replace(pod("theirs"), namespace="b"),)


def test_an_object_that_is_relabelled_changes_its_family_and_leaves_nothing_behind():
    cache = Cache()
    cache.upsert(pod())
    assert cache.upsert(pod(job="j2"))
    assert (cache.children("a", "j1"), cache.children("a", "j2")) == ((), (pod(job="j2"),))
    assert cache.relist(PodView, [pod(job="j3")], cache.mark()) == [("a", "j2"), ("a", "j3")]
    assert (cache.children("a", "j2"), cache.children("a", "j3")) == ((), (pod(job="j3"),))
    cache.delete(pod(job="j3"))
    assert cache.children("a", "j3") == ()


def test_pods_that_strangers_lose_never_push_out_those_of_a_job():
    """They bear the uid of the job and belong to a Ray cluster of their own, here or in another namespace."""

    def lose(cache, namespace, cluster, *uids):
        owner = Owner("ray.io", "RayCluster", cluster, cluster)
        cache.upsert(ClusterView(namespace, cluster, cluster, "j1", "teacher.1", 0.0))
        for uid in uids:
            view = replace(pod(uid), namespace=namespace, owner=owner)
            cache.upsert(view)
            cache.delete(view)

    for namespace in ("a", "b"):
        cache = Cache()
        lose(cache, "a", "ours", "p1")
        lose(cache, namespace, "theirs", *(f"s{number}" for number in range(200)))
        assert [p.uid for p in cache.lost("a", "j1") if p.owner.uid == "ours"] == ["p1"]
        assert len(cache.lost("a", "j1")) <= 51
        assert {p.namespace for p in cache.lost("a", "j1")} == {"a"}
        cache.delete(ClusterView("a", "ours", "ours", "j1", "teacher.1", 0.0))
        cache.delete(ClusterView(namespace, "theirs", "theirs", "j1", "teacher.1", 0.0))
        assert (cache.lost("a", "j1"), cache.lost("b", "j1"), cache._lost) == ((), (), {})
