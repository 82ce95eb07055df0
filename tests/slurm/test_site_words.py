"""What a site wants in a request to sbatch: a profile can say it, and a real SLURM takes it."""

import json
from pathlib import Path

import pytest
from processes import wait_for
from slurm_lab import FOUR, ONE_A_TASK, Lab
from slurm_trainings import script

LATER = {"begin": "now+1hour"}
# What sites put in the place of sbatch; the real one takes the job.
ANSWERS = {
    "a greeting": 'echo "Welcome. Your last job 4711 used 3 hours; 97 left of project job 12."\n'
    'REAL "$@"',
    "only the id": 'REAL --parsable "$@"',
    "SLURM's own sentence": 'shift; REAL "$@"',  # it does not know --parsable
}


def _said(lab: Lab, **keys: object) -> str:
    """Return the error of a `plan` by a profile with some keys."""
    said = lab.call("plan", lab.write(FOUR), "--site", lab.site(**keys))
    assert said.code == 2, said.out
    assert said.err.count("\n") == 1
    return said.err


def _send(lab: Lab, sweep: Path, study: str, **keys: object) -> str:
    """Send a sweep by a profile with some keys, cancel it, and return its batch script."""
    said = lab.call("submit", sweep, "--site", lab.site(**keys))
    assert said.code == 0, said.err
    assert lab.call("cancel", study).code == 0
    return script(lab, study, "0001")


def test_of_a_list_of_partitions_jobs_go_to_whichever_starts_first(lab):
    sent = _send(lab, lab.write(FOUR), "four", partition="main, urgent", options=LATER)
    assert "#SBATCH --partition=main,urgent\n" in sent
    assert "unknown partition 'nix'" in _said(lab, partition=["main", "nix"])
    assert 'true is no partition: write "main"' in _said(lab, partition=True).lower()
    big = lab.write(FOUR + "resources: {cpus_per_task: 99}\n", "big.yaml")
    said = lab.call("submit", big, "--site", lab.site(partition="urgent,main"))
    assert "a node of partition 'urgent' has 2" in said.err


def test_a_site_that_chooses_the_partition_by_itself_is_told_none(lab):
    forbids = 'if job.partition then slurm.log_user("name no partition"); return slurm.ERROR end'
    with lab.submit_plugin(forbids):
        sweep = lab.write(ONE_A_TASK)
        refused = lab.call("submit", sweep, "--site", lab.site(partition="main"))
        assert (refused.code, "name no partition" in refused.err) == (1, True)
        doctor = lab.call("doctor", "--site", lab.site(partition="main"))
        assert "-> partition = false in the site profile" in doctor.out
        shell = {"SBATCH_PARTITION": "main"}
        said = lab.call("submit", sweep, "--site", lab.site(partition=False), **shell)
        assert said.code == 0, said.err
        lab.await_results("small", 2)


def test_options_without_a_value_and_lines_of_any_kind_are_taken(lab):
    sent = _send(
        lab,
        lab.write(FOUR),
        "four",
        options=LATER | {"contiguous": True, "oversubscribe": "", "nice": 5, "spread-job": False},
        directives=["#SBATCH --comment='a b'", "#BB create_persistent name=x"],
    )
    assert "#SBATCH --contiguous\n#SBATCH" in sent
    assert "#SBATCH --oversubscribe\n" in sent
    assert "#SBATCH --nice=5\n" in sent
    assert "spread-job" not in sent
    head = sent[: sent.index("export ")]
    assert "#SBATCH --comment='a b'\n#BB create_persistent name=x\n" in head


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({"options": {"time": "1:00:00"}}, "the key `time` says so; take it out"),
        ({"options": {"nodes": 2}}, "`resources` of the sweep says so"),
        ({"options": {"p": "main"}}, "'p' is the short name of an option: write 'partition'"),
        ({"options": {"gres": "gpu:2"}}, 'write gpus = "none" if jobs'),
        ({"options": {"mem-per-cpu": "much"}}, "mem-per-cpu: 'much' is no memory"),
        ({"options": {"nice": [1]}}, "nice is [1]: write text, a number, or true"),
        ({"options": {"clusters": "other"}}, "sends jobs where squeue does not see them"),
        ({"directives": ["#SBATCH -M other"]}, "'M' is the short name of an option"),
        ({"directives": ["#SBATCH --array=0-3"]}, "array is ours to set"),
        ({"options": {"wait": True}}, "wait is ours to set"),
        ({"directives": ["#SBATCH -x n1"]}, "'x' is the short name of an option"),
        ({"directives": ["#SBATCH --exclude=n1"]}, "our own: write exclude into `options`"),
        ({"directives": ["#SBATCH --gres=ssd:1"]}, "our own: write gres into `options`"),
        ({"directives": ["#SBATCH hetjob"]}, "makes several jobs of one"),
        ({"directives": ["module load x"]}, "is no line such as '#SBATCH --name=value'"),
    ],
)
def test_what_another_key_says_is_refused_with_that_key(lab, keys, error):
    said = _said(lab, **keys)
    assert error in said
    assert f"site.toml, line {4 if 'options' in keys or 'directives' in keys else 0}" in said


