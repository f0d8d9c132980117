//! Examples of every command, for `--help` and the manual pages; a test parses each.

use clap::Command;

/// Command, what is typed, what for.
pub(super) const EXAMPLES_OF: [(&str, &str, &str); 65] = [
    (
        "analyze",
        "hepalert analyze ct.nii.gz --out result",
        "one portal venous CT, or a folder of DICOM slices",
    ),
    (
        "analyze",
        "hepalert analyze --phase nc=n.nii.gz --phase ap=a.nii.gz --phase vp=v.nii.gz --phase dp=d.nii.gz --engine engines/phantom-diagnosis --out result",
        "four phases that you name",
    ),
    (
        "analyze",
        "hepalert analyze studies --out results",
        "a folder of studies: one folder of results each, and summary.csv; the same command again goes on where it ended",
    ),
    (
        "analyze",
        "hepalert analyze ct-folder --dicom --out result",
        "with a segmentation, a structured report and key images for an archive",
    ),
    (
        "archive list",
        "hepalert archive list /archive/2019 --out 2019.jsonl",
        "every study below a folder, with the hash of its content",
    ),
    (
        "archive run",
        "hepalert archive run --list 2019.jsonl --results results --shard 3/8",
        "the third of eight parts; examples/slurm has the job array",
    ),
    (
        "archive run",
        "hepalert archive run --list 2019.jsonl --results results",
        "all of it, here; the same command again goes on where it ended",
    ),
    (
        "archive status",
        "hepalert archive status --list 2019.jsonl --results results",
        "what is done, refused and missing",
    ),
    (
        "archive merge",
        "hepalert archive merge --list 2019.jsonl --results results --out cohort",
        "one table of studies, one of the cohort",
    ),
    (
        "archive compare",
        "hepalert archive compare --list 2019.jsonl --old results --new results-5 --out changes",
        "before a new engine is used: whose verdict changes",
    ),
    (
        "check-config",
        "hepalert check-config --config /etc/hepalert/hepalert.toml",
        "before a daemon is started with new settings",
    ),
    ("completions", "hepalert completions bash", "print them; the Debian package installs them"),
    (
        "curate",
        "hepalert curate cohort --expert labels:labelsTr --out round-1",
        "what the engine says of every case, fused with what people marked; disagreement.csv says where to look",
    ),
    (
        "curate",
        "hepalert curate cohort --expert labels:labelsTr --corrected anna --out round-1 --dataset Dataset002",
        "the next training set, with what anna corrected; the engine is not run again",
    ),
    ("demo", "hepalert demo --out demo", "a synthetic patient, a broker and the daemon"),
    (
        "detect",
        "hepalert detect labels.nii.gz --out lesions.json --instances-out numbers.nii.gz",
        "list the lesions and number their voxels",
    ),
    ("dicom echo", "hepalert dicom echo pacs", "does the archive answer, and let this device in?"),
    ("dicom conformance", "hepalert dicom conformance", "the tables of docs/dicom.md"),
    ("doctor", "hepalert doctor --quick", "everything but the networks"),
    ("engine list", "hepalert engine list", "what is in the slots of this device"),
    (
        "engine list",
        "hepalert engine list /usr/share/hepalert/engines",
        "which bundles a folder holds",
    ),
    (
        "engine install",
        "hepalert engine install liver-3.hepengine",
        "check, test and use a signed engine",
    ),
    (
        "engine activate",
        "hepalert engine activate configured",
        "use the engine of the configuration again",
    ),
    ("engine rollback", "hepalert engine rollback", "use the engine that was in use before"),
    ("engine discard", "hepalert engine discard b", "empty slot b"),
    (
        "engine inspect",
        "hepalert engine inspect engines/venous-demo",
        "its networks, phases and figures",
    ),
    (
        "engine verify",
        "hepalert engine verify liver-3.hepengine --keys /etc/hepalert/keys",
        "would this device take it?",
    ),
    ("engine selftest", "hepalert engine selftest engines/venous-demo", "run the golden patches"),
    (
        "engine build",
        "hepalert engine build engines/venous-demo --precision f16",
        "compile for TensorRT before a study needs it",
    ),
    (
        "engine measure",
        "hepalert engine measure engines/venous-demo --seconds 60",
        "time, memory and temperature",
    ),
    (
        "engine keygen",
        "hepalert engine keygen --out site",
        "site.pub for devices, site.key stays secret",
    ),
    (
        "engine pack",
        "hepalert engine pack my-liver --out my-liver.hepengine",
        "one file of a bundle",
    ),
    (
        "engine sign",
        "hepalert engine sign my-liver.hepengine --key site.key",
        "so that devices take it",
    ),
    (
        "evaluate",
        "hepalert evaluate --truth labels --predicted results --out tables",
        "tables, plots and cases.csv of what analyze wrote for a folder of studies",
    ),
    (
        "evaluate",
        "hepalert evaluate --truth labels --predicted results --sweep --out tables",
        "with the lesion gain against missed and false lesions; needs analyze --margin",
    ),
    (
        "evaluate",
        "hepalert evaluate --truth labels --predicted results --missing count-missed --out tables",
        "studies that analyze refused count too: all their lesions are missed",
    ),
    (
        "export",
        "hepalert export 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f --deidentify --out shared",
        "images and result of a study for whoever looks into a failure",
    ),
    (
        "fleet",
        "hepalert fleet --config /etc/hepalert/hepalert.toml",
        "all devices at this device's broker",
    ),
    (
        "fleet",
        "hepalert fleet --host core --expect ct-1,ct-2 --strict --json",
        "for a monitor: exit code 1 unless all are well",
    ),
    (
        "inspect",
        "hepalert inspect export/study --picture-out series.png",
        "what every series is, and which would be read",
    ),
    (
        "label",
        "hepalert label cohort",
        "which cases, images and labels a folder has, the most disputed first",
    ),
    (
        "label",
        "hepalert label cohort --compare anna,bert --order",
        "where two readers differ; from now on the list begins with the worst",
    ),
    (
        "label",
        "hepalert label cohort --export Dataset001 --whose anna,labels:truth",
        "a training set of what anna corrected, and of the truth where she did not",
    ),
    ("man", "hepalert man --out man", "write these pages"),
    (
        "match",
        "hepalert match --truth truth.nii.gz --predicted labels.nii.gz --out match.json",
        "found, missed and false lesions of one case",
    ),
    (
        "phantom",
        "hepalert phantom --seed 7 --malignant --out patient",
        "a synthetic patient as DICOM and NIfTI, with its truth",
    ),
    ("quality", "hepalert quality", "how often people agreed, as far as they said so"),
    ("queue", "hepalert queue", "the newest jobs, and why some were refused"),
    (
        "reclassify",
        "hepalert reclassify --engine engines/venous-demo --phase vp=ct.nii.gz --labels labels.nii.gz --out judged",
        "judge the lesions of a label map again",
    ),
    (
        "register",
        "hepalert register --fixed vp.nii.gz --moving ap.nii.gz --out ap-on-vp.nii.gz --picture-out before-after.png",
        "bring the arterial phase onto the portal venous one",
    ),
    ("run", "hepalert run --config /etc/hepalert/hepalert.toml", "as systemd starts it"),
    (
        "segment",
        "hepalert segment ct.nii.gz --out labels.nii.gz",
        "with the engine that came with the program",
    ),
    (
        "segment",
        "hepalert segment --engine my-liver --phase vp=dicom/vp --alpha 100 --out labels.nii.gz",
        "a folder with one DICOM series, at a lesion gain of 100",
    ),
    (
        "send",
        "hepalert send 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f --to pacs",
        "the same objects again, by the archive's name in the configuration",
    ),
    (
        "shuffle",
        "hepalert shuffle --phase vp=ct.nii.gz --labels truth.nii.gz --count 10 --out Dataset001 --picture-out patches.png",
        "patches to train a second network with",
    ),
    ("status", "hepalert status", "counts of jobs, unsent messages and open alerts"),
    (
        "study show",
        "hepalert study show 0123456789abcdef0123456789abcdef",
        "its jobs, and what to do if it was refused",
    ),
    (
        "study requeue",
        "hepalert study requeue 0123456789abcdef0123456789abcdef",
        "have it judged anew",
    ),
    (
        "study key",
        "hepalert study key 1.2.840.113619.2.55.3",
        "under which key is this patient's study?",
    ),
    (
        "study key",
        "hepalert study key -",
        "the same, with the UID from standard input, so that it is in no history",
    ),
    (
        "support-bundle",
        "hepalert support-bundle --out support.tar.gz",
        "versions, settings and counts, no patient",
    ),
    (
        "web label",
        "hepalert web label cases --reader ana",
        "a folder of NIfTI images; edits are kept under her name",
    ),
    (
        "web user add",
        "hepalert web user add ana --role annotator",
        "ask for a password twice; a script may send it by standard input",
    ),
    ("web user remove", "hepalert web user remove ana", "her sessions end at once"),
    ("web user list", "hepalert web user list", "who is let in, as what, since when"),
];

