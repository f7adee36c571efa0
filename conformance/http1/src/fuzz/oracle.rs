//! Another parser, as a process that is asked over its standard input and output.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;

use super::ours::{End, Message, Split};

/// A parser to compare with. Dropping it ends it.
pub(super) struct Oracle {
    name: &'static str,
    child: Child,
    to: BufWriter<ChildStdin>,
    from: BufReader<ChildStdout>,
}

#[derive(Deserialize)]
struct Answer {
    messages: Vec<[String; 3]>,
    end: String,
    why: String,
}

impl Oracle {
    /// Starts one.
    pub(super) fn start(
        name: &'static str,
        program: &Path,
        arguments: &[&str],
        script: &Path,
    ) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", program.display());
        let mut child = Command::new(program)
            .args(arguments)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(format!("{}: no pipes", program.display()));
        };
        Ok(Self { name, child, to: BufWriter::new(to), from: BufReader::new(from) })
    }

    /// What it is called.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Has it split a stream.
    pub(super) fn split(&mut self, stream: &[u8]) -> Result<Split, String> {
        let gone = |error: std::io::Error| format!("{} is gone: {error}", self.name);
        let length = (stream.len() as u32).to_be_bytes();
        self.to.write_all(&length).and_then(|()| self.to.write_all(stream)).map_err(gone)?;
        self.to.flush().map_err(gone)?;
        let mut line = String::new();
        self.from.read_line(&mut line).map_err(gone)?;
        let strange = || format!("{} answered {line:?}", self.name);
        let answer: Answer = serde_json::from_str(&line).map_err(|_| strange())?;
        let end = match answer.end.as_str() {
            "clean" => End::Clean,
            "more" => End::More,
            "error" => End::Error,
            "closed" => End::Closed,
            _ => return Err(strange()),
        };
        let mut messages = Vec::new();
        for [method, target, body] in &answer.messages {
            let (Some(method), Some(target), Some(body)) = (bytes(method), bytes(target), bytes(body)) else {
                return Err(strange());
            };
            messages.push(Message::of_another(method, target, body));
        }
        Ok(Split { messages, end, why: answer.why })
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
