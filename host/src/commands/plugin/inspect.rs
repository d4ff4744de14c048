//! `changebus plugin inspect`: what the host makes of a file, and why it would not load it, if so.
//!
//! Touches: files, wasm, terminal.
//! Change here: when the host knows something more about a file. It judges by the daemon's own activation.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::opened::Alone;
use super::source;
use crate::commands::{ExitCode, plugin_setup};
use crate::config::Config;
use crate::outside::wasm::{LoadProblem, PluginInfo, Plugins, listed};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A component, or the plugin's crate, which is built first.
    #[arg(default_value = ".")]
    plugin: PathBuf,
    #[arg(long)]
    json: bool,
}

/// Fields may be added, never renamed; one of the two last ones is null.
#[derive(Debug, Serialize)]
struct Inspected {
    loads: bool,
    plugin: Option<PluginInfo>,
    problem: Option<LoadProblem>,
}

pub async fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let component = source::component(&args.plugin)?;
    // What cargo built does not lie under the plugin's name.
    let alone = component
        .krate
        .as_ref()
        .map(|_| Alone::lay(&component))
        .transpose()?;
    let file = alone
        .as_ref()
        .map_or(component.file.clone(), |alone| alone.file.clone());
    let examined = examine(config, file).await?;
    let shown = |path: &mut PathBuf| *path = component.file.clone();
    let inspected = match examined {
        Ok(mut plugin) => {
            shown(&mut plugin.path);
            Inspected {
                loads: true,
                plugin: Some(plugin),
                problem: None,
            }
        }
        Err(mut problem) => {
            shown(&mut problem.path);
            Inspected {
                loads: false,
                plugin: None,
                problem: Some(problem),
            }
        }
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&inspected)?);
    } else {
        print!("{}", told(&inspected));
    }
    Ok(match inspected.loads {
        true => ExitCode::Ok,
        false => ExitCode::Findings,
    })
}

/// Takes the file all the way that the daemon would take it, under this configuration.
pub async fn examine(
    config: &Config,
    file: PathBuf,
) -> anyhow::Result<Result<PluginInfo, LoadProblem>> {
    let mut setup = plugin_setup(config);
    setup.dirs = vec![];
    let file = std::path::absolute(file)?;
    let examined = tokio::task::spawn_blocking(move || {
        Plugins::open(setup).map(|plugins| plugins.examine(&file))
    });
    Ok(examined.await??)
}

fn told(inspected: &Inspected) -> String {
    match (&inspected.plugin, &inspected.problem) {
        (Some(plugin), _) => of_plugin(plugin),
        (None, Some(problem)) => of_problem(problem),
        (None, None) => String::new(),
    }
}

fn of_problem(problem: &LoadProblem) -> String {
    format!(
        "{} would not be loaded: it is refused at the step `{}`\n    it {}\n",
        problem.path.display(),
        name_of(&problem.step),
        plain(&problem.why)
    )
}

/// A step as it is written in JSON.
pub fn name_of(step: &impl Serialize) -> String {
    let name = serde_json::to_value(step).ok();
    name.and_then(|n| n.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn of_plugin(plugin: &PluginInfo) -> String {
    let mut rows: Vec<(&str, String)> = vec![
        ("kind", plugin.kind.to_string()),
        (
            "file",
            format!("{}, {} bytes", plugin.path.display(), plugin.size),
        ),
        ("digest", format!("sha256:{}", plugin.digest)),
        ("interface", plugin.interface.clone()),
    ];
    if let Some(manifest) = &plugin.manifest {
        let sdk = match manifest.sdk.as_str() {
            "" => "made without the SDK".to_owned(),
            sdk => format!("SDK {sdk}"),
        };
        rows.push(("version", format!("{} ({sdk})", manifest.version)));
        rows.push(("about", manifest.about.clone()));
        rows.push(("asks for", listed(&manifest.asks)));
    } else {
        rows.push(("manifest", "none, so it asks for nothing".to_owned()));
    }
    rows.push(("granted", listed(&plugin.granted)));
    if !plugin.withheld.is_empty() {
        let withheld = listed(&plugin.withheld);
        rows.push((
            "withheld",
            format!("{withheld}; allow it in [plugins] if it may"),
        ));
    }
    let imports = plugin.imports.iter().map(|i| plain(i)).collect::<Vec<_>>();
    rows.push(("imports", or_nothing(imports.join("\n"))));
    rows.push(("config", settings(plugin)));
    let mut text = format!("{}: it would be loaded\n", plain(&plugin.name));
    for (what, value) in rows {
        for (index, line) in value.lines().enumerate() {
            let what = if index == 0 { what } else { "" };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "    {what:10} {}", plain(line));
        }
    }
    text
}

fn or_nothing(list: String) -> String {
    if list.is_empty() {
        "nothing".to_owned()
    } else {
        list
    }
}

/// The keys of the configuration, one a line.
fn settings(plugin: &PluginInfo) -> String {
    let schema = plugin.manifest.as_ref().and_then(|m| m.config.as_ref());
    let Some(keys) = schema.and_then(|s| s["properties"].as_object()) else {
        return "nothing is said of it".to_owned();
    };
    let needed = schema
        .and_then(|s| s["required"].as_array())
        .cloned()
        .unwrap_or_default();
    let lines = keys.iter().map(|(key, value)| {
        let about = value["description"].as_str().unwrap_or_default();
        let must = if needed.iter().any(|n| n == key) {
            ", needed"
        } else {
            ""
        };
        format!("{key} ({}{must}) {about}", kind_of(value))
            .trim_end()
            .to_owned()
    });
    or_nothing(lines.collect::<Vec<_>>().join("\n"))
}

fn kind_of(schema: &Value) -> String {
    let kind = match (&schema["type"], schema["enum"].as_array()) {
        (_, Some(values)) => {
            let values = values.iter().filter_map(Value::as_str);
            values.collect::<Vec<_>>().join(" | ")
        }
        (Value::String(kind), _) => kind.clone(),
        (Value::Array(kinds), _) => {
            let kinds = kinds
                .iter()
                .filter_map(Value::as_str)
                .filter(|k| *k != "null");
            kinds.collect::<Vec<_>>().join(" or ")
        }
        _ => "any".to_owned(),
    };
    // Beyond this a bound is that of the type, and nothing to tell.
    const TELLING: f64 = (1u64 << 53) as f64;
    let bound = |name: &str| schema[name].as_f64().filter(|bound| bound.abs() < TELLING);
    match (bound("minimum"), bound("maximum")) {
        (Some(least), Some(most)) => format!("{kind} {least} to {most}"),
        (Some(least), None) => format!("{kind} from {least}"),
        (None, Some(most)) => format!("{kind} to {most}"),
        (None, None) => kind,
    }
}

/// Somebody else's words must not drive the terminal.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// A path for a sentence.
pub fn shown(path: &Path) -> String {
    plain(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_of_the_configuration_is_told_with_its_bounds() {
        let schema = json!({"type": ["integer", "null"], "minimum": 1, "maximum": 20});
        assert_eq!(kind_of(&schema), "integer 1 to 20");
        let schema = json!({"type": "integer", "minimum": 0, "maximum": u64::MAX});
        assert_eq!(kind_of(&schema), "integer from 0");
        assert_eq!(kind_of(&json!({"enum": ["low", "high"]})), "low | high");
        assert_eq!(kind_of(&json!({})), "any");
    }

    #[test]
    fn what_a_file_says_of_itself_cannot_play_with_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mb\r"), "a\u{fffd}[31mb\u{fffd}");
    }
}
