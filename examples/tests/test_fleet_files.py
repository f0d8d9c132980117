"""What an existing tool carries to a fleet: the playbook, the template, the repository, the manifest of a cluster."""
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import unittest
from pathlib import Path

import yaml
from world import EXAMPLES, ROOT

BIN = Path(sys.executable).parent
HEPALERT = os.environ.get("HEPALERT")


def run(*words, **more):
    ended = subprocess.run([str(word) for word in words], capture_output=True, text=True, **more)
    return ended.returncode, ended.stdout + ended.stderr


class Ansible(unittest.TestCase):
    def test_the_playbook_is_one(self):
        here = EXAMPLES / "ansible"
        code, said = run(BIN / "ansible-playbook", "-i", here / "inventory.ini", here / "site.yml", "--syntax-check")
        self.assertEqual(code, 0, said)

    def rendered(self, **host):
        import jinja2

        # `bool` is Ansible's own filter.
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
        environment.filters["bool"] = lambda value: str(value).lower() in ("true", "yes", "1")
        values = yaml.safe_load((EXAMPLES / "ansible/group_vars/hepalert.yml").read_text())
        template = (EXAMPLES / "ansible/templates/site.toml.j2").read_text()
        return environment.from_string(template).render({**values, **host})

    def test_the_template_gives_settings_that_exist(self):
        shipped = tomllib.loads((ROOT / "config/hepalert.toml").read_text())
        for host in ({"hepalert_device": "ct-1"}, {"hepalert_device": "ct-2", "hepalert_commands": True}):
            for section, keys in tomllib.loads(self.rendered(**host)).items():
                for key, value in keys.items():
                    self.assertEqual(type(value), type(shipped[section][key]), f"{section}.{key}")

    @unittest.skipUnless(HEPALERT, "HEPALERT names no program")
    def test_the_program_reads_what_the_template_gives(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "hepalert.toml"
            file.write_text(self.rendered(hepalert_device="ct-1"))
            code, said = run(HEPALERT, "--json", "check-config", "--config", file)
            # Broker and folders of the example are not there; what is read is read.
            self.assertNotEqual(code, 6, said)
            file.write_text(self.rendered(hepalert_device="CT 1"))
            self.assertEqual(run(HEPALERT, "--json", "check-config", "--config", file)[0], 6)


class Apt(unittest.TestCase):
    def setUp(self):
        for program in ("dpkg-scanpackages", "gpg", "apt-get"):
            if not shutil.which(program) and os.environ.get("CI") != "true":
                self.skipTest(f"{program} is not installed")
        folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.addCleanup(folder.cleanup)
        self.here = Path(folder.name)
        # apt reads as another user.
        self.here.chmod(0o755)
        (self.here / "gnupg").mkdir(mode=0o700)
        self.environment = {**os.environ, "GNUPGHOME": str(self.here / "gnupg")}
        self.done("gpg", "--batch", "--passphrase", "", "--quick-gen-key", "packages@example.org", "ed25519", "sign", "1d")

    def done(self, *words):
        code, said = run(*words, env=self.environment, cwd=self.here)
        self.assertEqual(code, 0, said)
        return said

    def package(self, version):
        inside = self.here / f"inside-{version}"
        (inside / "DEBIAN").mkdir(parents=True)
        (inside / "DEBIAN/control").write_text(
            f"Package: hepalert\nVersion: {version}\nArchitecture: amd64\nMaintainer: x <x@example.org>\nDescription: a test\n"
        )
        file = self.here / f"hepalert_{version}_amd64.deb"
        self.done("dpkg-deb", "--build", inside, file)
        return file

    def apt(self, *words):
        root = self.here / "apt"
        for name in ("lists/partial", "cache/archives/partial"):
            (root / name).mkdir(parents=True, exist_ok=True)
        (root / "sources.list").write_text(
            f"deb [arch=amd64 signed-by={self.here}/site/hepalert-archive-key.asc] file:{self.here}/site stable main\n"
        )
        options = {
            "Dir::Etc::SourceList": root / "sources.list", "Dir::Etc::SourceParts": "-", "Dir::State::Lists": root / "lists",
            "Dir::Cache": root / "cache", "Dir::State::Status": "/dev/null", "APT::Architecture": "amd64",
            "APT::Architectures": "amd64", "APT::Sandbox::User": "root", "Dir::Etc::Preferences": "-",
            "Dir::Etc::PreferencesParts": "-",
        }
        return run("apt-get", *[f"-o{key}={value}" for key, value in options.items()], *words, cwd=self.here)

    def test_apt_takes_a_package_from_it_and_nothing_that_was_changed(self):
        make = EXAMPLES / "apt/make-repository"
        self.done(make, "site", "packages@example.org", self.package("0.1.0-1"))
        code, said = self.apt("update")
        self.assertEqual(code, 0, said)
        code, said = self.apt("download", "hepalert")
        self.assertEqual(code, 0, said)
        # A newer one comes, the older stays.
        self.done(make, "site", "packages@example.org", self.package("0.2.0-1"))
        self.assertEqual(self.apt("update")[0], 0)
        _, said = self.apt("-s", "install", "hepalert")
        self.assertIn("hepalert (0.2.0-1", said)
        _, said = self.apt("-s", "install", "hepalert=0.1.0-1")
        self.assertIn("hepalert (0.1.0-1", said)
        # A list that somebody changed is not believed.
        for name in ("Packages", "Packages.gz"):
            path = self.here / "site/dists/stable/main/binary-amd64" / name
            path.unlink()
        path.with_suffix("").write_text("Package: hepalert\nVersion: 9\n")
        shutil.rmtree(self.here / "apt/lists")
        code, said = self.apt("update")
        self.assertNotEqual(code, 0, said)


class Kubernetes(unittest.TestCase):
    FILE = EXAMPLES / "kubernetes/archive-job.yaml"

    def test_the_manifest_is_one(self):
        code, said = run(BIN / "kubernetes-validate", "--strict", "--kubernetes-version", "1.33", self.FILE)
        self.assertEqual(code, 0, said)

    def test_every_index_has_its_shard_and_every_mount_its_volume(self):
        job = yaml.safe_load(self.FILE.read_text())["spec"]
        pod = job["template"]["spec"]
        container = pod["containers"][0]
        self.assertIn(f'"$((JOB_COMPLETION_INDEX + 1))/{job["completions"]}"', container["args"][0])
        mounts = {one["name"] for one in container["volumeMounts"]}
        self.assertEqual(mounts, {one["name"] for one in pod["volumes"]})
        self.assertEqual(job["podFailurePolicy"]["rules"][1]["onExitCodes"]["values"], [2, 3, 4])

    @unittest.skipUnless(HEPALERT, "HEPALERT names no program")
    def test_the_commands_of_job_and_script_are_commands(self):
        line = yaml.safe_load(self.FILE.read_text())["spec"]["template"]["spec"]["containers"][0]["args"][0]
        line = line.replace("exec hepalert", HEPALERT)
        code, said = run("/bin/sh", "-c", line, env={**os.environ, "JOB_COMPLETION_INDEX": "0"})
        # Its list is not here: refused by name, so the words were understood.
        self.assertEqual((code, "archive_list_missing" in said or "no engine" in said or "engine" in said), (code, True), said)
        self.assertIn(code, (3, 4))


if __name__ == "__main__":
    unittest.main()
