//! A browser for the tests: Debian's chromium, driven by its chromedriver over WebDriver.
//!
//! WebDriver is JSON over HTTP: the few calls that the tests need are made here, where a client crate
//! would bring some sixty others to compile.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

/// Longest wait for anything in a browser: its graphics are drawn by the processor here.
const PATIENCE: Duration = Duration::from_secs(90);

/// An HTTP answer.
pub(crate) struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// One request on a connection of its own.
pub(crate) fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        head += &format!("Host: {address}\r\n");
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    // A server that refuses by the head alone need not read the rest.
    let _ = stream.write_all(body);
    answer(BufReader::new(stream))
}

fn answer(mut from: impl BufRead) -> Answer {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let mut headers = Vec::new();
    loop {
        line.clear();
        from.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    if answer.header("transfer-encoding") == Some("chunked") {
        answer.body = chunks(&mut from);
    } else if let Some(length) = answer.header("content-length").and_then(|n| n.parse().ok()) {
        answer.body = vec![0; length];
        from.read_exact(&mut answer.body).unwrap();
    } else {
        let _ = from.read_to_end(&mut answer.body);
    }
    answer
}

fn chunks(from: &mut impl BufRead) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line).unwrap();
        let size = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        from.read_exact(&mut chunk).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

/// A browser window.
pub(crate) struct Browser {
    driver: Child,
    address: String,
    session: String,
}

fn installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|out| out.status.success())
}

/// Whether a browser is here; under `CI=true` it must be.
pub(crate) fn is_there() -> bool {
    if installed("chromedriver") && installed("chromium") {
        return true;
    }
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!ci, "CI=true, but chromium and chromedriver are not installed (scripts/setup tests)");
    println!("skipped: no chromium and chromedriver here (scripts/setup tests)");
    false
}

