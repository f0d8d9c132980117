//! The page: its address, certificate, users, what else it reads.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::finding::Finding;
use crate::config::{Config, Role};
use crate::web;
use crate::web::accounts;

/// Longest wait for whoever listens there.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who has the page's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// Nobody: the daemon is not running, or not with this page.
    Free,
    /// The page.
    Ours,
    /// Another program.
    Other,
    /// Somebody, over TLS: not asked.
    Taken,
}

/// What was seen of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageFacts {
    /// Its address as a browser has it.
    pub url: String,
    /// Whether people log in.
    pub login: bool,
    /// Who is let in: roles of all users.
    pub users: Result<Vec<Role>, String>,
    /// Whether certificate and key are there and belong together.
    pub certificate: Result<(), String>,
    /// Who listens, or why nobody can.
    pub port: Result<Port, String>,
    /// Whether the proxy's secret can be used; none where there is no proxy.
    pub proxy: Option<Result<(), String>>,
    /// Whether the folder of cases can be read; none where there is none.
    pub cases: Option<Result<(), String>>,
}

/// Looks at what the page needs; none where it is switched off.
pub(crate) fn look_at_page(config: &Config) -> Option<PageFacts> {
    let page = &config.web;
    if !page.enabled {
        return None;
    }
    let scheme = if page.certificate.is_some() { "https" } else { "http" };
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let secret = page.proxy_secret_file.as_ref().map(|file| {
        let secret = web::proxy_secret(file);
        let secret = secret.map_err(|error| format!("{}: {error}", file.display()))?;
        let short = || format!("{}: shorter than {} characters", file.display(), web::MIN_SECRET);
        secret.map(drop).ok_or_else(short)
    });
    let cases = page.labels_folder.as_ref().map(|folder| {
        let read = std::fs::read_dir(folder).map(drop);
        read.map_err(|error| format!("{}: {error}", folder.display()))
    });
    Some(PageFacts {
        url: format!("{scheme}://{}/", page.address),
        login: page.login,
        users: accounts::roles(&web::database(config)).map_err(|error| words(&error)),
        certificate: web::check_certificate(page).map_err(|error| words(&error)),
        port: port(&page.address, page.certificate.is_some()),
        proxy: secret,
        cases,
    })
}

fn port(address: &str, tls: bool) -> Result<Port, String> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(Port::Free),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let at: Option<SocketAddr> = address.parse().ok();
            Ok(at.filter(|_| !tls).map_or(Port::Taken, answers))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Asks for the page's sign of life.
fn answers(mut at: SocketAddr) -> Port {
    if at.ip().is_unspecified() {
        at.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut line = TcpStream::connect_timeout(&at, PATIENCE)?;
        line.set_read_timeout(Some(PATIENCE))?;
        write!(line, "GET /healthz HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n")?;
        let mut said = Vec::new();
        line.take(4096).read_to_end(&mut said)?;
        Ok(said)
    };
    let said = ask().unwrap_or_default();
    let is_ours =
        String::from_utf8_lossy(&said).contains("content-security-policy: default-src 'none'");
    if is_ours { Port::Ours } else { Port::Other }
}

/// A page that cannot be served ends the daemon, since nobody would know.
pub(crate) fn page(facts: Option<&PageFacts>) -> Finding {
    let name = "page";
    let Some(facts) = facts else { return Finding::ok(name, "switched off (web.enabled)") };
    let PageFacts { url, login, users, certificate, port, proxy, cases } = facts;
    if let Err(error) = certificate {
        let advice = "web.certificate takes a PEM certificate with those that vouch for it, \
                      web.certificate_key its PEM key; the daemon's account must be able to read both";
        return Finding::fail(name, error, advice);
    }
    match port {
        Err(error) => {
            let advice = "correct web.address: an address of this machine, and a port from 1024 on";
            return Finding::fail(name, format!("{url}: {error}"), advice);
        }
        Ok(Port::Other) => {
            let advice =
                "name another port in web.address, or stop that program: `ss -ltnp` shows which";
            return Finding::fail(name, format!("{url}: another program listens there"), advice);
        }
        Ok(Port::Free | Port::Ours | Port::Taken) => {}
    }
    if let Some(Err(error)) = proxy {
        let advice = "write 16 random characters or more into the file and into the proxy's \
                      configuration: `openssl rand -hex 32` makes some";
        return Finding::fail(name, format!("web.proxy_secret_file: {error}"), advice);
    }
    if let (true, Err(error)) = (login, users) {
        let advice = "is store.folder the daemon's, and may its account read page.sqlite there?";
        return Finding::fail(name, error, advice);
    }
    let roles = users.as_deref().unwrap_or_default();
    if *login && roles.is_empty() && proxy.is_none() {
        let advice = "let somebody in: `sudo -u hepalert hepalert web user add NAME --role admin`";
        return Finding::warn(
            name,
            format!("{url}: nobody can log in, there are no users"),
            advice,
        );
    }
    if let Some(Err(error)) = cases {
        let advice = "correct web.labels_folder, or let the daemon's account read it";
        return Finding::warn(name, format!("web.labels_folder: {error}"), advice);
    }
    Finding::ok(name, format!("{url}, {}{}", whom(*login, roles), state(port)))
}

