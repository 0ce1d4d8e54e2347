//! `cargo xtask demo`: the story of the product in one run, on loopback, with throw-away keys.
//!
//! Invariant: every line of it is a command that a user could type; each answer is held against what it should be, so that the
//! demonstration fails where the product does. Leaves nothing running, and nothing on disk unless asked to.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::build;
use crate::demo_env::DemoEnv;
use crate::run::{Error, Result, Scratch, output, root, run_ok, step};

/// Runs the story; in `keep` if a directory is given.
pub fn run(keep: Option<&str>) -> Result {
    let built = build::shown()?;
    let scratch = if keep.is_none() { Some(Scratch::new("demo")?) } else { None };
    let home = match (&scratch, keep) {
        (Some(scratch), _) => scratch.0.clone(),
        (None, directory) => std::env::current_dir()?.join(directory.unwrap_or_default()),
    };
    if home.join("portcullis.toml").exists() {
        return Err(Error(format!(
            "`{}` holds a demonstration already\nhint: give a new directory",
            home.display()
        )));
    }
    fs::create_dir_all(&home)?;
    let env = DemoEnv::new(home, &built);
    env.set(include_str!("../demo/release.toml"), include_str!("../demo/portcullis.toml"))?;
    env.play()?;
    let portcullis = built.portcullis.display();
    match keep {
        Some(directory) => println!(
            "\nAll of it is in `{directory}`. Go on with\n  {portcullis} serve --config {directory}/portcullis.toml\n  {portcullis} audit show --log {directory}/audit/log --vkey {directory}/log.vkey --sealing-key {directory}/keys/sealing.key"
        ),
        None => println!(
            "\nNothing was left behind; `cargo xtask demo --keep DIR` leaves it all in DIR."
        ),
    }
    Ok(())
}

