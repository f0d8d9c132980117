//! The players of the demonstration as child processes: broker, subscriber, daemon. Each is
//! ended when its handle goes out of scope, so that a failed demo leaves nothing running.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::Stop;
use crate::publish::contract::EventKind;
use crate::ui::{Exit, Failure, Ui};

/// How long a process may take to start or to end.
const MOMENT: Duration = Duration::from_secs(20);

/// How often a wait looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(200);

/// Kills the process when dropped.
struct Player(Child);

impl Drop for Player {
    fn drop(&mut self) {
        // Both fail only if it is already gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A mosquitto of our own on a free port of the loopback interface.
pub(super) struct Broker {
    player: Player,
    /// Where it listens.
    pub port: u16,
}

impl Broker {
    /// Starts it with its configuration and log in `out/broker`.
    pub(super) fn start(out: &Path) -> Result<Broker, Failure> {
        let folder = out.join("broker");
        let port = free_port()?;
        let config = folder.join("mosquitto.conf");
        let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n");
        std::fs::write(&config, text).map_err(Failure::failed)?;
        let log = File::create(folder.join("mosquitto.log")).map_err(Failure::failed)?;
        let child = Command::new(mosquitto())
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let child = child.map_err(|error| {
            let error = anyhow::anyhow!("mosquitto does not start: {error}; run scripts/setup");
            Failure::new(Exit::Broker, error)
        })?;
        let broker = Broker { player: Player(child), port };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if began.elapsed() > MOMENT {
                let error = anyhow::anyhow!("mosquitto does not listen on port {port}");
                return Err(Failure::new(Exit::Broker, error));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(broker)
    }

    /// Ends it.
    pub(super) fn stop(self) {
        drop(self.player);
    }
}

/// Debian keeps the broker where a user's PATH does not look.
fn mosquitto() -> &'static str {
    let places = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];
    places.into_iter().find(|place| Path::new(place).is_file()).unwrap_or("mosquitto")
}

fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(Failure::failed)?;
    Ok(listener.local_addr().map_err(Failure::failed)?.port())
}

/// `mosquitto_sub` on everything that the daemon publishes.
pub(super) struct Subscriber {
    player: Player,
    messages: Receiver<(String, Value)>,
    held: Vec<(String, Value)>,
    stop: Stop,
}

impl Subscriber {
    /// Subscribes to all topics of the demonstration.
    pub(super) fn start(port: u16, stop: Stop) -> Result<Subscriber, Failure> {
        let child = Command::new("mosquitto_sub")
            .args(["-h", "127.0.0.1", "-p", &port.to_string()])
            .args(["-q", "1", "-v", "-t", "hepalert/v1/#"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.map_err(|error| {
            let error = anyhow::anyhow!("mosquitto_sub does not start: {error}; run scripts/setup");
            Failure::new(Exit::Broker, error)
        })?;
        let output = child.stdout.take();
        let player = Player(child);
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()) {
                let Ok(line) = line else { return };
                let (topic, body) = line.split_once(' ').unwrap_or((&line, ""));
                let body = serde_json::from_str(body).unwrap_or(Value::Null);
                if sender.send((topic.to_owned(), body)).is_err() {
                    return;
                }
            }
        });
        Ok(Subscriber { player, messages, held: Vec::new(), stop })
    }

    /// The first message that is wanted. Steps of studies are told on the way; messages that
    /// are not wanted now are kept for a later wait. A signal ends the wait.
    pub(super) fn wait(
        &mut self,
        most: Duration,
        wanted: impl Fn(&str, &Value) -> bool,
        ui: &Ui,
    ) -> Result<Value, Failure> {
        if let Some(at) = self.held.iter().position(|(topic, body)| wanted(topic, body)) {
            return Ok(self.held.remove(at).1);
        }
        let began = Instant::now();
        loop {
            self.stop.check()?;
            let waited = left(began, most);
            let (topic, body) = match self.messages.recv_timeout(waited.min(GLANCE)) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) if waited > GLANCE => continue,
                Err(error) => {
                    self.stop.check()?;
                    return Err(Failure::failed(silence(error, most)));
                }
            };
            if topic.ends_with(EventKind::Study.topic()) {
                let state = body["data"]["state"].as_str().unwrap_or_default();
                ui.say(format!("mqtt:    {topic}: {state}"));
            }
            if wanted(&topic, &body) {
                return Ok(body);
            }
            self.held.push((topic, body));
        }
    }

    /// Ends it.
    pub(super) fn stop(self) {
        drop(self.player);
    }
}

/// Why no message came.
fn silence(error: RecvTimeoutError, most: Duration) -> anyhow::Error {
    match error {
        RecvTimeoutError::Timeout => {
            anyhow::anyhow!("the expected message did not come within {} s", most.as_secs())
        }
        RecvTimeoutError::Disconnected => {
            anyhow::anyhow!("mosquitto_sub ended before the expected message came")
        }
    }
}

/// This program as the daemon.
pub(super) struct Daemon {
    player: Player,
}

impl Daemon {
    /// Starts it; its log goes to a file.
    pub(super) fn start(config: &Path, log: &Path) -> Result<Daemon, Failure> {
        let program = std::env::current_exe().map_err(Failure::failed)?;
        let log = File::create(log).map_err(Failure::failed)?;
        let child = Command::new(program)
            .arg("run")
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Ok(Daemon { player: Player(child.map_err(Failure::failed)?) })
    }

    /// Asks it to stop and waits for its orderly end.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        let child = &mut self.player.0;
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM).map_err(Failure::failed)?;
        }
        let began = Instant::now();
        while began.elapsed() < MOMENT {
            if let Some(status) = child.try_wait().map_err(Failure::failed)? {
                return match status.success() {
                    true => Ok(()),
                    false => Err(Failure::failed(anyhow::anyhow!("the daemon ended: {status}"))),
                };
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(Failure::failed(anyhow::anyhow!("the daemon does not stop when asked to")))
    }
}

/// Time left of a wait that began at a moment.
fn left(began: Instant, most: Duration) -> Duration {
    most.saturating_sub(began.elapsed())
}
