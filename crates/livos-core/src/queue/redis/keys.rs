//! The keys of one queue.

use crate::store::Key;

/// The keys of a queue in the order in which the scripts name them: part, how long it stays, what
/// it holds.
pub(super) const PARTS: [(&str, &str, &str); 13] = [
    ("jobs", "until the job is acked or discarded", "the state of each job"),
    ("payloads", "until the job is acked or discarded", "what is to be done"),
    ("ready", "until the job is leased", "jobs to be leased, by kind, priority and age"),
    ("waiting", "until their time comes", "delayed jobs, and leases, by when they end"),
    ("dedupe", "as each key says", "dedupe keys, with their jobs"),
    ("forgets", "as each key says", "when each dedupe key is forgotten"),
    ("dead", "until an operator replays or discards them", "dead letters"),
    ("leased", "forever: a number for each kind", "leases of each kind"),
    ("full", "forever: a number for each kind", "the bucket of each kind that has a rate"),
    ("repeats", "until a program forgets them", "repeated jobs"),
    ("numbers", "forever: two numbers", "the last numbers of a job and of a lease"),
    ("bell", "nothing is kept: it is a channel", "rung when a job becomes ready"),
    ("cursors", "forever: its reader may come back after any time", "how far each channel was read"),
];
/// The mark of the server, which no script uses.
pub(super) const EPOCH: (&str, &str, &str) =
    ("epoch", "forever: one mark", "tells the server that it was from one that was emptied");

/// Where the scripts publish, and where the program reads by itself.
pub(super) const REPEATS: usize = 9;
pub(super) const BELL: usize = 11;

/// The key of a part. The braces keep all parts in one hash slot.
pub(super) fn key(queue: &str, part: &str) -> String {
    format!("{}:queue:{{{queue}}}:{part}", Key::NAMESPACE)
}

/// The keys of a queue as a table for the documentation.
pub(super) fn table() -> String {
    let rows = PARTS.iter().chain([&EPOCH]).map(|(part, lifetime, purpose)| {
        format!("| `{}:queue:{{name}}:{part}` | {purpose} | {lifetime} |\n", Key::NAMESPACE)
    });
    let head = "| keys | for | lifetime |\n| --- | --- | --- |\n".to_owned();
    rows.fold(head, |table, row| table + &row)
}
