//! The inference process: the daemon's side of the pipe and the words both sides speak.
//!
//! Inference runs in a child process, one study at a time, so that a crashed or hung
//! accelerator can be killed while the daemon lives on. Owns the messages (one JSON document
//! a line) and the supervision: stall, deadline, death. Refuses to open a study's files.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use serde::{Deserialize, Serialize};

use hepalert_study::files::StudyFiles;
use hepalert_study::outcome::EngineFault;

/// A line of the child longer than this is cut off: replies are a few hundred bytes.
const MAX_LINE_BYTES: u64 = 64 * 1024;
/// Replies waiting to be read; the child blocks when the daemon is that far behind.
const MAX_WAITING: usize = 256;
/// How long to leave a full pipe alone.
const WRITE_PAUSE: Duration = Duration::from_millis(20);
/// How often a waiting supervisor looks whether it shall stop.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Hears every progress line, and `None` while there is none; says whether to go on.
pub type Step<'a> = &'a mut dyn FnMut(Option<&Reply>) -> ControlFlow<()>;

/// What the daemon asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// Analyse a study.
    Study {
        /// Folder of the engine bundle; loaded if another one is.
        bundle: PathBuf,
        /// The study's files.
        files: StudyFiles,
        /// Folder for the report; made by the child, replaced whole when done.
        out: PathBuf,
    },
    /// Load this bundle if another one is loaded, and run its golden patches.
    SelfTest {
        /// Folder of the engine bundle.
        bundle: PathBuf,
    },
}

/// What the child says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reply {
    /// Work goes on: `done` of `total` steps of a stage.
    Progress {
        /// `read`, `segment`, `reclassify`, `report`; `engine` while one is loaded or tested.
        stage: String,
        /// Steps done.
        done: usize,
        /// Steps altogether.
        total: usize,
    },
    /// The report is written.
    Finished {
        /// Where `report.json` lies.
        report: PathBuf,
    },
    /// The input cannot be used, and never will be.
    Refused {
        /// The gate's reason code.
        code: String,
        /// A sentence without identifiers.
        detail: String,
    },
    /// The files are not, or not to be read, as they were accepted: nothing is known of the
    /// study yet.
    NotAsAccepted {
        /// The gate's reason code.
        code: String,
        /// A sentence without identifiers.
        detail: String,
    },
    /// The engine cannot be loaded or fails its self-test: no study can be analysed.
    EngineUnusable {
        /// What is wrong with it.
        fault: EngineFault,
        /// A sentence.
        reason: String,
    },
    /// The engine has passed its self-test.
    Tested {
        /// What was seen, in a sentence.
        words: String,
    },
    /// Something else went wrong; a new try may succeed.
    Failed {
        /// A sentence without identifiers.
        reason: String,
    },
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestOutcome {
    /// The report lies here.
    Finished(PathBuf),
    /// The input was refused with this code and sentence.
    Refused(String, String),
    /// The files are not as they were accepted: a code and a sentence.
    NotAsAccepted(String, String),
    /// The engine cannot be used: how, and a sentence.
    EngineUnusable(EngineFault, String),
    /// The engine has passed its self-test; what was seen.
    Tested(String),
    /// The child reported a failure.
    Failed(String),
    /// The child ended without an answer.
    Died(String),
    /// The child was killed: no progress for too long.
    Stalled,
    /// The child was killed: it took more memory than it may.
    OverMemory,
    /// The child was killed: the study took too long.
    TooLong,
    /// The daemon is stopping; the study stays queued.
    Stopped,
}

impl RequestOutcome {
    /// True if the child has said so itself and is ready for the next request.
    pub const fn is_answer(&self) -> bool {
        match self {
            RequestOutcome::Finished(_)
            | RequestOutcome::Refused(..)
            | RequestOutcome::NotAsAccepted(..)
            | RequestOutcome::Failed(_)
            | RequestOutcome::Tested(_) => true,
            RequestOutcome::EngineUnusable(..)
            | RequestOutcome::Died(_)
            | RequestOutcome::Stalled
            | RequestOutcome::OverMemory
            | RequestOutcome::TooLong
            | RequestOutcome::Stopped => false,
        }
    }
}

