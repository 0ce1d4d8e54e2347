//! Debian's `docker-registry`, on 127.0.0.1 with a folder of its own: the registry that we did not write.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::{MissingTool, Pair};

/// A registry; killed when dropped.
pub struct Registry {
    folder: TempDir,
    address: String,
    child: Option<Child>,
}

#[expect(clippy::unwrap_used, reason = "a registry that cannot be started is a failed test")]
impl Registry {
    /// Starts one that asks nobody who they are.
    ///
    /// # Errors
    /// There is none on this machine.
    pub fn start() -> Result<Self, MissingTool> {
        Self::start_with("", "")
    }

    /// Starts one that wants the name `ci` and the password [`PASSWORD`].
    ///
    /// # Errors
    /// There is none on this machine.
    pub fn with_password() -> Result<Self, MissingTool> {
        let auth = "auth: {htpasswd: {realm: here, path: FOLDER/htpasswd}}\n";
        Self::start_with("", auth)
    }

    /// Starts one over TLS.
    ///
    /// # Errors
    /// There is none on this machine.
    pub fn with_tls(pair: &Pair) -> Result<Self, MissingTool> {
        let tls = ", tls: {certificate: FOLDER/certificate.pem, key: FOLDER/key.pem}";
        let mut registry = Self::prepare(tls, "")?;
        fs::write(registry.folder.path().join("certificate.pem"), &pair.certificate).unwrap();
        fs::write(registry.folder.path().join("key.pem"), &pair.key).unwrap();
        registry.serve();
        Ok(registry)
    }

    fn start_with(http: &str, further: &str) -> Result<Self, MissingTool> {
        let mut registry = Self::prepare(http, further)?;
        registry.serve();
        Ok(registry)
    }

    fn prepare(http: &str, further: &str) -> Result<Self, MissingTool> {
        if Command::new("docker-registry").arg("--version").stdout(Stdio::null()).status().is_err()
        {
            return Err(MissingTool {
                name: "docker-registry",
                source: "Debian's `docker-registry`",
            });
        }
        let folder = TempDir::new().unwrap();
        let config = format!(
            "version: 0.1\nlog: {{level: info, formatter: text}}\nstorage:\n  filesystem: {{rootdirectory: FOLDER/data}}\n  delete: {{enabled: true}}\nhttp: {{addr: \"ADDRESS\"{http}}}\n{further}"
        );
        let config = config.replace("FOLDER", &folder.path().display().to_string());
        fs::write(folder.path().join("template.yml"), config).unwrap();
        fs::write(folder.path().join("htpasswd"), HTPASSWD).unwrap();
        Ok(Self { folder, address: "127.0.0.1:0".to_owned(), child: None })
    }

    /// Serves; after [`stop`](Self::stop) at the same place as before.
    pub fn serve(&mut self) {
        let config = self.folder.path().join("config.yml");
        let template = fs::read_to_string(self.folder.path().join("template.yml")).unwrap();
        fs::write(&config, template.replace("ADDRESS", &self.address)).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        let address = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "the registry did not come up:\n{said}");
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split(['"', ',', ' ']).next().unwrap_or_default().to_owned();
            }
            said.push_str(&line);
        };
        // Drained, so that it never waits for us.
        std::thread::spawn(move || drop(std::io::copy(&mut log, &mut std::io::sink())));
        self.address = address;
        self.child = Some(child);
    }

    /// Ends it; what it holds stays.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The file that holds a blob (`sha256:…`).
    pub fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.folder
            .path()
            .join("data/docker/registry/v2/blobs/sha256")
            .join(hex.get(..2).unwrap())
            .join(hex)
            .join("data")
    }

    /// The digest that a tag leads to.
    pub fn tag(&self, name: &str, tag: &str) -> String {
        let link = format!(
            "data/docker/registry/v2/repositories/{name}/_manifests/tags/{tag}/current/link"
        );
        fs::read_to_string(self.folder.path().join(link)).unwrap()
    }

    /// The document of that digest.
    pub fn document(&self, digest: &str) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.blob(digest)).unwrap()).unwrap()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The password of [`Registry::with_password`].
pub const PASSWORD: &str = "a-registry-password";
/// Its bcrypt.
const HTPASSWD: &str = "ci:$2b$05$abcdefghijklmnopqrstuuOsXG.OUq8x0f5GnY8XOQd8UGDQQcyDW\n";
