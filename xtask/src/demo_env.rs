//! The deployment that the demonstration and the benchmarks serve: throw-away keys, signed plugins,
//! a signed release, a configuration and a server.
//!
//! Invariant: every step is a command that a user could type, and is shown as it is run.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::build::Built;
use crate::run::{Error, Result, Running, root, run_ok, step};

/// A directory with all that serving needs.
pub struct DemoEnv {
    /// The directory.
    pub home: PathBuf,
    /// The `portcullis` binary.
    pub portcullis: PathBuf,
    plugins: PathBuf,
}

impl DemoEnv {
    /// Nothing yet, in a directory that is there.
    pub fn new(home: PathBuf, built: &Built) -> Self {
        Self { home, portcullis: built.portcullis.clone(), plugins: built.plugins.clone() }
    }

    /// Keys, trust root, signed plugins, signed release, configuration.
    pub fn set(&self, release: &str, configuration: &str) -> Result {
        step("throw-away keys: one a role");
        for folder in ["keys", "secrets", "release/plugins", "release/settings"] {
            fs::create_dir_all(self.home.join(folder))?;
        }
        for role in ["root", "publisher", "release"] {
            self.run(&format!(
                "keys generate --name demo.example/{role} --output keys/{role}.key --vkey keys/{role}.vkey"
            ))?;
        }
        self.run(&format!("keys generate --name {ORIGIN} --output keys/log.key --vkey log.vkey"))?;
        for key in ["keys/sealing.key", "keys/pseudonym.key"] {
            self.run(&format!("keys generate --kind symmetric --output {key}"))?;
        }
        for secret in ["secrets/token", "secrets/import"] {
            self.run(&format!("keys generate --kind secret --output {secret}"))?;
        }

        step("the trust root says who may sign what; the root key signs it");
        let vkey = |file: &str| {
            Ok::<_, Error>(fs::read_to_string(self.home.join(file))?.trim().to_owned())
        };
        let source = ROOT
            .replace("{root}", &vkey("keys/root.vkey")?)
            .replace("{publisher}", &vkey("keys/publisher.vkey")?)
            .replace("{release}", &vkey("keys/release.vkey")?)
            .replace("{log}", &vkey("log.vkey")?);
        fs::write(self.home.join("trust-root.toml"), source)?;
        self.run(
            "root sign --source trust-root.toml --key keys/root.key --output trust-root.json",
        )?;

        step("the publisher signs two plugins");
        for name in ["sod", "contractor"] {
            let plugin = format!("release/plugins/{name}");
            let (library, settings) =
                (root().join("plugins").join(name), format!("{name}.settings.json"));
            fs::copy(
                self.plugins.join(format!("{name}.wasm")),
                self.home.join(format!("{plugin}.wasm")),
            )?;
            // The schema of its settings lies beside a manifest's source.
            fs::create_dir_all(self.home.join(name))?;
            for file in ["manifest.toml", "settings.schema.json"] {
                fs::copy(library.join(file), self.home.join(name).join(file))?;
            }
            self.run(&format!(
                "plugin sign --source {name}/manifest.toml --component {plugin}.wasm --key keys/publisher.key --output {plugin}.manifest.json"
            ))?;
            let live = self.home.join(format!("release/settings/{name}.json"));
            fs::copy(root().join("xtask/demo").join(settings), live)?;
        }

        step("the release key signs which of them are live, with which settings, on which hook");
        fs::write(self.home.join("release.toml"), release)?;
        self.run(
            "release sign --source release.toml --root trust-root.json --key keys/release.key --output release/release.json",
        )?;

        fs::write(self.home.join("portcullis.toml"), configuration)?;
        step("check: everything that serving would do, short of listening");
        self.run("check --config portcullis.toml")
    }

    /// `portcullis` with what a user would type after it, shown.
    pub fn command(&self, line: &str) -> Command {
        println!("$ portcullis {line}");
        let mut command = Command::new(&self.portcullis);
        command.current_dir(&self.home).args(line.split_whitespace());
        command
    }

    /// Runs `portcullis` to its end; its failure is ours.
    pub fn run(&self, line: &str) -> Result {
        run_ok(&mut self.command(line))
    }

    /// Starts a command that serves, and reads from its first line where.
    pub fn serve(&self, command: Command) -> Result<Server> {
        Ok(self.start(command)?.0)
    }

    /// Starts a host, and waits until its admin listener, which its second line names, says that it
    /// is ready: until then every call gets its safe answer.
    pub fn serve_host(&self, command: Command) -> Result<Server> {
        let (server, mut lines) = self.start(command)?;
        let line =
            lines.next().ok_or_else(|| Error("the host names no admin listener".to_owned()))??;
        let admin = line.rsplit(' ').next().unwrap_or_default();
        let start = Instant::now();
        while !is_ready(admin) {
            if start.elapsed() > PATIENCE {
                return Err(Error(format!("the host is not ready: see http://{admin}/ready")));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    fn start(&self, mut command: Command) -> Result<(Server, Lines<BufReader<ChildStdout>>)> {
        let mut server = Running(command.stdout(Stdio::piped()).spawn()?);
        let printed =
            server.0.stdout.take().ok_or_else(|| Error("the server has no output".to_owned()))?;
        let mut lines = BufReader::new(printed).lines();
        // The first line says where; serving logs to standard error.
        let line = lines.next().ok_or_else(|| Error("the server ended at once".to_owned()))??;
        let address = line.rsplit(' ').next().unwrap_or_default().to_owned();
        println!("{line}");
        Ok((Server { process: server, address }, lines))
    }
}

/// Returns whether a host says at `/ready` that it is ready.
fn is_ready(admin: &str) -> bool {
    let mut answer = String::new();
    let asked = TcpStream::connect(admin).and_then(|mut socket| {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.write_all(
            format!("GET /ready HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n").as_bytes(),
        )?;
        socket.read_to_string(&mut answer)
    });
    asked.is_ok() && answer.starts_with("HTTP/1.1 200")
}

/// A server in operation: ended when dropped.
pub struct Server {
    /// The process.
    pub process: Running,
    /// Where it listens.
    pub address: String,
}

impl Server {
    /// Asks it to stop and sees that it does.
    pub fn stop(mut self) -> Result {
        run_ok(Command::new("sh").args([
            "-c",
            "kill -TERM \"$0\"",
            &self.process.0.id().to_string(),
        ]))?;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.process.0.try_wait()? {
                return if status.success() {
                    Ok(())
                } else {
                    Err(Error(format!("the server ended with {status}")))
                };
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(Error("the server did not stop".to_owned()))
    }
}

/// The log's origin: the name of its key.
const ORIGIN: &str = "demo.example/hooks/2026";
/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the trust root is signed from; the tests' is the same.
const ROOT: &str = include_str!("../../tests/support/trust-root.toml");
