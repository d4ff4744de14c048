//! The example configuration: parsed, complete, and true to the defaults.
//!
//! Touches: files.
//! Change here: with `host/src/config.rs`.

use std::path::Path;

use changebus::config::{Config, Policy, Sandbox, default_variants};

fn example() -> (String, Config) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../changebus.example.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let config = Config::parse(&text, &path).unwrap_or_else(|e| panic!("{e}"));
    (text, config)
}

#[test]
fn the_example_shows_the_defaults() {
    let (_, example) = example();
    let defaults = Config::default();
    assert_eq!(example.host, defaults.host);
    assert_eq!(example.bus, defaults.bus);
    assert_eq!(example.watch, defaults.watch);
    assert_eq!(example.claude, defaults.claude);
    assert_eq!(example.plugins, defaults.plugins);
    let project = &example.projects["billing"];
    assert_eq!(project.variants, default_variants());
    let shown = Policy {
        scorer_config: project.policy.scorer_config.clone(),
        protected_paths: project.policy.protected_paths.clone(),
        ..Policy::default()
    };
    assert_eq!(project.policy, shown);
    let shown = Sandbox {
        read: project.sandbox.read.clone(),
        ..Sandbox::default()
    };
    assert_eq!(project.sandbox, shown);
}

#[test]
fn the_example_names_every_key() {
    let (text, example) = example();
    let value = serde_json::to_value(&example).expect("a configuration can be written");
    let mut missing = vec![];
    for table in ["host", "bus", "watch", "claude", "plugins"] {
        let keys = value[table].as_object().expect("a table");
        missing.extend(
            keys.keys()
                .filter(|k| {
                    !text.contains(&format!("{k} =")) && !text.contains(&format!("[{table}.{k}"))
                })
                .cloned(),
        );
    }
    for keys in [
        &value["projects"]["billing"],
        &value["projects"]["billing"]["policy"],
        &value["projects"]["billing"]["sandbox"],
    ] {
        let keys = keys.as_object().expect("a table");
        missing.extend(
            keys.keys()
                .filter(|k| {
                    !text.contains(&format!("{k} =")) && !text.contains(&format!("billing.{k}]"))
                })
                .cloned(),
        );
    }
    assert!(
        missing.is_empty(),
        "changebus.example.toml does not show {missing:?}"
    );
}

/// Each of these is refused with a message that names the place and what to do.
#[test]
fn a_bad_configuration_is_refused_by_name() {
    let project = "[projects.app]\nrepo = \"x\"\ntest = \"true\"\n";
    let cases = [
        ("[host]\nstat = \"/x\"\n".to_owned(), "stat"),
        ("[host]\ntrials_at_once = 0\n".into(), "host.trials_at_once"),
        (
            project.replace("projects.app", "projects.App"),
            "projects.App",
        ),
        (project.replace("\"true\"", "\" \""), "projects.app.test"),
        (
            format!("{project}[projects.app.policy]\nmerge_threshold = 101.0\n"),
            "policy.merge_threshold",
        ),
        (
            format!("{project}ignore_paths = [\"a[\"]\n"),
            "ignore_paths",
        ),
        (
            format!("{project}sandbox.read = [\"jdk\"]\n"),
            "sandbox.read = jdk: name it from the root",
        ),
        (
            format!("{project}sandbox.tmp_mib = 0\n"),
            "sandbox.tmp_mib = 0: must be at least 1",
        ),
        (
            format!(
                "{project}[[projects.app.variants]]\nname = \"A\"\nstrategy = \"x\"\n[[projects.app.variants]]\nname = \"A\"\nstrategy = \"y\"\n"
            ),
            "variants",
        ),
        (
            format!("{project}[projects.app.tools]\n\"Black!\" = \"black .\"\n"),
            "projects.app.tools.Black!",
        ),
        (
            format!("{project}[projects.app.tools]\nformat = \" \"\n"),
            "projects.app.tools.format",
        ),
        ("[projects.app]\nrepo = \"x\"\n".into(), "test"),
        (
            "[forges.home]\nkind = \"forgejo\"\ntoken = { env = \"T\" }\n".into(),
            "forges.home.url",
        ),
        (
            "[forges.home]\nkind = \"github\"\nurl = \"ftp://x\"\ntoken = { env = \"T\" }\n".into(),
            "forges.home.url = ftp://x: must be an address",
        ),
        (
            "[forges.humanrail]\nkind = \"github\"\ntoken = { env = \"T\" }\n".into(),
            "forges.humanrail",
        ),
        (
            format!("{project}forge = {{ name = \"home\", repo = \"a/b\" }}\n"),
            "projects.app.forge.name = home: there is no such forge",
        ),
        (
            format!(
                "{project}forge = {{ name = \"home\", repo = \"a/../b\" }}\n[forges.home]\nkind = \"github\"\n\
                 token = {{ env = \"T\" }}\n"
            ),
            "projects.app.forge.repo = a/../b: write it as owner/name",
        ),
        ("[plugins]\nallow = [\"gpu\"]\n".into(), "gpu"),
        (
            "[plugins]\nallow = [\"llm\"]\n[plugins.allow_for]\nx = [\"probe\"]\n".into(),
            "plugins.allow_for.x",
        ),
        (
            "[plugins.limits]\nhost_calls = 0\n".into(),
            "plugins.limits.host_calls",
        ),
        (
            "[plugins.limits]\nmemory_mib = 5000\n".into(),
            "plugins.limits.memory_mib",
        ),
    ];
    for (text, named) in cases {
        let refused = Config::parse(&text, Path::new("the-file.toml"))
            .expect_err(&text)
            .to_string();
        assert!(
            refused.contains("the-file.toml") && refused.contains(named),
            "{named}: {refused}"
        );
    }
}

#[test]
fn one_command_may_hold_half_of_this_machines_memory_at_most() {
    let told = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total = told.lines().find_map(|line| {
        let kib = line.strip_prefix("MemTotal:")?.strip_suffix(" kB")?;
        kib.trim().parse::<u32>().ok()
    });
    let half = total.unwrap() / 1024 / 2;
    let most = Sandbox::default().total_memory_mib;
    assert!(most <= half.max(256) && most <= 8192, "{most} of {half}");
}