def test_other_resources_of_a_site_stand_beside_the_gpus(lab):
    sweep = lab.write(FOUR + "resources: {gpus_per_node: 1}\n")
    said = lab.call("plan", sweep, "--site", lab.site(options={"gres": "craynetwork:1"}))
    assert "#SBATCH --gres=gpu:1,craynetwork:1\n" in said.out


@pytest.mark.parametrize(
    ("word", "gpus", "first", "again"),
    [
        ("mem-per-cpu", 0, "#SBATCH --mem-per-cpu=100M\n", "#SBATCH --mem-per-cpu=200M\n"),
        ("mem-per-gpu", 1, "#SBATCH --mem-per-gpu=100M\n", "#SBATCH --mem-per-gpu=200M\n"),
    ],
)
def test_more_memory_is_asked_for_in_the_words_of_the_site(lab, word, gpus, first, again):
    more = f"resources: {{gpus_per_node: {gpus}, cpus_per_task: 2}}\n"
    more += "failures: {oom_host: {mem: 2, backoff: 0s}}\n"
    (lab.folder / "greedy.py").write_text(GREEDY)
    sweep = lab.write(OUT_OF_MEMORY + more)
    site = lab.site(options={word: "100M"})
    said = lab.call("submit", sweep, "--site", site)
    assert said.code == 0, said.err
    wait_for(lambda: lab.squeue() == [])
    assert first in script(lab, "greedy", "0001")
    said = lab.call("submit", sweep, "--site", site)
    assert "1 trial in 1 pack," in said.out, said.err
    sent = script(lab, "greedy", "0002")
    assert again in sent
    assert sent.count("--mem") == 1
    lab.call("cancel", "greedy")


# Half of a node's memory for the CPUs that a trial has is a share of one CPU each.
OUT_OF_MEMORY = """\
study: greedy
workloads: [{name: mine, train: "greedy:train", metric: loss, steps: 1}]
candidates: {a: {optimizer: sgd, lr: 0.1}}
seeds: 1
backend: slurm
"""
GREEDY = "def train(trial, context):\n    raise MemoryError('pretended')\n"


def test_memory_of_a_sweep_is_shared_out_as_the_site_counts_it(lab):
    keys = "resources: {mem: 900M, cpus_per_task: 2, tasks_per_node: 1}\n"
    sweep, site = lab.write(FOUR + keys), lab.site(options={"mem-per-cpu": "1G"})
    said = lab.call("plan", sweep, "--site", site)
    assert "#SBATCH --mem-per-cpu=450M\n" in said.out
    plain = lab.call("plan", lab.write(FOUR), "--site", lab.site(options={"mem-per-gpu": "1G"}))
    assert "--mem" not in plain.out  # it has no GPU
    much = lab.call("submit", lab.write(FOUR), "--site", lab.site(options={"mem-per-cpu": "5G"}))
    assert "the memory of a job on a node is 5120M by the profile site" in much.err


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_id_of_a_job_is_found_in_whatever_the_sbatch_of_a_site_prints(lab, answer):
    path = lab.stand_in("sbatch", ANSWERS[answer])
    sweep, site = lab.write(ONE_A_TASK), lab.site(options=LATER)
    said = lab.call("submit", sweep, "--site", site, PATH=path)
    assert said.code == 0, said.err
    (claim,) = lab.layout().submissions.glob("0001/chunks/*.job")
    job = str(json.loads(claim.read_text())["job"])
    assert job in lab.cluster.ask("squeue", "-h", "-o", "%F").split()
    assert (lab.layout().submission("0001") / "scripts" / f"{job}_submission.sh").is_file()
    assert lab.call("cancel", "small").code == 0
    assert lab.squeue() == []