impl DemoEnv {
    /// Serves, calls, shows, verifies.
    fn play(&self) -> Result {
        step("serving on loopback");
        let server = self.serve_host(self.command("serve --config portcullis.toml"))?;
        let at = server.address.clone();

        step("a pharmacist signs in: nothing to object to");
        self.send(&at, "token", "sign-in-clean.json", &[], r#""debugContext""#)?;
        step("somebody who may both prescribe and dispense signs in: a conflict of duties");
        self.send(&at, "token", "sign-in-conflict.json", &[], r#""error""#)?;
        step("a contractor, three weeks before the end of the contract");
        self.send(
            &at,
            "token",
            "sign-in-contractor.json",
            &[("end", now() + 21 * DAY)],
            r#""debugContext""#,
        )?;
        step("a contractor, twenty minutes before the end: the token ends with the contract");
        self.send(
            &at,
            "token",
            "sign-in-contractor.json",
            &[("end", now() + 20 * 60)],
            "/token/lifetime/expiration",
        )?;
        step("a contractor, two minutes before the end: less than a token can say, so none");
        self.send(
            &at,
            "token",
            "sign-in-contractor.json",
            &[("end", now() + 2 * 60)],
            r#""error""#,
        )?;
        step("a contractor, after the end");
        self.send(&at, "token", "sign-in-contractor.json", &[("end", now() - DAY)], r#""error""#)?;
        step("an import of a new contractor: the profile learns when access ends");
        self.send(&at, "import", "import.json", &[("end", now() + 90 * DAY)], "accessEnd")?;

        step(
            "a wrong secret: Okta would go on after an HTTP error, so the closed hook says what \
             stops it",
        );
        fs::write(self.home.join("secrets/wrong"), "not-the-secret-at-all\n")?;
        run_ok(Command::new("chmod").arg("600").arg(self.home.join("secrets/wrong")))?;
        self.send_with(&at, "token", "secrets/wrong", "sign-in-clean.json", &[], r#""error""#)?;

        step("an unsigned plugin is dropped in: refused, and the last good release goes on");
        fs::write(self.home.join("release/plugins/dropped.wasm"), b"\0asm\x0d\0\x01\0")?;
        self.until("plugin.refused")?;
        self.send(&at, "token", "sign-in-clean.json", &[], r#""debugContext""#)?;

        step("the server stops; calls in progress would end first");
        server.stop()?;

        step("the log verifies: every tile, every record, the signed checkpoint");
        self.run("audit verify --log audit/log --vkey log.vkey")?;
        step("one record, opened with the sealing key");
        let conflict = self.first_denied()?;
        self.run(&format!(
            "audit show --log audit/log --vkey log.vkey --sealing-key keys/sealing.key --index {conflict}"
        ))?;
        step("its proof, which stands without this host");
        self.run(&format!("audit prove --log audit/log --vkey log.vkey --index {conflict} --output record.tlog-proof"))?;
        print!("{}", fs::read_to_string(self.home.join("record.tlog-proof"))?);
        Ok(())
    }

    fn send(
        &self,
        address: &str,
        hook: &str,
        payload: &str,
        times: &[(&str, u64)],
        expected: &str,
    ) -> Result {
        self.send_with(address, hook, &format!("secrets/{hook}"), payload, times, expected)
    }

    /// Posts a payload as the platform would, with a fresh event id, and holds the answer against what is expected.
    fn send_with(
        &self,
        address: &str,
        hook: &str,
        secret: &str,
        payload: &str,
        times: &[(&str, u64)],
        expected: &str,
    ) -> Result {
        let mut text = fs::read_to_string(root().join("xtask/demo").join(payload))?;
        text = text.replace("{event}", &format!("demo-{}", nanos()));
        for (name, at) in times.iter().chain(&[("training", now() + 200 * DAY)]) {
            text = text.replace(&format!("{{{name}}}"), &rfc3339(*at)?);
        }
        let folder = self.home.join("sent");
        fs::create_dir_all(&folder)?;
        let sent = format!("sent/{payload}");
        fs::write(self.home.join(&sent), text)?;
        let url = format!("http://{address}/okta/{hook}");
        let answer = output(
            &mut self
                .command(&format!("hook send --url {url} --secret-file {secret} --payload {sent}")),
        )?;
        print!("{answer}");
        if answer.contains(expected) {
            return Ok(());
        }
        Err(Error(format!("the answer was to contain {expected}")))
    }

    /// Waits until the log holds a record of this type.
    fn until(&self, kind: &str) -> Result {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let mut show = Command::new(&self.portcullis);
            show.current_dir(&self.home).args([
                "audit",
                "show",
                "--log",
                "audit/log",
                "--vkey",
                "log.vkey",
                "--type",
                kind,
            ]);
            let shown = output(&mut show)?;
            if shown.contains(kind) {
                print!("{shown}");
                return Ok(());
            }
            thread::sleep(Duration::from_millis(200));
        }
        Err(Error(format!("no {kind} record within {} seconds", PATIENCE.as_secs())))
    }

    /// The index of the first decision that denied.
    fn first_denied(&self) -> Result<String> {
        let mut show = Command::new(&self.portcullis);
        show.current_dir(&self.home).args([
            "audit",
            "show",
            "--log",
            "audit/log",
            "--vkey",
            "log.vkey",
            "--type",
            "hook.decision",
            "--format",
            "json",
        ]);
        let shown = output(&mut show)?;
        let denied = shown.lines().find(|line| line.contains(r#""verdict":"deny""#));
        let index = denied
            .and_then(|line| line.split_once(r#""seq":"#))
            .map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect());
        index.ok_or_else(|| Error("the log holds no denial".to_owned()))
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn nanos() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

fn rfc3339(seconds: u64) -> Result<String> {
    Ok(output(Command::new("date").args([
        "-u",
        "-d",
        &format!("@{seconds}"),
        "+%Y-%m-%dT%H:%M:%SZ",
    ]))?
    .trim()
    .to_owned())
}

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);
const DAY: u64 = 86_400;
