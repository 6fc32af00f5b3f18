#!/bin/sh
# A Slurm of two nodes on this machine alone: `cluster.sh up FOLDER`, which holds all of it, and `cluster.sh down FOLDER`.
# For tests: as root, without passwords, without systemd; a job that is queued again waits for 5 seconds, not minutes.
set -eu
folder=$2
conf=$folder/slurm.conf

missing() {
    echo "$1" >&2
    exit 2
}

up() {
    [ "$(id -u)" = 0 ] || missing "a Slurm for tests must be set up as root; sudo make test-slurm"
    for program in slurmctld slurmd sbatch; do
        command -v $program >/dev/null || missing "there is no $program here; apt-get install slurm-wlm"
    done
    mkdir -p "$folder/state" "$folder/node1" "$folder/node2"
    cat >"$conf" <<END
ClusterName=tests
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=17817
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
AuthInfo=cred_expire=5
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=20
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/%n.log
NodeName=node1 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=17818 CPUs=2
NodeName=node2 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=17819 CPUs=2
PartitionName=tests Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
    slurmctld -f "$conf"
    slurmd -f "$conf" -N node1
    slurmd -f "$conf" -N node2
    for _ in $(seq 30); do
        [ "$(SLURM_CONF=$conf sinfo --noheader --format=%T)" = idle ] && exit 0
        sleep 1
    done
    cat "$folder"/*.log >&2
    missing "Slurm has not come up; its logs stand above"
}

down() {
    [ ! -f "$conf" ] || SLURM_CONF=$conf scancel --user=root --signal=KILL 2>/dev/null || true
    for file in "$folder"/*.pid; do
        [ -f "$file" ] || continue
        pid=$(cat "$file")
        kill "$pid" 2>/dev/null || true
        for _ in $(seq 30); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 1
        done
        kill -9 "$pid" 2>/dev/null || true
    done
}

case $1 in
up | down) "$1" ;;
*) missing "usage: cluster.sh up|down FOLDER" ;;
esac
