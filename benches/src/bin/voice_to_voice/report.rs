//! The table of one profile and mode.

use std::collections::BTreeMap;

/// What one turn took: the measured silence, and its parts in order.
pub struct Turn {
    pub silence: f64,
    /// The same to the first word of the answer.
    pub answered: f64,
    pub opened: bool,
    pub parts: Vec<(String, f64)>,
}

/// Waiting for providers; and with an open microphone the silence that turn taking waits for on
/// purpose, from where the detector heard speech end. Everything else is the framework's own.
const WAITING: [&str; 5] = ["uplink, detector", "end_of_turn", "stt", "ttft", "ttfb"];

/// Prints the table; false if turns are missing.
pub fn report(profile: &str, mode: &str, turns: &[Turn], wanted: usize) -> bool {
    let remainder =
        turns.iter().map(|turn| (turn.silence - turn.parts.iter().map(|(_, ms)| ms).sum::<f64>()).abs());
    println!(
        "\n{profile}, {mode}: {} turns; parts sum to the silence within {:.2} ms",
        turns.len(),
        remainder.fold(0.0, f64::max)
    );
    println!("| {:<16} | {:>8} | {:>8} | {:>8} |\n|---|---:|---:|---:|", "", "p50", "p95", "p99");
    row("voice_to_voice", turns.iter().map(|turn| turn.silence).collect());
    let opened = turns.iter().filter(|turn| turn.opened).count();
    if opened > 0 {
        row("voice to answer", turns.iter().map(|turn| turn.answered).collect());
    }
    let own = |turn: &Turn| {
        turn.parts.iter().filter(|(name, _)| !WAITING.contains(&name.as_str())).map(|(_, ms)| ms).sum()
    };
    row("framework's own", turns.iter().map(own).collect());
    let mut names: Vec<&str> = Vec::new();
    let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (name, ms) in turns.iter().flat_map(|turn| &turn.parts) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
        values.entry(name).or_default().push(*ms);
    }
    for name in names {
        row(name, values.remove(name).unwrap_or_default());
    }
    if opened > 0 {
        println!(
            "{:.0} % of the turns began with a sentence before the answer",
            100.0 * opened as f64 / turns.len() as f64
        );
    }
    turns.len() >= wanted
}

fn row(name: &str, mut values: Vec<f64>) {
    values.sort_by(f64::total_cmp);
    // The smallest value that at least this share of the values do not exceed.
    let at = |share: f64| values[((values.len() as f64 * share).ceil() as usize).clamp(1, values.len()) - 1];
    println!("| {name:<16} | {:>8.2} | {:>8.2} | {:>8.2} |", at(0.50), at(0.95), at(0.99));
}