def test_what_a_shell_says_to_sbatch_is_heeded_or_said_to_be_not(lab):
    shell = {
        "SBATCH_CONSTRAINT": "fast",
        "SBATCH_RESERVATION": "course",
        "SBATCH_EXPORT": "NONE",
        "SBATCH_TIMELIMIT": "1-02:03",
        "SBATCH_GRES": "gpu:3",
    }
    said = lab.call("plan", lab.write(FOUR), "--site", lab.site(), **shell)
    for line in ("constraint=fast", "reservation=course", "export=NONE", "time=1563"):
        assert f"#SBATCH --{line}\n" in said.out, said.err
    assert "SBATCH_GRES: set in this shell, and not heeded" in said.out
    assert "SBATCH_EXPORT" not in said.out
    own = lab.site(time="1h", constraint="slow", options={"reservation": "mine"})
    said = lab.call("plan", lab.write(FOUR), "--site", own, **shell)
    for line in ("constraint=slow", "reservation=mine", "time=60"):
        assert f"#SBATCH --{line}\n" in said.out
    odd = lab.call("plan", lab.write(FOUR), "--site", lab.site(), SBATCH_TIMELIMIT="long")
    assert (odd.code, "SBATCH_TIMELIMIT is 'long', which is no time" in odd.err) == (2, True)


def test_the_token_of_a_shell_reaches_the_commands_of_slurm_and_its_job_does_not(lab):
    seen = lab.folder / "seen"
    mute = 'env -u SLURM_JWT REAL "$@"'  # this cluster knows no token
    for command in ("scontrol", "sinfo", "squeue", "scancel"):
        lab.stand_in(command, mute)
    tells = f"echo $SLURM_JWT $SLURM_JOB_ID $SBATCH_GRES > {seen}; {mute}"
    path = lab.stand_in("sbatch", tells)
    sweep, site = lab.write(ONE_A_TASK), lab.site(options=LATER)
    shell = {"SLURM_JWT": "token", "SLURM_JOB_ID": "7", "SBATCH_GRES": "gpu:2"}
    said = lab.call("submit", sweep, "--site", site, PATH=path, **shell)
    assert (said.code, "SBATCH_GRES: set in this shell" in said.err) == (0, True)
    assert seen.read_text().split() == ["token"]
    assert lab.call("cancel", "small").code == 0


@pytest.mark.parametrize("name", ["SBATCH_CLUSTERS", "SLURM_CLUSTERS"])
def test_another_cluster_is_refused_and_this_one_is_not(lab, name):
    sweep, site = lab.write(FOUR), lab.site()
    other = lab.call("submit", sweep, "--site", site, **{name: "other"})
    assert (other.code, other.out) == (2, "")
    assert f"{name} is 'other', and this machine sends to the cluster 'thermolion'" in other.err
    assert lab.squeue() == []
    assert lab.call("plan", sweep, "--site", site, **{name: "thermolion"}).code == 0


def test_of_a_federation_arrays_stay_here_and_no_other_job_is_sent(limited, tmp_path, warm):
    lab = Lab(limited, tmp_path, warm)
    answer = "printf 'Federation: north\\nSelf: thermolion\\n'"
    stands = f'case "$*" in *federation*) {answer};; *) REAL "$@";; esac'
    path = lab.stand_in("scontrol", stands)
    sweep, site = lab.write(FOUR), lab.site(account="lab")
    said = lab.call("submit", sweep, "--site", site, PATH=path)
    assert (said.code, said.out) == (2, "")
    assert "in the federation 'north'" in said.err
    assert "set sbatch_on_nodes = false" in said.err
    stays = lab.site(account="lab", sbatch_on_nodes=False, options=LATER)
    assert lab.call("submit", sweep, "--site", stays, PATH=path).code == 0
    assert lab.call("cancel", "four", PATH=path).code == 0
    single = lab.site(account="lab", sbatch_on_nodes=False, arrays=False)
    said = lab.call("submit", sweep, "--site", single, PATH=path)
    assert "send from a cluster outside of it, or with job arrays" in said.err
