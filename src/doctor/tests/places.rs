//! Judgements of folders, store, site key and account with a broken setup.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::{at, level, machine};
use crate::doctor::filesystem::{AccountFacts, DiskFacts, ExportFacts, StoreCounts, StoreFacts};
use crate::doctor::finding::Level;
use crate::doctor::*;
use crate::intake::{Degraded, FileSystem};
use crate::store::{JobCounts, Store};

pub(super) fn export(degraded: Vec<Degraded>, file_system: FileSystem) -> Finding {
    let folder = "/srv/ct-export".into();
    filesystem::export_folder(&ExportFacts {
        folder,
        file_system,
        files: 412,
        degraded,
        rescan_s: 10,
    })
}

#[test]
fn an_export_folder_that_is_gone_fails_and_a_network_share_is_looked_at() {
    level(&export(vec![Degraded::Missing], FileSystem::Local), Level::Fail, "no such folder");
    let unreadable = vec![Degraded::Unreadable("permission denied".into())];
    level(&export(unreadable, FileSystem::Local), Level::Fail, "permission denied");
    level(&export(vec![], FileSystem::Network("nfs")), Level::Ok, "(nfs)");
    level(&export(vec![], FileSystem::Network("nfs")), Level::Ok, "every 10 s");
    let spots = vec![Degraded::BlindSpots(2)];
    level(&export(spots, FileSystem::Local), Level::Warn, "2 folders");

    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.intake.folder = Some(folder.path().join("none"));
    assert_eq!(filesystem::look_at_export(&config).degraded, [Degraded::Missing]);
    config.intake.folder = Some(folder.path().to_owned());
    fs::write(folder.path().join("1.dcm"), "x").unwrap();
    let facts = filesystem::look_at_export(&config);
    assert_eq!((facts.files, facts.degraded), (1, vec![]));
}

#[test]
fn a_full_disk_fails_before_the_daemon_refuses_studies() {
    let disk = |free| {
        let folder = "/var/lib/hepalert".into();
        filesystem::disk(&DiskFacts { folder, free_mib: free, min_free_mib: 1024 })
    };
    level(&disk(Some(1023)), Level::Fail, "1023 MiB");
    level(&disk(Some(2000)), Level::Warn, "soon");
    level(&disk(Some(2048)), Level::Ok, "2048 MiB");
    level(&disk(None), Level::Warn, "cannot be told");
    let mut config = Config::default();
    config.store.folder = "/no/such/folder".into();
    let facts = filesystem::look_at_disk(&config);
    assert_eq!(facts.folder, Path::new("/"));
    assert!(facts.free_mib.is_some());
}

#[test]
fn a_damaged_store_is_told_of_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.store.folder = folder.path().to_owned();
    let now = at("2026-03-01T10:00:00Z");
    let judged = |config: &Config| filesystem::store(&filesystem::look_at_store(config), now);
    level(&judged(&config), Level::Ok, "none yet");
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none(), "looking makes nothing");

    let file = config.store.database();
    drop(Store::open(&file, now).unwrap());
    level(&judged(&config), Level::Ok, "studies: 0 wait");
    fs::write(&file, vec![7; 8192]).unwrap();
    level(&judged(&config), Level::Fail, "");
    assert_eq!(fs::read(&file).unwrap(), vec![7; 8192], "doctor repairs nothing");
}

#[test]
fn messages_that_wait_for_long_point_to_the_broker() {
    let counts = |oldest| StoreCounts {
        jobs: JobCounts { dead: 1, ..JobCounts::default() },
        unsent: 3,
        oldest_unsent: Some(at(oldest)),
    };
    let judged =
        |oldest| filesystem::store(&StoreFacts::Open(counts(oldest)), at("2026-03-01T10:00:00Z"));
    level(&judged("2026-03-01T09:15:00Z"), Level::Warn, "45 minutes");
    level(&judged("2026-03-01T09:55:00Z"), Level::Ok, "hepalert queue");
}

