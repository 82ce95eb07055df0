"""What clusters say of themselves, as they print it, and SLURM's variables on a node."""

import os

import pytest

from slurm.environment import forget_job, read_job_process, without_job
from slurm.queue.state_words import parse_state
from slurm.site.facts import parse_config, parse_minutes, parse_partitions
from slurm.slurm_errors import SlurmError


def test_partitions_of_mixed_nodes_have_the_most_that_one_node_has():
    found = parse_partitions(
        "cpu*|up|2-00:00:00|100|128|257000|(null)\n"
        "gpu|up|1-00:00:00|12|64|515000|gpu:a100:4(S:0-1),shard:16(S:0-1)\n"
        "gpu|up|1-00:00:00|4|128|1031000|gpu:h100:8\n"
        "debug|drain|30:00|2|64|257000|gpu:2\n"
        "long|up|infinite|10|32+|128000+|(null)\n"
    )
    gpu = found["gpu"]
    assert (gpu.nodes, gpu.cpus, gpu.memory_mb, gpu.gpus) == (16, 128, 1031000, 8)
    assert found["cpu"].is_default
    assert not gpu.is_default
    assert found["cpu"].time_min == 2880
    assert found["debug"].gpus == 2
    assert not found["debug"].is_up
    assert (found["debug"].time_min, found["long"].time_min) == (30, None)
    assert found["long"].cpus == 32


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("30:00", 30), ("12:00:00", 720), ("1-12:00:00", 2160), ("infinite", None), ("n/a", None)],
)
def test_times_are_read_as_slurm_writes_them(text, minutes):
    assert parse_minutes(text) == minutes


def test_settings_are_read_by_name():
    config = parse_config(
        "Configuration data as of 2026-01-01T00:00:00\n"
        "MaxArraySize            = 1001\n"
        "SLURM_VERSION           = 22.05.8\n"
    )
    assert config["MaxArraySize"] == "1001"


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("PENDING", "queued"),
        ("REQUEUE_HOLD", "queued"),
        ("COMPLETING", "running"),
        ("SUSPENDED", "running"),
        ("CANCELLED by 1000", "ended"),
        ("OUT_OF_MEMORY", "ended"),
        ("A_WORD_OF_A_LATER_VERSION", "running"),
    ],
)
def test_every_word_of_the_queue_is_one_of_three(word, state):
    assert parse_state(word) == state


TASK = {
    "SLURM_JOB_ID": "118",
    "SLURM_ARRAY_JOB_ID": "112",
    "SLURM_ARRAY_TASK_ID": "6",
    "SLURM_PROCID": "5",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_RESTART_COUNT": "3",
    "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.7",
    "SLURM_JOB_NAME": "s-0001.0-abc",
}


def test_a_process_knows_its_place():
    here = read_job_process(TASK)
    assert (here.task_id, here.pack, here.process, here.processes) == ("112_6", 6, 5, 8)
    assert (here.local_process, here.nodes, here.restarts) == (1, 2, 3)
    assert (here.first_address, here.name) == ("10.0.0.7", "s-0001.0-abc")


def test_a_batch_script_is_a_process_of_its_own():
    batch = {name: TASK[name] for name in ("SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID")}
    here = read_job_process(batch)
    assert (here.process, here.processes, here.array_job) == (0, 1, 118)


def test_outside_a_job_the_missing_variable_is_named():
    with pytest.raises(SlurmError, match="SLURM_JOB_ID is not set"):
        read_job_process({})


def test_variables_of_a_job_are_hidden_or_forgotten_and_the_cluster_is_not(monkeypatch):
    for name, text in (TASK | {"SLURM_CONF": "/etc/slurm.conf", "SBATCH_QOS": "x"}).items():
        monkeypatch.setenv(name, text)
    with without_job():
        assert [name for name in os.environ if name in TASK or name == "SBATCH_QOS"] == []
        assert os.environ["SLURM_CONF"] == "/etc/slurm.conf"
    assert os.environ["SLURM_PROCID"] == "5"
    forget_job()
    assert "SLURM_PROCID" not in os.environ
    assert os.environ["SLURM_CONF"] == "/etc/slurm.conf"