/// When the child is killed.
#[derive(Debug, Clone, Copy)]
pub struct WorkerLimits {
    /// Longest time between two lines of the child.
    pub stall: Duration,
    /// Longest time for one request.
    pub deadline: Duration,
    /// Most resident memory.
    pub memory_bytes: u64,
}

/// The daemon's handle on the child process; started when first needed.
pub struct Worker {
    command: Box<dyn Fn() -> Command + Send>,
    settings: Option<String>,
    limits: WorkerLimits,
    running: Option<Running>,
}

struct Running {
    child: Child,
    input: ChildStdin,
    replies: Receiver<String>,
}

impl Worker {
    /// `command` makes the child's command line; pipes are added here.
    pub fn new(command: impl Fn() -> Command + Send + 'static, limits: WorkerLimits) -> Worker {
        Worker { command: Box::new(command), settings: None, limits, running: None }
    }

    /// Each child is told `settings` in its first line, before any request: it reads no file
    /// that could say something else than what this process knows.
    ///
    /// # Errors
    /// If they are nothing that JSON can hold.
    pub fn with_settings(mut self, settings: &impl Serialize) -> serde_json::Result<Worker> {
        self.settings = Some(serde_json::to_string(settings)? + "\n");
        Ok(self)
    }

    /// Runs one request to its end. `step` hears every progress line and says whether to
    /// go on; it is also asked a few times a second while the child is silent (with
    /// `None`). After anything but an answer the child is gone, and the next request
    /// starts a new one.
    pub fn run(&mut self, request: &Request, step: Step<'_>) -> RequestOutcome {
        let started = Instant::now();
        let outcome = match self.send(request, step) {
            Ok(()) => self.wait(started, step),
            Err(outcome) => outcome,
        };
        if !outcome.is_answer() {
            self.kill();
        }
        outcome
    }

    fn send(&mut self, request: &Request, step: Step<'_>) -> Result<(), RequestOutcome> {
        let died =
            |error| RequestOutcome::Died(format!("the inference process does not start: {error}"));
        let line = serde_json::to_string(request).map_err(|error| died(error.into()))?;
        let stall = self.limits.stall;
        let settings = self.settings.clone().unwrap_or_default();
        let (running, is_fresh) = self.running().map_err(died)?;
        let first = if is_fresh { settings.as_str() } else { "" };
        write_within(&mut running.input, format!("{first}{line}\n").as_bytes(), stall, step)
    }

    /// The child, and whether it was started for this.
    fn running(&mut self) -> std::io::Result<(&mut Running, bool)> {
        if let Some(running) = &mut self.running
            && running.child.try_wait()?.is_some()
        {
            self.running = None;
        }
        let (running, is_fresh) = match self.running.take() {
            Some(running) => (running, false),
            None => (Running::start((self.command)())?, true),
        };
        Ok((self.running.insert(running), is_fresh))
    }

