//! What each command does. 0: all is well, 1: problems were found, 2: the command line is wrong.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::CommandFactory;
use polygate_control::{
    Builder, Built, Mode, Overrides, Report, ServeOptions, Source, explain, serve, upgrade,
};
use polygate_pipeline::World;

use crate::arguments::{Arguments, Colour, Command, OutputFormat};
use crate::{print, scaffold};

const PROBLEMS: u8 = 1;
const USAGE: u8 = 2;

/// What a command ends with when it does not end well: the exit code and one line, if it has not been said.
struct Ended(u8, Option<String>);

impl Ended {
    fn problem(message: impl ToString) -> Self {
        Self(PROBLEMS, Some(message.to_string()))
    }

    fn usage(message: impl ToString) -> Self {
        Self(USAGE, Some(message.to_string()))
    }
}

/// The worlds of this build.
fn worlds() -> Vec<Arc<dyn World>> {
    vec![Arc::new(polygate_world_zuplo::ZuploWorld::new())]
}

/// Runs a command.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let colour = arguments.color;
    let ended = match arguments.command {
        Command::Dev { dir, serving } => start(Mode::Dev, &dir, serving.overrides(), colour),
        Command::Run { source, serving, upgrade_socket, check_only } => {
            let upgrade_socket = upgrade_socket.map(|path| std::path::absolute(&path).unwrap_or(path));
            let overrides = Overrides { upgrade_socket, ..serving.overrides() };
            if check_only {
                check(&source, overrides, OutputFormat::Text, colour)
            } else {
                start(Mode::Run, &source, overrides, colour)
            }
        }
        Command::Upgrade { socket } => upgrade(&socket).map_err(Ended::problem),
        Command::Check { source, format } => check(&source, Overrides::default(), format.format, colour),
        Command::Explain { source, method, url, format } => {
            explained(&source, &method, &url, format.format, colour)
        }
        Command::New { name } => scaffold::make(&name).map(|text| print::out(&text)).map_err(Ended::problem),
        Command::Schema { name, out } => schema(name.as_deref(), out.as_deref()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "polygate", &mut script);
            print::out(&String::from_utf8_lossy(&script));
            Ok(())
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Ended(code, message)) => {
            if let Some(message) = message {
                print::error(colour, &message);
            }
            ExitCode::from(code)
        }
    }
}

fn find(path: &Path) -> Result<Source, Ended> {
    Source::find(path).map_err(Ended::problem)
}

fn start(mode: Mode, path: &Path, overrides: Overrides, colour: Colour) -> Result<(), Ended> {
    let options = ServeOptions {
        mode,
        source: find(path)?,
        overrides,
        worlds: worlds(),
        paint: print::paint(colour),
        version: env!("CARGO_PKG_VERSION"),
        give_back: crate::allocator::give_back,
    };
    let root = options.source.root.clone();
    serve(options).map_err(|error| match error {
        polygate_control::ServeError::Refused(diagnostics) => {
            print::err(&Report::new(&root, &diagnostics).text(print::paint_err(colour)));
            Ended(PROBLEMS, None)
        }
        polygate_control::ServeError::Failed(message) => Ended::problem(message),
    })
}

fn check(path: &Path, overrides: Overrides, format: OutputFormat, colour: Colour) -> Result<(), Ended> {
    let source = find(path)?;
    let Built { diagnostics, .. } = Builder::new(source.root.clone(), worlds(), overrides).build();
    let report = Report::new(&source.root, &diagnostics);
    print::out(&match format {
        OutputFormat::Json => format!("{:#}\n", report.json()),
        OutputFormat::Text if diagnostics.is_empty() => "no problems\n".to_owned(),
        OutputFormat::Text => report.text(print::paint(colour)),
    });
    if report.errors() > 0 { Err(Ended(PROBLEMS, None)) } else { Ok(()) }
}

fn explained(
    path: &Path,
    method: &str,
    url: &str,
    format: OutputFormat,
    colour: Colour,
) -> Result<(), Ended> {
    let source = find(path)?;
    let builder = Builder::new(source.root.clone(), worlds(), Overrides::default());
    let (plan, diagnostics) = builder.plan();
    let Some(plan) = plan else {
        print::err(&Report::new(&source.root, &diagnostics).text(print::paint_err(colour)));
        return Err(Ended(PROBLEMS, None));
    };
    let explanation = explain(&plan, method, url).map_err(Ended::usage)?;
    print::out(&match format {
        OutputFormat::Json => {
            let json = serde_json::to_string_pretty(&explanation).map_err(Ended::problem)?;
            format!("{json}\n")
        }
        OutputFormat::Text => explanation.text(print::paint(colour)),
    });
    if explanation.route.is_none() { Err(Ended(PROBLEMS, None)) } else { Ok(()) }
}

/// What the names of the schemas' files end with.
const SCHEMA_FILE: &str = ".schema.json";

fn schema(name: Option<&str>, out: Option<&Path>) -> Result<(), Ended> {
    let schemas = polygate_frontend_native::schemas();
    if let Some(folder) = out {
        let failed = |error: std::io::Error| {
            Ended::problem(format!("{} cannot be written: {error}", folder.display()))
        };
        std::fs::create_dir_all(folder).map_err(failed)?;
        for (file, schema) in &schemas {
            std::fs::write(folder.join(file), format!("{schema:#}\n")).map_err(failed)?;
        }
        return Ok(());
    }
    let names: Vec<&str> = schemas.iter().map(|(file, _)| file.trim_end_matches(SCHEMA_FILE)).collect();
    match name {
        None => print::out(&format!("{}\n", names.join("\n"))),
        Some(name) => match names.iter().position(|known| *known == name.trim_end_matches(SCHEMA_FILE)) {
            Some(index) => print::out(&format!("{:#}\n", schemas[index].1)),
            None => {
                let message = format!("there is no schema {name:?}; there are {}", names.join(", "));
                return Err(Ended::usage(message));
            }
        },
    }
    Ok(())
}
