//! The command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use polygate_control::Overrides;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Yellow.on_default().bold())
    .usage(AnsiColor::Yellow.on_default().bold())
    .literal(AnsiColor::Green.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

/// An API gateway: it takes requests, runs your policies on them, and forwards them to your services.
///
/// A project is a folder: config/*.oas.json says which paths there are and where they go, config/policies.json which
/// policies there are, and modules/ holds the policies' code, in TypeScript or JavaScript.
#[derive(Debug, Parser)]
#[command(name = "polygate", version, styles = STYLES, max_term_width = 100, subcommand_required = true,
    arg_required_else_help = true, after_help = "\
Start here:
  polygate new shop            make a project in the folder shop
  polygate dev shop            serve it, and show every request; edit a file and the next request shows it
  curl -i localhost:8080/hello

Exit codes: 0 all is well, 1 problems were found, 2 the command line is wrong.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// When to colour what is printed; NO_COLOR turns colours off as well
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub(crate) color: Colour,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve a project while you work on it: reloads on every save, shows every request
    #[command(after_help = "\
Examples:
  polygate dev                    serve the project in this folder
  polygate dev shop               serve the project in the folder shop
  polygate dev shop --listen 3000

A change with errors in it is refused and shown; the last good version serves on. Each request is one line, with what
your policies log beneath it. http://127.0.0.1:8081/exchanges tells what each policy did to each request.")]
    Dev {
        /// The project's folder
        #[arg(default_value = ".", value_name = "DIR")]
        dir: PathBuf,
        #[command(flatten)]
        serving: Serving,
    },

    /// Serve a project in production: logs JSON lines, reloads on SIGHUP or POST /reload
    #[command(after_help = "\
Examples:
  polygate run shop
  polygate run shop --listen 0.0.0.0:8080 --admin off --workers 4
  polygate run shop --check-only && systemctl reload polygate

Standard output gets one JSON object a line: type \"access\" for each exchange, \"log\" for what policies say, \"gateway\"
for the gateway itself. SIGTERM lets running exchanges finish, a second one does not. SIGHUP reads the project again; a
change with errors in it is refused and the running version serves on.")]
    Run {
        /// The configuration: a project's folder
        #[arg(value_name = "SOURCE")]
        source: PathBuf,
        #[command(flatten)]
        serving: Serving,
        /// Unix socket at which a new process takes over from this one without losing a connection
        /// [default: polygate.toml, or none]
        #[arg(long, value_name = "PATH")]
        upgrade_socket: Option<PathBuf>,
        /// Do all that a start does before it listens, say what is wrong, and end with 0 or 1
        #[arg(long)]
        check_only: bool,
    },

    /// Replace a running process by a new version of the program, without losing a connection
    #[command(after_help = "\
Examples:
  polygate run shop --upgrade-socket /run/polygate/upgrade.sock &
  install -m 755 polygate-new /usr/local/bin/polygate && polygate upgrade /run/polygate/upgrade.sock

The running process starts the program's file anew with its own arguments. Once the new process serves, on the same
sockets, the old one finishes its exchanges and ends. If the new one does not become ready, the old one serves on and
this command ends with 1. SIGUSR2 does the same.")]
    Upgrade {
        /// The running process's upgrade socket
        #[arg(value_name = "SOCKET")]
        socket: PathBuf,
    },

    /// Find everything that is wrong with a project, without serving it
    #[command(after_help = "\
Examples:
  polygate check shop
  polygate check shop --format json | jq '.diagnostics[].message'

Reads the configuration, compiles all policies and loads them once, as a start would. Ends with 1 when there are errors.")]
    Check {
        /// The configuration: a project's folder
        #[arg(default_value = ".", value_name = "SOURCE")]
        source: PathBuf,
        #[command(flatten)]
        format: Format,
    },

    /// Tell what would become of a request: its route, policies, destination, and why
    #[command(after_help = "\
Examples:
  polygate explain shop GET /orders/17
  polygate explain shop POST 'http://localhost:8080/orders?dry=1' --format json

No policy runs and nothing is sent. Ends with 1 when no route takes the request.")]
    Explain {
        /// The configuration: a project's folder
        #[arg(value_name = "SOURCE")]
        source: PathBuf,
        /// The request's method
        #[arg(value_name = "METHOD")]
        method: String,
        /// A path such as /orders/17, or a whole URL
        #[arg(value_name = "URL")]
        url: String,
        #[command(flatten)]
        format: Format,
    },

    /// Make a project that runs at once
    #[command(after_help = "\
Examples:
  polygate new shop && polygate dev shop")]
    New {
        /// The folder to make; its last part is the project's name
        #[arg(value_name = "NAME")]
        name: PathBuf,
    },

    /// Print the JSON Schemas of the configuration files, for editors
    #[command(after_help = "\
Examples:
  polygate schema                      names of the schemas
  polygate schema policies             print one
  polygate schema --out schemas        write all of them into a folder")]
    Schema {
        /// Which schema to print
        #[arg(value_name = "NAME", conflicts_with = "out")]
        name: Option<String>,
        /// Write all schemas into this folder
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },

    /// Print a script that completes this command in your shell
    #[command(after_help = "\
Examples:
  polygate completions bash > ~/.local/share/bash-completion/completions/polygate
  polygate completions zsh  > ~/.zfunc/_polygate
  polygate completions fish > ~/.config/fish/completions/polygate.fish")]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Serving {
    /// Where clients connect: PORT, HOST:PORT [default: polygate.toml, or 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    listen: Option<SocketAddr>,

    /// Where the admin API listens: PORT, HOST:PORT or off [default: polygate.toml, or 127.0.0.1:8081]
    #[arg(long, value_name = "ADDRESS", value_parser = admin)]
    admin: Option<Admin>,

    /// Worker threads [default: polygate.toml, or one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
}

impl Serving {
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides {
            listen: self.listen,
            admin: self.admin.map(|admin| match admin {
                Admin::Off => None,
                Admin::At(address) => Some(address),
            }),
            workers: self.workers.map(usize::from),
            upgrade_socket: None,
        }
    }
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Format {
    /// For people, or for programs
    #[arg(long, value_enum, default_value_t = OutputFormat::Text, value_name = "FORMAT")]
    pub(crate) format: OutputFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admin {
    Off,
    At(SocketAddr),
}

fn admin(text: &str) -> Result<Admin, String> {
    if text == "off" { Ok(Admin::Off) } else { address(text).map(Admin::At) }
}

/// `8080` and `:8080` are on loopback: reachable from elsewhere only when asked for.
fn address(text: &str) -> Result<SocketAddr, String> {
    let wanted = || "write a port such as 8080, or an address such as 0.0.0.0:8080".to_owned();
    let port = text.strip_prefix(':').unwrap_or(text);
    if let Ok(port) = port.parse::<u16>() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if text.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
        return Err(wanted());
    }
    let mut found =
        text.to_socket_addrs().map_err(|error| format!("{error}; {}", wanted()))?.collect::<Vec<_>>();
    // Whoever says localhost expects the address that curl tries in vain first to be the rarer one.
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or_else(wanted)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn addresses_are_read() {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 3000));
        for text in ["3000", ":3000", "127.0.0.1:3000", "localhost:3000"] {
            assert_eq!(address(text), Ok(loopback), "{text}");
        }
        assert_eq!(address("[::1]:1").unwrap().to_string(), "[::1]:1");
        for text in ["", "x", "70000", "127.0.0.1", "127.0.0.1:x"] {
            assert!(address(text).is_err(), "{text}");
        }
        assert_eq!(admin("off"), Ok(Admin::Off));
    }
}
