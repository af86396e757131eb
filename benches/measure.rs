//! Measuring: processes with their time and peak memory, rounds that take every contender in turn, tables of ratios.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_volvisor");

/// What `audit` returns when it worked and found something.
const FINDINGS: i32 = 3;

/// One run of a process.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub wall: Duration,
    /// Peak resident memory; not below that of this benchmark itself, which the child shares until it is replaced.
    pub peak_kib: i64,
}

/// One line of a table: the medians.
pub struct Row {
    pub name: String,
    pub milliseconds: f64,
    pub peak_kib: i64,
}

pub fn installed(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if found.is_err() {
        println!("SKIPPED: {program} is not installed");
    }
    found.is_ok()
}

/// Runs to the end with all output dropped. A failing command is reported, because its time means nothing.
#[expect(clippy::zombie_processes, reason = "wait4 below waits for it")]
pub fn run_once(program: &str, words: &[&str]) -> Sample {
    let begun = Instant::now();
    let child = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program was found before");
    let mut status = 0;
    // SAFETY: an all-zero rusage is valid; it is plain numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live locals, and the child is waited for here only: `child` is never waited for again.
    let waited = unsafe { libc::wait4(child.id() as i32, &mut status, 0, &mut usage) };
    let wall = begun.elapsed();
    let findings = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == FINDINGS;
    if waited < 0 || (status != 0 && !findings) {
        println!(
            "  failed (status {status:#x}): {program} {}",
            words.join(" ")
        );
    }
    Sample {
        wall,
        peak_kib: usage.ru_maxrss,
    }
}

/// `rounds` times every contender in turn; the medians in the order given.
pub fn processes(contenders: &[(&str, &str, Vec<&str>)], rounds: usize) -> Vec<Row> {
    let mut samples = vec![Vec::new(); contenders.len()];
    for round in 0..=rounds {
        for (at, (_, program, words)) in contenders.iter().enumerate() {
            let sample = run_once(program, words);
            if round > 0 {
                samples[at].push(sample);
            }
        }
    }
    let row = |((name, ..), samples): (&(&str, &str, Vec<&str>), Vec<Sample>)| Row {
        name: (*name).to_owned(),
        milliseconds: median(samples.iter().map(|s| s.wall.as_secs_f64() * 1e3).collect()),
        peak_kib: samples.iter().map(|s| s.peak_kib).max().unwrap_or(0),
    };
    contenders.iter().zip(samples).map(row).collect()
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Times and memory, and the ratio of each to `yardstick` (a row of the table).
pub fn table(rows: &[Row], yardstick: usize) {
    println!(
        "  {:<34} {:>10} {:>7} {:>10} {:>7}",
        "", "median ms", "ratio", "peak KiB", "ratio"
    );
    let base = &rows[yardstick];
    for row in rows {
        println!(
            "  {:<34} {:>10.2} {:>7.2} {:>10} {:>7.2}",
            row.name,
            row.milliseconds,
            row.milliseconds / base.milliseconds,
            row.peak_kib,
            row.peak_kib as f64 / base.peak_kib as f64
        );
    }
}
