"""Teacher and student over worker pods: a real Ray cluster of a head that does no work and two other nodes."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.exceptions import ActorDiedError, ActorUnavailableError

from distillery.api.v1alpha1.common import SecretKey
from distillery.api.v1alpha1.teacher import Pilot, RateLimits
from distillery.artifacts.tables import TRAINING_LOG, read_table
from distillery.errors import SpecError, StageFailed, StageStopped
from distillery.querying.ledger import read_ledger
from distillery.settings import secret_variable
from distillery.stages import asking
from distillery.stages.student import driver as student
from distillery.stages.student.checkpoints import Checkpoints
from distillery.stages.teacher import actors, pool
from distillery.stages.teacher import driver as teacher_stage
from distillery.stages.teacher.actors import ActorSet
from distillery.stages.teacher.pool import WorkerHandle, WorkerPool
from fake_teacher import FakeTeacher, Fault
from querying_builders import QUICK, bill_micro
from stages.student import test_driver as student_tests
from stages.student.conftest import IDENTITY, make_work
from stages.student.conftest import make_rows as make_student_rows
from teacher_stage import Attempt, World, make_params, make_rows

PODS = 2
CONCURRENCY = 8
SHARED = {"rate_limits": RateLimits(concurrency=CONCURRENCY)}
SECRET = SecretKey(name="teacher", key="api-key")

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Ray's, about its own settings
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray's cluster for tests leaves files open
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One for all tests of this module: starting three nodes takes a while."""
    small = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(secret_variable("teacher", "api-key"), "sk-of-teacher/api-key")
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
        for _ in range(PODS):
            nodes.add_node(wait=False, num_cpus=1, **small)
        nodes.wait_for_nodes()
        ray.init(address=nodes.address, log_to_driver=False, logging_level=logging.ERROR)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


