//! Benchmarks: ratios measured interleaved in one run, with the command that repeats them; they print and never assert.
//!
//! `cargo bench` runs all, `cargo bench -- startup audit` those named.

/// Auditing ten thousand volumes.
mod audit;
/// Requests per second that a guest gets, next to QEMU.
mod guest_iops;
/// Listing a thousand images.
mod list;
/// Running things, clocks, memory, tables.
mod measure;
/// Planning ten thousand deletions.
mod prune;
/// Roots full of volumes and configs.
mod roots;
/// From nothing to an answer.
mod startup;

const BENCHES: [(&str, fn()); 5] = [
    ("startup", startup::run),
    ("list", list::run),
    ("audit", audit::run),
    ("guest_iops", guest_iops::run),
    ("prune", prune::run),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [role, directory] = words.as_slice()
        && role == guest_iops::ROLE
    {
        std::process::exit(guest_iops::be_the_machine(directory.as_ref()));
    }
    let wanted: Vec<&String> = words.iter().filter(|w| !w.starts_with('-')).collect();
    for (name, run) in BENCHES {
        if wanted.is_empty() || wanted.iter().any(|w| *w == name) {
            println!("\n{name}  (again: cargo bench -- {name})");
            run();
        }
    }
}