impl Browser {
    pub(crate) fn start(width: u32, height: u32, dark: bool) -> Browser {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It tells its port on standard output; what it says later is read away beside.
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.unwrap();
            let rest = line.split("on port ").nth(1)?;
            rest.trim_end_matches('.').parse::<u16>().ok().filter(|port| *port > 0)
        });
        std::thread::spawn(move || lines.for_each(drop));
        let address = format!("127.0.0.1:{}", port.unwrap());
        let size = format!("--window-size={width},{height}");
        let mut args = vec![
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--use-gl=angle",
            "--use-angle=swiftshader",
            "--enable-unsafe-swiftshader",
            "--hide-scrollbars",
            "--lang=en-GB",
            &size,
        ];
        if dark {
            args.push("--blink-settings=preferredColorScheme=0");
        }
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "acceptInsecureCerts": true,
            "goog:chromeOptions": {"binary": "/usr/bin/chromium", "args": args},
            "goog:loggingPrefs": {"browser": "ALL"},
            "timeouts": {"script": 120_000, "pageLoad": 60_000},
        }}});
        let mut browser = Browser { driver, address, session: String::new() };
        let made = browser.call("POST", "", &wanted);
        browser.session = made["sessionId"].as_str().unwrap().to_owned();
        // The window's frame is no part of the page: the page itself gets this size.
        let inner = json!({"cmd": "Emulation.setDeviceMetricsOverride", "params":
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}});
        browser.call("POST", "/goog/cdp/execute", &inner);
        browser
    }

    fn call(&self, method: &str, what: &str, body: &Value) -> Value {
        let path = match self.session.as_str() {
            "" => "/session".to_owned(),
            session => format!("/session/{session}{what}"),
        };
        let body = if ["GET", "DELETE"].contains(&method) {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let answer =
            request(&self.address, method, &path, &[("Content-Type", "application/json")], &body);
        let told = answer.json();
        assert_eq!(answer.status, 200, "{what}: {told:#}");
        told["value"].clone()
    }

    pub(crate) fn go(&self, url: &str) {
        self.call("POST", "/url", &json!({"url": url}));
    }

    /// The value of `return ...` in the page.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.call("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// The value of a promise: `script` is the body of an asynchronous function.
    pub(crate) fn wait_for_script(&self, script: &str) -> Value {
        let wrapped = format!(
            "const done = arguments[0]; (async () => {{ {script} }})()\
             .then((v) => done({{v}}), (e) => done({{e: String(e?.stack ?? e)}}));"
        );
        let told = self.call("POST", "/execute/async", &json!({"script": wrapped, "args": []}));
        assert!(told.get("e").is_none(), "{}", told["e"]);
        told["v"].clone()
    }

    /// Waits until an expression is true in the page.
    pub(crate) fn until(&self, expression: &str) {
        let began = Instant::now();
        while self.run(&format!("return Boolean({expression})")) != true {
            if began.elapsed() > PATIENCE {
                let seen = self.run("return document.body.innerText");
                panic!("never: {expression}\n{}\n{:#}", seen.as_str().unwrap(), self.log());
            }
            std::thread::sleep(Duration::from_millis(60));
        }
    }

    fn element(&self, css: &str) -> String {
        let found = self.call("POST", "/element", &json!({"using": "css selector", "value": css}));
        found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
    }

    pub(crate) fn click(&self, css: &str) {
        self.until(&format!("document.querySelector({css:?})"));
        self.call("POST", &format!("/element/{}/click", self.element(css)), &json!({}));
    }

    pub(crate) fn type_into(&self, css: &str, text: &str) {
        self.until(&format!("document.querySelector({css:?})"));
        let what = format!("/element/{}/value", self.element(css));
        self.call("POST", &what, &json!({"text": text}));
    }

    /// Keys for whatever has the focus; a letter each.
    pub(crate) fn press(&self, keys: &[&str]) {
        let actions: Vec<Value> = keys
            .iter()
            .flat_map(|key| {
                [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})]
            })
            .collect();
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": actions});
        self.call("POST", "/actions", &json!({"actions": [keyboard]}));
    }

    /// Drags the mouse over an element: points from its centre, in pixels.
    pub(crate) fn drag(&self, css: &str, points: &[(i32, i32)]) {
        let origin = json!({"element-6066-11e4-a52e-4f735466cecf": self.element(css)});
        let go = |(x, y): &(i32, i32)| json!({"type": "pointerMove", "duration": 40, "x": x, "y": y, "origin": origin});
        let mut actions = vec![go(&points[0]), json!({"type": "pointerDown", "button": 0})];
        actions.extend(points[1..].iter().map(go));
        actions.push(json!({"type": "pointerUp", "button": 0}));
        let mouse = json!({"type": "pointer", "id": "mouse", "actions": actions,
            "parameters": {"pointerType": "mouse"}});
        self.call("POST", "/actions", &json!({"actions": [mouse]}));
    }

    /// The page as it is seen, PNG.
    pub(crate) fn picture(&self) -> Vec<u8> {
        let told = self.call("GET", "/screenshot", &Value::Null);
        base64(told.as_str().unwrap())
    }

    /// What the page said on its console, and what the browser refused it.
    pub(crate) fn log(&self) -> Value {
        self.call("POST", "/se/log", &json!({"type": "browser"}))
    }
}

impl Drop for Browser {
    /// Ends the browser, also of a test that failed. Its processes are the driver's group: none is left.
    fn drop(&mut self) {
        let end = format!(
            "DELETE /session/{} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            self.session, self.address
        );
        if let Ok(mut line) = TcpStream::connect(&self.address) {
            let _ = line.set_read_timeout(Some(Duration::from_secs(10)));
            let _ = line.write_all(end.as_bytes());
            let _ = std::io::Read::read(&mut line, &mut [0; 512]);
        }
        if let Some(group) = Pid::from_raw(self.driver.id().cast_signed()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.driver.wait();
    }
}

fn base64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let value = |byte: u8| LETTERS.iter().position(|known| *known == byte).unwrap() as u32;
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = group.iter().fold(0, |bits, byte| bits << 6 | value(*byte));
        let bits = bits << (6 * (4 - group.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}