class Spawned:
    """Workers as they were started: on which node, and their handles."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.nodes: list[str] = []
        self.workers: list[Any] = []
        spawn = ActorSet.spawn

        def remember(of: ActorSet, node: str) -> Any:
            worker = spawn(of, node)
            self.nodes.append(node)
            self.workers.append(worker)
            return worker

        monkeypatch.setattr(ActorSet, "spawn", remember)


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> Spawned:
    monkeypatch.setattr(asking, "EngineOptions", lambda: QUICK)
    return Spawned(monkeypatch)


def run_teacher(world: World, params: Any, workers: int = PODS, **changes: Any) -> Attempt:
    attempt = world.attempt()
    attempt.result = teacher_stage.run(replace(attempt.context(params), workers=workers, **changes))
    return attempt


def when(condition: Callable[[], bool], then: Callable[[], None]) -> threading.Thread:
    """Do something as soon as a condition holds."""

    def watch() -> None:
        while not condition():
            time.sleep(0.005)
        then()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_both_pods_ask_within_one_rate_and_the_result_is_that_of_one_process(
    spawned: Spawned, tmp_path: Path
) -> None:
    rows = make_rows(170, 10)
    limits = {"rate_limits": RateLimits(concurrency=CONCURRENCY, requests_per_minute=3000)}
    with FakeTeacher(delay=0.02, api_key="sk-of-teacher/api-key") as teacher:
        params = make_params(teacher.url, teacher={**limits, "api_key_secret": SECRET})
        pods = run_teacher(World(tmp_path / "pods").with_rows(rows), params)
        arrivals, in_flight = list(teacher.arrivals), teacher.max_in_flight
        alone = run_teacher(World(tmp_path / "alone").with_rows(rows), params, workers=0)
    assert len(set(spawned.nodes)) == PODS
    store = pods.world.store
    writers = {stat.key.split("/")[3] for stat in store.list("jobs/job-1/ledger/")}
    assert len(writers) == PODS  # each entered calls of its own
    assert pods.result == replace(alone.result)
    assert pods.completions == alone.completions
    assert in_flight <= CONCURRENCY
    labelling = arrivals[64:]
    assert (len(labelling) - 1) / (labelling[-1] - labelling[0]) <= 50 * 1.1
    assert len(list(store.list("answers/"))) == PODS
    assert pods.progress[-1].done == 180


def test_the_budget_holds_over_all_pods(spawned: Spawned, tmp_path: Path) -> None:
    world = World(tmp_path).with_rows(make_rows(200, 10, 20))
    with FakeTeacher() as teacher:
        cheap = {**SHARED, "max_cost": Decimal("0.012")}
        with pytest.raises(StageFailed, match=r"question\(s\) are not asked: of 0.012 USD") as failure:
            run_teacher(world, make_params(teacher.url, pilot=Pilot(rows=20), teacher=cheap))
        assert failure.value.reason == "BudgetReached"
        spent = bill_micro(teacher.bill)
        assert 6000 <= spent <= 12000
        assert abs(read_ledger(world.store, "job-1").spent_micro - spent) <= 1
        dear = {**SHARED, "max_cost": Decimal("0.1")}
        attempt = run_teacher(world, make_params(teacher.url, pilot=Pilot(rows=20), teacher=dear))
        assert len({call["row"] for call in teacher.bill}) == len(teacher.bill) == 210
    assert attempt.result.cost.cached > 0


def test_a_worker_that_is_killed_is_replaced_and_no_answer_is_bought_twice(
    spawned: Spawned, tmp_path: Path
) -> None:
    rows = make_rows(270, 10)
    with FakeTeacher(delay=0.05) as teacher:
        params = make_params(teacher.url, teacher=SHARED)
        kill = when(lambda: len(teacher.bill) > 120, lambda: ray.kill(spawned.workers[0]))
        attempt = run_teacher(World(tmp_path / "killed").with_rows(rows), params)
        kill.join(60)
        bill = list(teacher.bill)
        undisturbed = run_teacher(World(tmp_path / "alone").with_rows(rows), params, workers=0)
    assert len(spawned.workers) == PODS + 1
    assert len({call["row"] for call in bill}) == 280
    in_one_window = CONCURRENCY / 0.05 * 0.1
    assert len(bill) - 280 <= CONCURRENCY + in_one_window
    assert attempt.result.output_digest == undisturbed.result.output_digest
    totals = read_ledger(attempt.world.store, "job-1")
    assert totals.exact.spent + totals.exact.unknown >= bill_micro(bill) * 10**6
    cost = attempt.result.cost
    assert abs(cost.spent_micro - totals.spent_micro) <= 1
    assert abs(cost.unknown_micro - totals.unknown_micro) <= 1


@ray.remote(num_cpus=0)
def unavailable() -> None:
    """What Ray says of an actor to which the connection has just broken."""
    raise ActorUnavailableError("the connection broke", None)


def lose_sight_of_the_first_worker(monkeypatch: pytest.MonkeyPatch, due: Callable[[], bool]) -> list[str]:
    """Let Ray say once of the first worker that it is unavailable, although nothing ails it; returns its name then."""
    receive, lost = WorkerPool._receive, []

    def receive_in_vain(pool: WorkerPool, worker: WorkerHandle, *round_: Any) -> Any:
        if worker.name == "worker-1" and not lost and due():
            lost.append(worker.name)
            worker.reply = unavailable.remote()
        return receive(pool, worker, *round_)

    monkeypatch.setattr(WorkerPool, "_receive", receive_in_vain)
    return lost


def slow_to_come(monkeypatch: pytest.MonkeyPatch, lost: list[str], teacher: FakeTeacher) -> list[int]:
    """Let the place of a replacement be found only after a while; returns the calls that came in each such while."""
    find, calls = ActorSet.node, []

    def find_later(of: ActorSet, stop_requested: Callable[[], bool]) -> str:
        if lost:
            before = len(teacher.arrivals)
            time.sleep(3.0)
            calls.append(len(teacher.arrivals) - before)
        return find(of, stop_requested)

    monkeypatch.setattr(ActorSet, "node", find_later)
    return calls


def test_a_worker_that_is_only_out_of_sight_is_ended_and_its_answers_are_not_bought_again(
    spawned: Spawned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeTeacher(delay=0.05) as teacher:
        lost = lose_sight_of_the_first_worker(monkeypatch, lambda: len(teacher.bill) > 100)
        slow_to_come(monkeypatch, lost, teacher)
        params = make_params(teacher.url, teacher=SHARED)
        attempt = run_teacher(World(tmp_path).with_rows(make_rows(570, 30)), params)
        bill = list(teacher.bill)
    assert len(spawned.workers) == PODS + 1
    assert len({call["row"] for call in bill}) == 600
    assert len(bill) - 600 <= CONCURRENCY + CONCURRENCY / 0.05 * 0.1
    with pytest.raises(ActorDiedError):
        ray.get(spawned.workers[0].__ray_ready__.remote())
    totals = read_ledger(attempt.world.store, "job-1")
    assert totals.exact.spent + totals.exact.unknown >= bill_micro(bill) * 10**6
    assert abs(attempt.result.cost.spent_micro - totals.spent_micro) <= 1


@pytest.mark.long
def test_a_worker_that_cannot_be_killed_buys_nothing_more_either(
    spawned: Spawned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill = ray.kill
    monkeypatch.setattr(ray, "kill", lambda actor: None if actor is spawned.workers[0] else kill(actor))
    monkeypatch.setattr(actors, "GONE_SECONDS", 0.5)
    with FakeTeacher(delay=0.2) as teacher:
        lost = lose_sight_of_the_first_worker(monkeypatch, lambda: len(teacher.bill) > 100)
        calls = slow_to_come(monkeypatch, lost, teacher)
        params = make_params(teacher.url, teacher=SHARED)
        run_teacher(World(tmp_path).with_rows(make_rows(270, 30)), params, workers=1)
        assert len({call["row"] for call in teacher.bill}) == len(teacher.bill) == 300
    assert ray.get(spawned.workers[0].__ray_ready__.remote())
    kill(spawned.workers[0])
    assert calls == [0]


@pytest.mark.long
def test_the_budget_comes_to_its_end_although_a_worker_was_out_of_sight(
    spawned: Spawned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path).with_rows(make_rows(570, 10, 20))
    with FakeTeacher(delay=0.05) as teacher:
        lost = lose_sight_of_the_first_worker(monkeypatch, lambda: len(teacher.bill) > 60)
        slow_to_come(monkeypatch, lost, teacher)
        params = {**SHARED, "max_cost": Decimal("0.02")}
        with pytest.raises(StageFailed, match=r"question\(s\) are not asked") as failure:
            run_teacher(world, make_params(teacher.url, pilot=Pilot(rows=20), teacher=params))
        assert lost == ["worker-1"]
        assert failure.value.reason == "BudgetReached"
        assert bill_micro(teacher.bill) <= 20000


def test_requests_that_never_reached_a_worker_are_given_to_another(
    spawned: Spawned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, deaf = WorkerPool._start, []

    def start_in_vain(pool: WorkerPool, worker: WorkerHandle, requests: Any) -> None:
        if worker.name == "worker-1" and not deaf and len(requests) > 40:
            deaf.append(worker.name)
            worker.requests, worker.reply, worker.polled = requests, None, replace(worker.polled, done=False)
        else:
            start(pool, worker, requests)

    monkeypatch.setattr(WorkerPool, "_start", start_in_vain)
    with FakeTeacher() as teacher:
        params = make_params(teacher.url, teacher=SHARED)
        attempt = run_teacher(World(tmp_path).with_rows(make_rows(270, 10)), params)
        assert len({call["row"] for call in teacher.bill}) == len(teacher.bill) == 280
    assert deaf == ["worker-1"]
    assert len(attempt.completions) == 280


def test_a_row_that_a_gateway_turns_away_is_left_although_its_pod_was_asked_nothing_else(
    spawned: Spawned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def alone(requests: Any, parts: int) -> list[list[Any]]:
        shares: list[list[Any]] = [[] for _ in range(parts)]
        for request in requests:
            shares[int("69: " in request.question.messages[-1]["content"])].append(request)
        return shares

    monkeypatch.setattr(pool, "split", alone)
    with FakeTeacher(faults=[Fault("403", match="69: ")]) as teacher:
        params = make_params(teacher.url, teacher=SHARED)
        attempt = run_teacher(World(tmp_path).with_rows(make_rows(60, 10)), params)
        assert len(teacher.bill) == 69
    assert [row["status"] for row in attempt.completions].count("failed") == 1


def test_a_door_that_is_closed_to_all_pods_stops_the_stage(spawned: Spawned, tmp_path: Path) -> None:
    with FakeTeacher(faults=[Fault("403")]) as teacher:
        with pytest.raises(StageFailed, match="refuses row") as failure:
            run_teacher(
                World(tmp_path).with_rows(make_rows(60, 10)), make_params(teacher.url, teacher=SHARED)
            )
        assert failure.value.reason == "TeacherRefused"


def test_a_stop_request_reaches_the_pods_and_the_rest_follows_later(spawned: Spawned, tmp_path: Path) -> None:
    world = World(tmp_path).with_rows(make_rows(270, 10))
    with FakeTeacher(delay=0.05) as teacher:
        params = make_params(teacher.url, teacher=SHARED)
        with pytest.raises(StageStopped):
            run_teacher(world, params, stop_requested=lambda: len(teacher.bill) > 90)
        assert len(teacher.bill) < 280
        run_teacher(world, params)
        assert len({call["row"] for call in teacher.bill}) == len(teacher.bill) == 280


def test_a_key_that_the_pods_lack_is_named(spawned: Spawned, tmp_path: Path) -> None:
    secret = SecretKey(name="other", key="api-key")
    params = make_params("http://127.0.0.1:9/v1", teacher={"api_key_secret": secret})
    with pytest.raises(SpecError, match="secret other/api-key"):
        run_teacher(World(tmp_path).with_rows(make_rows(6, 0, 0)), params)


def loss_by_step(folder: Path) -> dict[int, tuple[float, float | None]]:
    log = read_table(folder / "training_log.parquet", TRAINING_LOG)
    return {row["step"]: (row["train_loss"], row["validation_loss"]) for row in log}


def close(one: dict[int, Any], other: dict[int, Any]) -> bool:
    return one.keys() == other.keys() and all(
        one[step] == pytest.approx(other[step], abs=1e-3) for step in one
    )


def test_two_pods_resume_what_one_process_began_and_train_the_same_student(
    cluster: Cluster, tmp_path: Path
) -> None:
    here = student_tests.Attempt(make_work(tmp_path / "a"), tmp_path / "a")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "is_initialized", lambda: False)  # so that it trains in this process
        want = student.run(here.context)
        work = make_work(tmp_path / "b")
        begun = student_tests.Attempt(work, tmp_path / "b" / "1", stop_after=1)
        with pytest.raises(StageStopped):
            student.run(begun.context)
    attempt = student_tests.Attempt(work, tmp_path / "b" / "2")
    result = student.run(replace(attempt.context, workers=PODS))
    assert result.counts == want.counts
    assert result.provenance == {"seed": 17, "device": "cpu", "workers": PODS}
    assert want.provenance == {"seed": 17, "device": "cpu", "workers": 1}
    assert close(loss_by_step(attempt.context.output.folder), loss_by_step(here.context.output.folder))
    assert attempt.progress[-1].total == 18
    assert attempt.warnings == []


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_training_over_pods_stops_and_resumes_and_survives_the_loss_of_a_worker(
    cluster: Cluster, tmp_path: Path
) -> None:
    rows = make_student_rows(192, 24)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "is_initialized", lambda: False)
        here = student_tests.Attempt(make_work(tmp_path / "a", rows, epochs=12), tmp_path / "a")
        want = student.run(here.context)
    work = make_work(tmp_path / "b", rows, epochs=12)
    stopped = student_tests.Attempt(work, tmp_path / "b" / "1", stop_after=40)
    with pytest.raises(StageStopped):
        student.run(replace(stopped.context, workers=PODS))
    newest = Checkpoints(work.store, IDENTITY, tmp_path / "reader").newest()
    assert newest is not None
    assert 40 <= newest.step < 288
    killed = student_tests.Attempt(work, tmp_path / "b" / "2")
    victim = when(lambda: killed.steps > newest.step + 20, kill_a_training_process)
    with pytest.raises(StageFailed) as lost:
        student.run(replace(killed.context, workers=PODS))
    victim.join(60)
    assert (lost.value.reason, lost.value.failure_class) == ("TrainWorkerLost", "infrastructure")
    last = student_tests.Attempt(work, tmp_path / "b" / "3")
    result = student.run(replace(last.context, workers=PODS))
    assert result.counts == want.counts
    there, alone = (loss_by_step(one.context.output.folder) for one in (last, here))
    assert there.keys() == alone.keys()
    assert close(early(there), early(alone))


def early(losses: dict[int, Any]) -> dict[int, Any]:
    """The first 100 steps. At this learning rate the order of additions alone changes later losses by more than 1e-3,
    in one process, too (cutting its passes differently: from step 118 on)."""
    return {step: loss for step, loss in losses.items() if step <= 100}


def kill_a_training_process() -> None:
    """Kill the process of one train worker of this test's own cluster, as the end of its pod would."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[folder.name] = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            names[folder.name] = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue  # it has ended meanwhile

    def is_mine(pid: str) -> bool:
        return pid == str(os.getpid()) or (pid in parents and is_mine(parents[pid]))

    victim = next(pid for pid, name in names.items() if "TrainWorker" in name and is_mine(pid))
    os.kill(int(victim), signal.SIGKILL)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_loss_of_a_node_in_the_middle_of_asking_changes_nothing(
    spawned: Spawned, cluster: Cluster, tmp_path: Path
) -> None:
    rows = make_rows(570, 30)
    node = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20, include_dashboard=False)
    with FakeTeacher(delay=0.05) as teacher:
        params = make_params(teacher.url, teacher=SHARED)
        loss = when(lambda: len(teacher.bill) > 150, lambda: cluster.remove_node(node, allow_graceful=False))
        attempt = run_teacher(World(tmp_path / "lost").with_rows(rows), params, workers=PODS + 1)
        loss.join(60)
        bill = list(teacher.bill)
        undisturbed = run_teacher(World(tmp_path / "alone").with_rows(rows), params, workers=0)
    assert len(spawned.workers) >= PODS + 2
    assert len({call["row"] for call in bill}) == 600
    assert len(bill) - 600 <= CONCURRENCY + CONCURRENCY / 0.05 * 0.1
    assert attempt.result.output_digest == undisturbed.result.output_digest
