//! Arguments, logging, exit code. The only place where errors of any kind become text for a person.
//!
//! Touches: terminal, clock.
//! Change here: when a command comes or goes; what it does is in `commands/`.

use std::io::IsTerminal;
use std::path::PathBuf;

use changebus::commands::{
    self, ExitCode, apps, check, compile, confine, demo, deps, drain, eval, events, fix, flakes,
    plugin, replay, review, run, show, stats, status, store,
};
use changebus::config::ConfigError;
use clap::Parser;

/// Sees a push that broke the tests, lets fix strategies compete, and delivers the winner.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Args)]
struct Settings {
    /// Configuration file; default: /etc/changebus/changebus.toml, or built-in settings.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// Where state is kept, instead of the configured place.
    #[arg(long, global = true)]
    state: Option<PathBuf>,
    /// Further directory with plugins; searched first.
    #[arg(long = "plugins", global = true)]
    plugins: Vec<PathBuf>,
    /// Log as JSON lines.
    #[arg(long, global = true)]
    log_json: bool,
}

#[derive(clap::Subcommand)]
enum Command {
    #[command(flatten)]
    Configured(Box<Verb>),
    /// For the daemon, which has plugins compiled apart from itself.
    #[command(name = compile::VERB, hide = true)]
    Compile(compile::Args),
    /// For the daemon, which runs tests in a sandbox: the step from outside.
    #[command(name = confine::ENTER_VERB, hide = true)]
    Enter,
    /// The step inside.
    #[command(name = confine::EXEC_VERB, hide = true)]
    Exec(confine::ExecArgs),
}

/// What wants a configuration.
#[derive(clap::Subcommand)]
enum Verb {
    /// Hold one tournament here and now on a local repository.
    Fix(Box<fix::Args>),
    /// Try strategies on cases whose hidden tests are known, and say who is better.
    Eval(Box<eval::Args>),
    /// The daemon: watch every configured project.
    Run,
    /// Break a real repository and watch it being healed; nothing to configure.
    Demo(demo::Args),
    /// Configuration and environment, with what to do about each finding.
    Check(check::Args),
    /// The story of a run.
    Show(show::Args),
    /// The event log.
    Events(events::Args),
    /// Decide a run again from its log, without any effect, and say where it comes out differently.
    Replay(replay::Args),
    /// Write, try, look into and install plugins.
    Plugin(plugin::Args),
    /// Every project at a glance.
    Status(status::Args),
    /// What runs came to: who wins, what lasts, what it costs.
    Stats(stats::Args),
    /// External applications, and what they said so far.
    Apps(apps::Args),
    /// What waits for people, and what they decide about it.
    Review(review::Args),
    /// Have this host take nothing new, and give back what it has.
    Drain(drain::Args),
    /// Tests that flipped in a project's last runs.
    Flakes(flakes::Args),
    /// What projects depend on, and what is newer.
    Deps(deps::Args),
    /// Look the event log over, copy it, or hand it on.
    Store(store::Args),
}

fn main() -> std::process::ExitCode {
    changebus::failpoint::arm();
    let cli = Cli::parse();
    // The steps into a sandbox become another program, and must do so before there is a second thread.
    let code = match cli.command {
        Command::Enter => confine::enter(),
        Command::Exec(args) => confine::exec(&args),
        Command::Compile(args) => compile::run(&args),
        Command::Configured(verb) => in_a_runtime(cli.settings, *verb),
    };
    std::process::ExitCode::from(code as u8)
}

fn in_a_runtime(settings: Settings, verb: Verb) -> ExitCode {
    log_to_stderr(&settings, &verb);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("changebus: the runtime cannot be started: {error}");
            return ExitCode::Failed;
        }
    };
    let done = runtime.block_on(perform(settings, verb));
    done.unwrap_or_else(|error| {
        eprintln!("changebus: {error:#}");
        let config = error.chain().any(|e| e.is::<ConfigError>());
        if config {
            ExitCode::Config
        } else {
            ExitCode::Failed
        }
    })
}

async fn perform(settings: Settings, verb: Verb) -> anyhow::Result<ExitCode> {
    let mut config = commands::config(settings.config.as_deref())?;
    if let Some(state) = settings.state {
        config.host.state = state;
    }
    config.host.plugins.splice(0..0, settings.plugins);
    match verb {
        Verb::Fix(args) => fix::run(config, *args).await,
        Verb::Eval(args) => eval::run(config, *args).await,
        Verb::Run => run::run(config).await,
        Verb::Check(args) => check::run(config, args).await,
        Verb::Show(args) => show::run(&config, &args).await,
        Verb::Events(args) => events::run(&config, &args).await,
        Verb::Replay(args) => replay::run(config, args).await,
        Verb::Drain(args) => drain::run(&config, &args),
        Verb::Flakes(args) => flakes::run(&config, &args).await,
        Verb::Deps(args) => deps::run(&config, &args).await,
        Verb::Apps(args) => apps::run(&config, &args).await,
        Verb::Review(args) => review::run(&config, args).await,
        Verb::Store(args) => store::run(&config, &args).await,
        Verb::Status(args) => status::run(&config, &args).await,
        Verb::Stats(args) => stats::run(&config, &args).await,
        Verb::Plugin(args) => plugin::run(config, args).await,
        Verb::Demo(args) => demo::run(config, args).await,
    }
}

/// `RUST_LOG` decides; without it the daemon tells its stages and the other commands only warnings.
fn log_to_stderr(settings: &Settings, verb: &Verb) {
    let usual = if matches!(verb, Verb::Run) {
        "changebus=info,warn"
    } else {
        "changebus=warn,error"
    };
    let filter =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| usual.into());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    if settings.log_json {
        log.json().init();
    } else {
        log.with_ansi(std::io::stderr().is_terminal()).init();
    }
}