fn whom(login: bool, roles: &[Role]) -> String {
    if !login {
        return "without a login, on this machine alone".to_owned();
    }
    let admins = roles.iter().filter(|role| **role == Role::Admin).count();
    format!("{}, {admins} of them admin", crate::ui::counted(roles.len(), "user"))
}

fn state(port: &Result<Port, String>) -> &'static str {
    match port {
        Ok(Port::Ours) => "; it answers",
        Ok(Port::Free) => "; nobody serves it now",
        Ok(Port::Taken | Port::Other) | Err(_) => "",
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn well() -> PageFacts {
        PageFacts {
            url: "http://127.0.0.1:8790/".to_owned(),
            login: true,
            users: Ok(vec![Role::Viewer, Role::Admin]),
            certificate: Ok(()),
            port: Ok(Port::Ours),
            proxy: None,
            cases: Some(Ok(())),
        }
    }

    fn check(facts: PageFacts, wanted: Level, part: &str) {
        let finding = page(Some(&facts));
        assert_eq!(finding.level, wanted, "{finding:?}");
        assert!(finding.text().contains(part), "{part:?} is not in {finding:?}");
        assert!(wanted == Level::Ok || finding.advice.is_some(), "{finding:?}");
    }

    #[test]
    fn each_way_a_page_cannot_be_used_says_what_to_do() {
        let words = || "words".to_owned();
        assert_eq!(page(None).level, Level::Ok);
        check(well(), Level::Ok, "2 users, 1 of them admin; it answers");
        check(PageFacts { port: Ok(Port::Free), ..well() }, Level::Ok, "nobody serves it now");
        check(PageFacts { port: Ok(Port::Other), ..well() }, Level::Fail, "ss -ltnp");
        check(PageFacts { port: Err(words()), ..well() }, Level::Fail, "web.address");
        check(
            PageFacts { certificate: Err(words()), ..well() },
            Level::Fail,
            "web.certificate_key",
        );
        check(PageFacts { users: Ok(Vec::new()), ..well() }, Level::Warn, "web user add");
        check(PageFacts { users: Err(words()), ..well() }, Level::Fail, "page.sqlite");
        check(PageFacts { proxy: Some(Err(words())), ..well() }, Level::Fail, "openssl rand");
        check(PageFacts { cases: Some(Err(words())), ..well() }, Level::Warn, "labels_folder");
        let by_proxy = PageFacts { users: Ok(Vec::new()), proxy: Some(Ok(())), ..well() };
        check(by_proxy, Level::Ok, "0 users");
        let open = PageFacts { login: false, users: Ok(Vec::new()), ..well() };
        check(open, Level::Ok, "on this machine alone");
    }

    #[test]
    fn a_page_is_looked_at_as_it_lies_there() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.store.folder = folder.path().to_owned();
        assert_eq!(look_at_page(&config), None);
        config.web.enabled = true;
        // Another program has the port, and says nothing of ours.
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        config.web.address = other.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut line, _) = other.accept().unwrap();
            let _ = line.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello");
        });
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "short").unwrap();
        config.web.proxy_secret_file = Some(secret);
        config.web.certificate = None;
        let facts = look_at_page(&config).unwrap();
        assert_eq!((facts.port, facts.users), (Ok(Port::Other), Ok(Vec::new())));
        assert!(facts.proxy.unwrap().is_err() && facts.certificate.is_ok());
        assert!(!web::database(&config).exists(), "looking makes nothing");
        let accounts = accounts::Accounts::open(&web::database(&config)).unwrap();
        let now = jiff::Timestamp::UNIX_EPOCH;
        accounts.put("ana", Role::Annotator, "correct horse battery", now).unwrap();
        std::fs::write(folder.path().join("page.pem"), "no certificate").unwrap();
        config.web.certificate = Some(folder.path().join("page.pem"));
        config.web.certificate_key = Some(folder.path().join("page.key"));
        config.web.address = "127.0.0.1:0".to_owned();
        let facts = look_at_page(&config).unwrap();
        assert_eq!((facts.port, facts.users), (Ok(Port::Free), Ok(vec![Role::Annotator])));
        assert!(facts.certificate.unwrap_err().contains("page.pem"));
    }
}
