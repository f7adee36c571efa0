//! The table and the plot of a benchmark.

use std::fmt::Write as _;
use std::fs;

use super::measure::Sample;
use super::servers::Server;
use super::{Options, Protocol};
use crate::Outcome;

/// Prints the table, and writes it as JSON and as a bar chart beside it.
pub(super) fn print(options: &Options, servers: &[&Server], samples: &[Vec<Sample>]) -> Outcome {
    let medians: Vec<Sample> = samples.iter().map(|samples| median(samples)).collect();
    let Some(base) = medians.first().map(|sample| sample.cpu_micros) else {
        return Err("no server of that name".to_owned());
    };
    let (rounds, seconds, connections, body) =
        (options.rounds, options.seconds, options.connections, options.body);
    let protocol = match options.protocol {
        Protocol::Http1 => "HTTP/1.1",
        Protocol::Http2 => "HTTP/2",
        Protocol::Handshakes => "a request is a TLS 1.3 handshake",
    };
    let rate = match options.rate {
        Some(rate) => format!("{rate} requests/s"),
        None if options.busy => "as fast as it goes, load and upstream never asleep".to_owned(),
        None => "as fast as it goes".to_owned(),
    };
    println!(
        "\nmedians of {rounds} rounds of {seconds} s, {connections} connections, {body} byte body, one worker, {protocol}, {rate}:\n"
    );
    let width = servers.iter().map(|server| server.name.len()).max().unwrap_or(0);
    let head = "cpu/request  spread       user      ratio   requests/s   p50      p99      memory    errors";
    println!("{:width$}  {head}", "");
    let mut json = Vec::new();
    for ((server, all), sample) in servers.iter().zip(samples).zip(&medians) {
        let low = all.iter().map(|sample| sample.cpu_micros).fold(f64::INFINITY, f64::min);
        let high = all.iter().map(|sample| sample.cpu_micros).fold(0.0, f64::max);
        let errors: u64 = all.iter().map(|sample| sample.errors).sum();
        println!(
            "{:width$}  {:>8.2} us  {:>5.1}-{:<5.1}  {:>5.2} us  {:>5.2}  {:>11.0}  {:>8} {:>9} {:>6.1} MiB  {errors:>6}",
            server.name,
            sample.cpu_micros,
            low,
            high,
            sample.user_micros,
            sample.cpu_micros / base,
            sample.rate,
            micros(sample.p50),
            micros(sample.p99),
            sample.memory_kib as f64 / 1024.0,
        );
        json.push(serde_json::json!({
            "server": server.name, "cpu_us": sample.cpu_micros, "cpu_us_low": low, "cpu_us_high": high,
            "user_us": sample.user_micros,
            "ratio": sample.cpu_micros / base, "rate": sample.rate, "p50_us": sample.p50, "p99_us": sample.p99,
            "memory_kib": sample.memory_kib, "errors": errors,
        }));
    }
    let folder = crate::root().join("target/bench");
    let table = serde_json::json!({ "rounds": rounds, "seconds": seconds, "connections": connections, "body": body, "rate": options.rate, "busy": options.busy, "protocol": protocol, "servers": json });
    let write = |name: &str, text: String| {
        fs::write(folder.join(name), text).map_err(|error| format!("{name}: {error}"))
    };
    write("bench.json", format!("{table:#}\n"))?;
    write("bench.svg", chart(servers, &medians))?;
    println!("\ntarget/bench/bench.json and bench.svg hold the same");
    Ok(())
}

/// A latency as the table shows it; h2load tells none.
fn micros(latency: f64) -> String {
    if latency.is_nan() { "-".to_owned() } else { format!("{latency:.0} us") }
}

/// The median of each figure.
fn median(samples: &[Sample]) -> Sample {
    let of = |figure: fn(&Sample) -> f64| {
        let mut values: Vec<f64> = samples.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    };
    Sample {
        cpu_micros: of(|s| s.cpu_micros),
        user_micros: of(|s| s.user_micros),
        rate: of(|s| s.rate),
        p50: of(|s| s.p50),
        p99: of(|s| s.p99),
        errors: of(|s| s.errors as f64) as u64,
        memory_kib: of(|s| s.memory_kib as f64) as u64,
    }
}

/// A bar for each server: CPU microseconds per request.
fn chart(servers: &[&Server], medians: &[Sample]) -> String {
    let longest = medians.iter().map(|sample| sample.cpu_micros).fold(1.0, f64::max);
    let height = 40 + 34 * servers.len();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"20\">CPU microseconds per request (less is better)</text>\n"
    );
    for (row, (server, sample)) in servers.iter().zip(medians).enumerate() {
        let y = 36 + 34 * row;
        let width = sample.cpu_micros / longest * 420.0;
        let colour = if server.name.starts_with("polygate") { "#3b6fb6" } else { "#999999" };
        // Writing to a string does not fail.
        let _ = writeln!(
            svg,
            "<text x=\"10\" y=\"{}\">{}</text><rect x=\"230\" y=\"{y}\" width=\"{width:.1}\" height=\"22\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{}\">{:.1}</text>",
            y + 16,
            server.name,
            236.0 + width,
            y + 16,
            sample.cpu_micros
        );
    }
    svg.push_str("</svg>\n");
    svg
}
