//! Differential fuzzing of framing: mutated streams of requests are split by our parser, by `h11` and by llhttp. Where two
//! of them take a request, they must see the same one, with the same body, and the same requests behind it. Where we
//! take what another refuses, it is a finding unless the difference is [`known`].
//!
//! What we take is also written as the gateway writes it to upstreams: of that, nothing may be refused or split in
//! another way. The mutations are deterministic: a seed gives the same run again. [`responses`] does the same with what
//! upstreams answer.

mod known;
mod mutate;
mod oracle;
mod ours;
mod responses;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use self::mutate::Mutator;
use self::oracle::Oracle;
use self::ours::{End, Split};
use crate::cases;
use crate::message::show;

/// Longest stream that is mutated.
const MOST: usize = 2048;
/// So many findings of one kind are shown.
const SHOWN: usize = 3;

/// What to compare with, and for how long.
pub(crate) struct Plan<'a> {
    /// A Python that has `h11`.
    pub(crate) python: Option<&'a Path>,
    /// Node.js.
    pub(crate) node: Option<&'a Path>,
    /// Where the oracles' programs are.
    pub(crate) oracles: &'a Path,
    /// For how long.
    pub(crate) time: Duration,
    /// Of the mutations.
    pub(crate) seed: u64,
}

/// Runs until the time is over. `Err` says what was found.
pub(crate) fn run(plan: &Plan<'_>) -> Result<(), String> {
    let oracles = oracles(plan, "")?;
    let seeds: Vec<_> =
        cases::all().into_iter().map(|case| case.send).filter(|bytes| bytes.len() <= MOST).collect();
    let mut mutator = Mutator::new(seeds, &[], plan.seed);
    let mut fuzz = Fuzz { oracles, log: Log::default() };
    let started = Instant::now();
    let mut streams = 0u64;
    while started.elapsed() < plan.time {
        let stream = mutator.next(MOST);
        fuzz.compare(&stream)?;
        if !ours::splits_alike(&stream, mutator.random()) {
            fuzz.log.found("ours: the answer depends on how the bytes were split", &stream, "");
        }
        streams += 1;
    }
    fuzz.log.report("requests", streams, plan)
}

/// The same with streams of responses.
pub(crate) use self::responses::run as run_responses;

/// Starts the parsers that are there; `of` is behind their programs' names.
fn oracles(plan: &Plan<'_>, of: &str) -> Result<Vec<Oracle>, String> {
    let mut oracles = Vec::new();
    let script = |name: &str| plan.oracles.join(name);
    if let Some(python) = plan.python {
        // Nothing compiled is to be left beside the programs.
        oracles.push(Oracle::start("h11", python, &["-B"], &script(&format!("split_h11{of}.py")))?);
    }
    if let Some(node) = plan.node {
        let script = script(&format!("split_llhttp{of}.js"));
        oracles.push(Oracle::start("llhttp", node, &["--no-deprecation"], &script)?);
    }
    if oracles.is_empty() {
        return Err("neither h11 nor llhttp is there to compare with".to_owned());
    }
    Ok(oracles)
}

struct Fuzz {
    oracles: Vec<Oracle>,
    log: Log,
}

/// What was seen.
#[derive(Default)]
struct Log {
    findings: BTreeMap<String, u64>,
    /// Messages that we and an oracle saw alike.
    agreed: u64,
    knowns: BTreeMap<String, u64>,
}

impl Fuzz {
    fn compare(&mut self, stream: &[u8]) -> Result<(), String> {
        let ours = ours::split(stream);
        let forwarded = ours.forwarded();
        for at in 0..self.oracles.len() {
            let name = self.oracles[at].name();
            let theirs = self.oracles[at].split(stream)?;
            self.judge(name, &ours, &theirs, stream);
            if let Some((bytes, count)) = &forwarded {
                let theirs = self.oracles[at].split(bytes)?;
                let alike = theirs.messages.len() == *count
                    && ours
                        .messages
                        .iter()
                        .filter(|m| m.is_forwarded())
                        .zip(&theirs.messages)
                        .all(|(a, b)| a.method == b.method && a.path() == b.target && a.body == b.body);
                if !alike {
                    let why = format!("{:?} {}; written as {}", theirs.end, theirs.why, show(bytes));
                    self.log.found(
                        &format!("{name}: what is forwarded is read in another way"),
                        stream,
                        &why,
                    );
                }
            }
        }
        Ok(())
    }

    fn judge(&mut self, name: &str, ours: &Split, theirs: &Split, stream: &[u8]) {
        let both = ours.messages.len().min(theirs.messages.len());
        for (mine, other) in ours.messages.iter().zip(&theirs.messages) {
            if !mine.is_like(other) {
                self.log.found(
                    &format!("{name}: another request"),
                    stream,
                    &format!("{mine:?} and {other:?}"),
                );
                return;
            }
        }
        self.log.agreed += both as u64;
        let more_here = ours.messages.len() > both;
        let more_there = theirs.messages.len() > both;
        let kind = match (more_here, theirs.end, more_there, ours.end) {
            (true, End::Error, ..) => "taken here, refused there",
            (true, End::Closed, ..) => "goes on here, closed there",
            (true, ..) => "whole here, not whole there",
            (_, _, true, End::Clean | End::More) => "whole there, not whole here",
            _ => return,
        };
        let before = both.checked_sub(1).and_then(|last| ours.messages.get(last));
        let place = known::Place { before, beyond: ours.messages.get(both), theirs };
        if let Some(reason) = known::reason(name, &place) {
            self.log.known(name, reason);
            return;
        }
        self.log.found(&format!("{name}: {kind}: {}", theirs.why), stream, &format!("after {both} requests"));
    }
}

impl Log {
    fn known(&mut self, oracle: &str, reason: &str) {
        *self.knowns.entry(format!("{oracle}: {reason}")).or_default() += 1;
    }

    fn found(&mut self, kind: &str, stream: &[u8], why: &str) {
        let count = self.findings.entry(kind.to_owned()).or_default();
        *count += 1;
        if *count <= SHOWN as u64 {
            println!("FOUND {kind}\n  {why}\n  in {}", show(stream));
        }
    }

    fn report(&self, of: &str, streams: u64, plan: &Plan<'_>) -> Result<(), String> {
        println!(
            "{streams} streams in {:?}, seed {}; {} {of} were seen alike by us and another parser",
            plan.time, plan.seed, self.agreed
        );
        println!("taken here and refused or read in another way there, for reasons that are known:");
        for (reason, count) in &self.knowns {
            println!("{count:>9}  {reason}");
        }
        if self.findings.is_empty() {
            println!("no findings");
            return Ok(());
        }
        for (kind, count) in &self.findings {
            println!("{count:>9}  FOUND {kind}");
        }
        Err(format!("{} kinds of findings", self.findings.len()))
    }
}
