//! Deployments that speak other hook kinds than Okta's.

use crate::{Binding, SECRET, TestDeployment};

impl TestDeployment {
    /// A deployment with a hook `asked` of this kind besides the usual ones, and these bindings.
    /// `more` are further lines of the hook. The tests' own plugin reads these paths there besides
    /// what every call has, and may want these changes.
    pub fn speaking(
        kind: &str,
        path: &str,
        more: &str,
        (reads, changes): (&[&str], &[&str]),
        bindings: &[Binding],
    ) -> Self {
        let mut deployment = Self::build(&[]);
        deployment.sign_root(|source| {
            let source = source.replace(r#""okta.*""#, &format!(r#""okta.*", {AUTHORIZING}"#));
            source.replace(r#""reference", "waive"]"#, r#""reference", "search", "waive"]"#)
        });
        deployment.write_secret("secrets/asked", SECRET);
        let configuration = deployment.read("portcullis.toml");
        let hook = format!(
            "\n[[hook]]\nname = \"asked\"\nkind = \"{kind}\"\npath = \"{path}\"\ncaller = {{ secret_file = \"secrets/asked\" }}\n{more}\n"
        );
        deployment.write("portcullis.toml", configuration + &hook);
        let list =
            |words: &[&str]| words.iter().map(|word| format!("\"{word}\", ")).collect::<String>();
        let common =
            ["subject.id", "subject.entitlements", "action.id", "resource.id", "origin.ip"];
        let mut plugins: Vec<_> = bindings
            .iter()
            .map(Binding::plugin)
            .filter(|it| it.starts_with("misbehaving"))
            .collect();
        plugins.dedup();
        for plugin in plugins {
            deployment.sign_plugin(plugin, |source| {
                let source = with_list(&source, "hooks", &list(&[kind]));
                let source = with_list(&source, "reads", &(list(&common) + &list(reads)));
                let source = with_list(&source, "changes", &list(changes));
                with_list(
                    &source,
                    "effects",
                    &list(&["abstain", "allow", "step-up", "review", "deny"]),
                )
            });
        }
        deployment.release(bindings);
        deployment
    }
}

/// A manifest's source with another list under this name.
#[expect(clippy::panic, reason = "a manifest without that member is a failed test")]
pub fn with_list(source: &str, name: &str, list: &str) -> String {
    let begin = format!("\n{name} = [");
    let Some((before, rest)) = source.split_once(&begin) else {
        panic!("the manifest has no `{name}`")
    };
    let Some((_, after)) = rest.split_once(']') else { panic!("`{name}` has no end") };
    format!("{before}{begin}{list}]{after}")
}

/// The kinds that ask whether something may be.
const AUTHORIZING: &str = r#""authzen", "generic", "ping.*""#;