#[test]
fn a_site_key_must_be_whole_and_private() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.device.site_key_file = folder.path().join("site.key");
    let judged = |config: &Config| site_key::site_key(&site_key::look_at_key(config));
    level(&judged(&config), Level::Ok, "none yet");
    let key = "0123456789abcdef".repeat(4);
    fs::write(&config.device.site_key_file, &key).unwrap();
    let allow = |mode| {
        let file = &config.device.site_key_file;
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    };
    allow(0o644);
    let found = judged(&config);
    level(&found, Level::Warn, "mode 0644");
    assert!(!found.text().contains(&key), "the key itself is never shown");
    allow(0o600);
    level(&judged(&config), Level::Ok, "private");
    fs::write(&config.device.site_key_file, "short").unwrap();
    level(&judged(&config), Level::Fail, "it is damaged");
    fs::write(&config.device.site_key_file, [0xff; 64]).unwrap();
    level(&judged(&config), Level::Fail, "damaged");
}

#[test]
fn a_site_key_that_is_gone_or_another_one_is_told_before_the_daemon_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.store.folder = folder.path().to_owned();
    config.device.site_key_file = folder.path().join("site.key");
    let judged = |config: &Config| site_key::site_key(&site_key::look_at_key(config));
    let store = Store::open(&config.store.database(), at("2026-03-01T10:00:00Z")).unwrap().store;
    level(&judged(&config), Level::Ok, "none yet");
    // What a daemon notes that named studies with another key.
    store.set_fact("site_key", "0123456789abcdef").unwrap();
    level(&judged(&config), Level::Fail, "it is missing");
    fs::write(&config.device.site_key_file, "0123456789abcdef".repeat(4)).unwrap();
    level(&judged(&config), Level::Fail, "with another key");
}

#[test]
fn what_may_not_be_read_is_not_called_damaged() {
    let closed = filesystem::store(
        &StoreFacts::Closed("/var/lib/hepalert/hepalert.sqlite".into()),
        at("2026-03-01T10:00:00Z"),
    );
    level(&closed, Level::Fail, "you may not read it");
    assert!(!closed.text().contains("damaged"), "{closed:?}");
}

#[test]
fn root_sees_what_bars_the_daemons_account() {
    let passwd = "root:x:0:0::/root:/bin/sh\nhepalert:x:64999:64998::/:/usr/sbin/nologin\n";
    let (_root, machine) =
        machine(&[("etc/passwd", passwd), ("etc/group", "video:x:64997:hepalert\n")], &[]);
    assert_eq!(Account::named("nobody-here", &machine), None);
    let account = Account::named("hepalert", &machine).unwrap();
    assert_eq!((account.uid, account.gids.as_slice()), (64999, &[64998, 64997][..]));

    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let allow = |name: &str, mode| {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::create_dir_all(at("export/inner")).unwrap();
    allow("", 0o755);
    allow("export", 0o755);
    allow("export/inner", 0o700);
    assert_eq!(account.first_denied(&at("export")), None);
    assert_eq!(
        account.first_denied(&at("export/inner")),
        Some(at("export/inner").canonicalize().unwrap())
    );
    allow("export", 0o744);
    let inner = account.first_denied(&at("export/inner"));
    assert_eq!(inner, Some(at("export").canonicalize().unwrap()));

    let name = Some("hepalert".to_owned());
    let denied = vec![("/a/b".into(), "/a".into())];
    let facts = AccountFacts { name, denied, foreign: None };
    level(&filesystem::account(&facts), Level::Fail, "/a/b");
    let facts = AccountFacts { denied: vec![], ..facts };
    level(&filesystem::account(&facts), Level::Ok, "hepalert may");
    let facts = AccountFacts { foreign: Some("/s/engines".into()), ..facts };
    let told = filesystem::account(&facts);
    level(&told, Level::Fail, "belongs to another account");
    assert!(told.advice.unwrap().contains("sudo chown -R hepalert: /s/engines"));
}

#[test]
fn slots_that_another_account_filled_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.store.folder = folder.path().to_owned();
    let slots = config.slots();
    fs::create_dir_all(slots.join("a")).unwrap();
    let whose = fs::metadata(&slots).unwrap().uid();
    let account = |uid| Account { name: "hepalert".to_owned(), uid, gids: vec![] };
    let file = Path::new("/nowhere");
    let seen = |uid| filesystem::look_at_account(Some(&account(uid)), file, &config).foreign;
    assert_eq!(seen(whose), None);
    // To an account of another number all of it is another's, and the outermost is told.
    assert_eq!(seen(whose + 1), Some(folder.path().to_owned()));
    fs::create_dir(folder.path().join("lost+found")).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(&slots, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(seen(whose + 1), Some(slots), "what lies in it");
}
