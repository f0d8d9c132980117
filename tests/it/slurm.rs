//! A real Slurm on the loopback: the job array of `examples/slurm` loses its node in mid-run, and every
//! study has one result in the end.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::archive::Archive;
use crate::broker::free_port;
use crate::support::small_engine;

/// Controller, node and their key, all below one folder; they end with the value.
struct Slurm {
    folder: TempDir,
    daemons: Vec<Child>,
}

/// Whether there is a Slurm that this user may start. Without it the test is skipped with a line,
/// unless `CI=true`.
fn installed() -> bool {
    let programs = ["slurmctld", "slurmd", "munged"];
    let there = |name: &&str| Path::new("/usr/sbin").join(name).exists();
    if programs.iter().all(there) && rustix::process::geteuid().is_root() {
        return true;
    }
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!ci, "CI=true, but Slurm is not installed, or this is not root");
    println!("skipped: Slurm is not installed (scripts/setup tests), or this is not root");
    false
}

impl Slurm {
    fn start() -> Slurm {
        let folder = tempfile::tempdir().unwrap();
        // munge looks at the rights of the folders above its socket.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["state", "spool"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mut slurm = Slurm { folder, daemons: Vec::new() };
        let host = Command::new("hostname").arg("-s").output().unwrap().stdout;
        let config = slurm.config(String::from_utf8(host).unwrap().trim());
        fs::write(slurm.at("slurm.conf"), config).unwrap();
        let mut key = fs::OpenOptions::new();
        let key = key.write(true).create_new(true).mode(0o600).open(slurm.at("munge.key"));
        // No secret: nobody but these daemons sees the socket.
        std::io::Write::write_all(&mut key.unwrap(), &[7; 1024]).unwrap();
        let at = |name: &str| slurm.at(name);
        let munged = [
            "-F".to_owned(),
            "--force".to_owned(),
            format!("--socket={}", at("munge.socket")),
            format!("--key-file={}", at("munge.key")),
            format!("--pid-file={}", at("munged.pid")),
            format!("--log-file={}", at("munged.log")),
            format!("--seed-file={}", at("munge.seed")),
            "--num-threads=1".to_owned(),
        ];
        let config = at("slurm.conf");
        slurm.daemon("munged", &munged.each_ref().map(String::as_str));
        slurm.daemon("slurmctld", &["-D", "-c", "-f", &config]);
        slurm.daemon("slurmd", &["-D", "-N", "node", "-f", &config]);
        slurm.wait("the node is there", |slurm| slurm.says("sinfo", &["-h"]).contains("idle"));
        slurm
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn config(&self, host: &str) -> String {
        let [controller, node] = [free_port(), free_port()];
        let (socket, at) = (self.at("munge.socket"), |name| self.at(name));
        // A job that lost its node waits until its credential is worthless: two minutes unless said.
        format!(
            "ClusterName=test\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={controller}\n\
             SlurmdPort={node}\nAuthType=auth/munge\nCredType=cred/munge\n\
             AuthInfo=socket={socket},cred_expire=5\nSlurmUser=root\nSlurmdUser=root\n\
             StateSaveLocation={}\nSlurmdSpoolDir={}\nSlurmctldPidFile={}\nSlurmdPidFile={}\n\
             SlurmctldLogFile={}\nSlurmdLogFile={}\nProctrackType=proctrack/linuxproc\n\
             TaskPlugin=task/none\nMpiDefault=none\nReturnToService=2\nKillWait=2\nSlurmdTimeout=30\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_CPU\n\
             SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1\n\
             SlurmdParameters=config_overrides\n\
             NodeName=node NodeHostname={host} NodeAddr=127.0.0.1 Port={node} CPUs=2 RealMemory=1000\n\
             PartitionName=all Nodes=node Default=YES State=UP MaxTime=10\n",
            at("state"),
            at("spool"),
            at("slurmctld.pid"),
            at("slurmd.pid"),
            at("slurmctld.log"),
            at("slurmd.log"),
        )
    }

    fn daemon(&mut self, program: &str, words: &[&str]) {
        let child = Command::new(Path::new("/usr/sbin").join(program))
            .args(words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.daemons.push(child);
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SLURM_CONF", self.at("slurm.conf"));
        command
    }

    fn run(&self, program: &str, words: &[&str]) -> Output {
        self.command(program).args(words).output().unwrap()
    }

    fn says(&self, program: &str, words: &[&str]) -> String {
        String::from_utf8_lossy(&self.run(program, words).stdout).into_owned()
    }

    fn set_node(&self, state: &str) {
        let state = format!("state={state}");
        let ended = self.run("scontrol", &["update", "nodename=node", &state, "reason=test"]);
        // A node whose daemon registers again comes back by itself (ReturnToService), and then cannot be
        // resumed any more.
        let is_back = state == "state=resume"
            && !self.says("scontrol", &["show", "node", "node"]).contains("State=DOWN");
        assert!(ended.status.success() || is_back, "{}", String::from_utf8_lossy(&ended.stderr));
    }

    fn wait(&self, what: &str, done: impl Fn(&Slurm) -> bool) {
        let until = Instant::now() + Duration::from_secs(90);
        while !done(self) {
            let logs =
                ["slurmctld.log", "slurmd.log"].map(|name| fs::read_to_string(self.at(name)));
            assert!(
                Instant::now() < until,
                "never: {what}\n{}\n{logs:?}",
                self.says("squeue", &[])
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        let _ = self.run("scancel", &["--user=root"]);
        for daemon in self.daemons.iter_mut().rev() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

#[test]
fn a_node_that_goes_down_in_mid_run_costs_no_study_and_doubles_none() {
    if !installed() {
        return;
    }
    // Thirty-nine studies and a file that is cut off.
    let archive = Archive::new(39);
    archive.list();
    let slurm = Slurm::start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/slurm/archive.sbatch");
    let log = archive.at("task-%a.log").display().to_string();
    let sent = slurm
        .command("sbatch")
        .current_dir(archive.at(""))
        .env("LIST", archive.at("list.jsonl"))
        .env("RESULTS", archive.at("results"))
        .env("HEPALERT", env!("CARGO_BIN_EXE_hepalert"))
        .args(["--array=0-3%2", "--output", &log])
        .arg(script)
        .args(["--engine", &small_engine().display().to_string()])
        .output()
        .unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    slurm.wait("a few studies are done", |_| archive.results("results").0 >= 4);
    slurm.set_node("down");
    let at_the_loss = archive.results("results").0;
    slurm.set_node("resume");
    slurm.wait("all tasks are through", |slurm| slurm.says("squeue", &["-h"]).trim().is_empty());
    let logs: Vec<String> = (0..4)
        .map(|task| fs::read_to_string(archive.at(&format!("task-{task}.log"))).unwrap())
        .collect();
    assert!(at_the_loss < 40, "the node was lost in mid-run");
    assert!(logs.iter().any(|log| log.contains("restart 1")), "no task came back: {logs:#?}");
    assert_eq!(archive.results("results"), (40, 0), "{logs:#?}");
    let cohort = archive.done("merge --list @list.jsonl --results @results --out @merged");
    assert_eq!((&cohort["studies"], &cohort["analysed"]["hits"]), (&40.into(), &39.into()));
}