    fn wait(&mut self, started: Instant, step: Step<'_>) -> RequestOutcome {
        let Some(running) = &mut self.running else {
            return RequestOutcome::Died("the inference process is not there".to_owned());
        };
        let mut heard = Instant::now();
        let mut weighed = Instant::now();
        loop {
            if started.elapsed() > self.limits.deadline {
                return RequestOutcome::TooLong;
            }
            if weighed.elapsed() >= LOOK_EVERY {
                weighed = Instant::now();
                if running.resident_bytes() > self.limits.memory_bytes {
                    return RequestOutcome::OverMemory;
                }
            }
            match running.replies.recv_timeout(LOOK_EVERY) {
                Ok(line) => {
                    heard = Instant::now();
                    match serde_json::from_str::<Reply>(&line) {
                        Ok(reply) => match final_outcome(reply, step) {
                            Some(outcome) => return outcome,
                            None => continue,
                        },
                        Err(_) => {
                            return RequestOutcome::Died(
                                "the inference process writes what is no answer".to_owned(),
                            );
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) if heard.elapsed() > self.limits.stall => {
                    return RequestOutcome::Stalled;
                }
                Err(RecvTimeoutError::Timeout) => {
                    if step(None).is_break() {
                        return RequestOutcome::Stopped;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return running.how_it_ended(),
            }
        }
    }

    /// Ends the child, if there is one. It is killed, not asked: its work is repeatable.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            // Both fail only if the child is already gone.
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Writes to a child that may have stopped reading: it has as long as between two lines of its
/// own.
fn write_within(
    input: &mut ChildStdin,
    mut bytes: &[u8],
    stall: Duration,
    step: Step<'_>,
) -> Result<(), RequestOutcome> {
    let mut taken = Instant::now();
    while !bytes.is_empty() {
        match input.write(bytes) {
            Ok(count) => {
                bytes = &bytes[count..];
                taken = Instant::now();
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if taken.elapsed() > stall {
                    return Err(RequestOutcome::Stalled);
                }
                if step(None).is_break() {
                    return Err(RequestOutcome::Stopped);
                }
                std::thread::sleep(WRITE_PAUSE);
            }
            Err(error) => {
                return Err(RequestOutcome::Died(format!(
                    "the inference process is gone: {error}"
                )));
            }
        }
    }
    Ok(())
}

/// Passes progress on; anything else is the end of the request.
fn final_outcome(reply: Reply, step: Step<'_>) -> Option<RequestOutcome> {
    match reply {
        Reply::Progress { .. } => step(Some(&reply)).is_break().then_some(RequestOutcome::Stopped),
        Reply::Finished { report } => Some(RequestOutcome::Finished(report)),
        Reply::Refused { code, detail } => Some(RequestOutcome::Refused(code, detail)),
        Reply::NotAsAccepted { code, detail } => Some(RequestOutcome::NotAsAccepted(code, detail)),
        Reply::EngineUnusable { fault, reason } => {
            Some(RequestOutcome::EngineUnusable(fault, reason))
        }
        Reply::Tested { words } => Some(RequestOutcome::Tested(words)),
        Reply::Failed { reason } => Some(RequestOutcome::Failed(reason)),
    }
}

impl Running {
    fn start(mut command: Command) -> std::io::Result<Running> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let missing = || std::io::Error::other("the pipe to the inference process is missing");
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let (sender, replies) = sync_channel(MAX_WAITING);
        std::thread::Builder::new()
            .name("worker-replies".to_owned())
            .spawn(move || forward_lines(output, &sender))?;
        // A child that does not read must not hold up whoever writes.
        let flags = fcntl_getfl(&input)?;
        fcntl_setfl(&input, flags | OFlags::NONBLOCK)?;
        Ok(Running { child, input, replies })
    }

    /// What it holds in memory now; 0 where the system does not say.
    fn resident_bytes(&self) -> u64 {
        let kib = crate::system::memory_kib(&self.child.id().to_string(), "VmRSS");
        kib.unwrap_or(0).saturating_mul(1024)
    }

    /// Waits for the child whose pipe has closed, and tells its exit status.
    fn how_it_ended(&mut self) -> RequestOutcome {
        // The pipe closes a moment before the process is gone.
        let how = match self.child.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        RequestOutcome::Died(format!("the inference process ended: {how}"))
    }
}

/// Ends when the child closes its output, sends an overlong line, or nobody listens.
fn forward_lines(output: impl Read, sender: &SyncSender<String>) {
    let mut reader = BufReader::new(output);
    loop {
        let mut line = String::new();
        match (&mut reader).take(MAX_LINE_BYTES).read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if !line.ends_with('\n') => return,
            Ok(_) => {
                if sender.send(line).is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hepalert_study::digest::Digest;
    use hepalert_study::study::StudyKey;

    use super::*;

    fn shell(script: &'static str, stall_ms: u64) -> Worker {
        let command = move || {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        let stall = Duration::from_millis(stall_ms);
        Worker::new(
            command,
            WorkerLimits { stall, deadline: Duration::from_secs(5), memory_bytes: 1 << 30 },
        )
    }

    fn request() -> Request {
        let files = StudyFiles {
            key: StudyKey::new(&"0".repeat(32)).unwrap(),
            revision: 1,
            fingerprint: Digest::of(b""),
            phases: Vec::new(),
            candidates: Vec::new(),
            acquired: None,
            unused: 0,
            unreadable_beside: 0,
            patient: None,
            series: Vec::new(),
            prior: None,
            seen: Vec::new(),
        };
        Request::Study { bundle: "engine".into(), files, out: "out".into() }
    }

    fn run(worker: &mut Worker) -> RequestOutcome {
        worker.run(&request(), &mut |_| ControlFlow::Continue(()))
    }

    #[test]
    fn one_child_answers_many_requests() {
        let mut worker = shell(
            r#"while read line; do
                echo '{"kind":"progress","stage":"segment","done":1,"total":2}'
                echo '{"kind":"finished","report":"'$$'"}'
            done"#,
            4000,
        );
        let mut steps = 0;
        let first = worker.run(&request(), &mut |reply| {
            steps += usize::from(reply.is_some());
            ControlFlow::Continue(())
        });
        assert_eq!(steps, 1);
        assert!(matches!(&first, RequestOutcome::Finished(_)));
        assert_eq!(first, run(&mut worker), "the same process answers again");
    }

    #[test]
    fn a_child_that_dies_is_reported_and_replaced() {
        let mut worker = shell("read line; exit 7", 4000);
        let RequestOutcome::Died(how) = run(&mut worker) else { panic!("it died") };
        assert!(how.contains('7'), "{how}");
        assert!(matches!(run(&mut worker), RequestOutcome::Died(_)), "a new one is started");
    }

    #[test]
    fn a_child_that_hangs_is_killed() {
        let mut worker = shell("read line; sleep 60", 300);
        let started = Instant::now();
        assert_eq!(run(&mut worker), RequestOutcome::Stalled);
        assert!(started.elapsed() < Duration::from_secs(4));
    }

    fn large() -> Request {
        Request::SelfTest { bundle: "x".repeat(1 << 20).into() }
    }

    #[test]
    fn a_child_that_does_not_read_holds_nobody_up() {
        let started = Instant::now();
        let mut idle = shell("sleep 60", 300);
        assert_eq!(idle.run(&large(), &mut |_| ControlFlow::Continue(())), RequestOutcome::Stalled);
        let mut idle = shell("sleep 60", 60_000);
        assert_eq!(idle.run(&large(), &mut |_| ControlFlow::Break(())), RequestOutcome::Stopped);
        assert!(started.elapsed() < Duration::from_secs(4));
        let mut reads = shell(r#"read line; echo '{"kind":"finished","report":"r"}'"#, 4000);
        let outcome = reads.run(&large(), &mut |_| ControlFlow::Continue(()));
        assert_eq!(outcome, RequestOutcome::Finished("r".into()));
    }

    #[test]
    fn a_child_that_takes_too_much_memory_is_killed() {
        let mut greedy =
            shell("read line; x=$(head -c 60000000 /dev/zero | tr '\\0' x); sleep 60", 9000);
        greedy.limits.memory_bytes = 40 << 20;
        assert_eq!(run(&mut greedy), RequestOutcome::OverMemory);
    }

    #[test]
    fn a_stopping_daemon_does_not_wait() {
        let mut worker = shell("read line; sleep 60", 60_000);
        let outcome = worker.run(&request(), &mut |_| ControlFlow::Break(()));
        assert_eq!(outcome, RequestOutcome::Stopped);
    }

    #[test]
    fn nonsense_and_endless_lines_end_the_child() {
        assert!(matches!(run(&mut shell("read line; echo hello", 4000)), RequestOutcome::Died(_)));
        let endless = "read line; tr '\\0' x < /dev/zero";
        assert!(matches!(run(&mut shell(endless, 4000)), RequestOutcome::Died(_)));
    }
}