/// The manual page of a command.
pub(super) fn page_of(command: &str) -> String {
    format!("hepalert-{}", command.replace(' ', "-"))
}

/// The command line with examples below each help text.
pub(super) fn shown(program: Command) -> Command {
    below(program, "")
}

fn below(command: Command, path: &str) -> Command {
    let names: Vec<String> =
        command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        let path = format!("{path} {name}").trim_start().to_owned();
        command.mut_subcommand(name, |sub| {
            let lines = EXAMPLES_OF.iter().filter(|(of, ..)| *of == path);
            let lines: Vec<String> =
                lines.map(|(_, line, meaning)| format!("  {line}\n      {meaning}")).collect();
            let sub = match lines.is_empty() {
                true => sub,
                false => sub.after_help(format!("Examples:\n{}", lines.join("\n"))),
            };
            below(sub, &path)
        })
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Arguments;

    fn leaves(command: &Command, path: &str) -> Vec<String> {
        let subs: Vec<&Command> = command.get_subcommands().collect();
        match subs.is_empty() {
            true => vec![path.to_owned()],
            false => subs
                .iter()
                .flat_map(|sub| leaves(sub, format!("{path} {}", sub.get_name()).trim_start()))
                .collect(),
        }
    }

    #[test]
    fn every_command_has_examples_that_can_be_typed() {
        let program = shown(Arguments::command());
        let known = leaves(&program, "");
        for command in &known {
            let has = EXAMPLES_OF.iter().any(|(of, ..)| of == command);
            assert!(has, "{command} has no example");
        }
        for (of, line, _) in EXAMPLES_OF {
            assert!(known.iter().any(|command| command == of), "there is no {of}");
            assert!(line.starts_with(&format!("hepalert {of}")), "{line}");
            let parsed = program.clone().try_get_matches_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
        assert!(!known.iter().any(|command| command == "worker"), "nobody is told of it");
    }
}
