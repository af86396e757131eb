//! Machine processes from outside: whether one runs, starting it, stopping it. What happens inside is the room `vmm`.

use super::control::Control;
use super::{Paths, Running};
use crate::model::{Error, Outcome, Result, VmId};
use crate::plan::step::StopHow;
use crate::sys::process::ProcessId;
use crate::sys::{clock, fs};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a machine process writes about itself before it opens anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidFile {
    pub process: ProcessId,
    pub since: u64,
}

/// A pid file whose process is gone, or is another process by now, means: not running.
pub fn running(paths: &Paths, vmid: VmId) -> Option<Running> {
    let text = std::fs::read(paths.machine_pid(vmid)).ok()?;
    let file: PidFile = serde_json::from_slice(&text).ok()?;
    file.process.is_alive().then_some(Running {
        pid: file.process.pid,
        since: file.since,
    })
}

/// Called by the machine process itself, first thing. `Conflict` when a live one is registered.
pub fn register(paths: &Paths, vmid: VmId) -> Result<()> {
    if let Some(other) = running(paths, vmid) {
        return Err(Error::conflict(format!(
            "VM {vmid} already running (process {})",
            other.pid
        )));
    }
    fs::create_dirs(&paths.run_dir())?;
    let file = PidFile {
        process: ProcessId::current(),
        since: clock::now(),
    };
    let text = serde_json::to_vec(&file)
        .map_err(|e| Error::failed("cannot encode the pid file").with_source(e))?;
    fs::replace_file(&paths.machine_pid(vmid), &text, 0o644)
}

/// Removes what a machine process leaves in the run directory; harmless while none runs.
pub fn clean_up(paths: &Paths, vmid: VmId) {
    for path in [
        paths.machine_pid(vmid),
        paths.machine_control(vmid),
        paths.machine_serial(vmid),
    ] {
        let _ = std::fs::remove_file(path);
    }
}

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Spawns this program as the machine's process and waits until its control socket answers.
pub fn start(paths: &Paths, vmid: VmId, paused: bool) -> Result<Outcome> {
    if running(paths, vmid).is_some() {
        return Ok(Outcome::AlreadySo);
    }
    clean_up(paths, vmid);
    fs::create_dirs(&paths.run_dir())?;
    let log_path = paths.machine_log(vmid);
    if let Some(dir) = log_path.parent() {
        fs::create_dirs(dir)?;
    }
    let log = std::fs::File::create(&log_path).map_err(|e| {
        Error::io(
            format!("cannot write machine log '{}'", log_path.display()),
            e,
        )
    })?;
    let errors = log
        .try_clone()
        .map_err(|e| Error::io("cannot duplicate the machine log", e))?;
    let program =
        std::env::current_exe().map_err(|e| Error::io("cannot find this program's own file", e))?;
    let mut command = Command::new(program);
    command
        .arg("vm-run")
        .arg(vmid.to_string())
        .arg("--root")
        .arg(paths.root());
    if paused {
        command.arg("--paused");
    }
    command
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .env_clear()
        .process_group(0);
    // A test that kills the caller at some point must not kill the machine at the same point; it has a variable of its own.
    #[cfg(debug_assertions)]
    if let Some(at) = std::env::var_os("VOLVISOR_TEST_MACHINE_CRASH_AT") {
        command.env("VOLVISOR_TEST_CRASH_AT", at);
    }
    #[cfg(debug_assertions)]
    if let Some(log) = std::env::var_os("VOLVISOR_TEST_MACHINE_CRASH_LOG") {
        command.env("VOLVISOR_TEST_CRASH_LOG", log);
    }
    let mut child = command
        .spawn()
        .map_err(|e| Error::io(format!("cannot spawn the machine process of VM {vmid}"), e))?;
    let until = Instant::now() + START_TIMEOUT;
    loop {
        if let Ok(mut control) = Control::connect(&paths.machine_control(vmid))
            && control.execute("query-status", json!({})).is_ok()
        {
            return Ok(Outcome::Changed);
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(start_failed(
                vmid,
                &log_path,
                &format!("its process ended with {status}"),
            ));
        }
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            clean_up(paths, vmid);
            return Err(start_failed(vmid, &log_path, "it did not answer in time"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn start_failed(vmid: VmId, log: &std::path::Path, why: &str) -> Error {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let last: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let said = last
        .iter()
        .find_map(|l| l.strip_prefix("error: "))
        .or(last.last().copied())
        .unwrap_or("nothing");
    let mut error = Error::failed(format!("start of VM {vmid} failed: {said}"));
    if let Some(help) = last.iter().find_map(|l| l.strip_prefix("help: ")) {
        error = error.hint(help.to_owned());
    } else {
        error = error.hint(format!("{why}; read '{}'", log.display()));
    }
    error
}

fn wait_gone(paths: &Paths, vmid: VmId, timeout: Duration) -> bool {
    let until = Instant::now() + timeout;
    loop {
        if running(paths, vmid).is_none() {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        reap();
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A machine that this very process started would stay a zombie, which counts as gone, but keep the table clean.
fn reap() {
    while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {}
}

fn signal(running: &Running, signal: Signal) {
    if let Some(pid) = Pid::from_raw(running.pid as i32) {
        let _ = kill_process(pid, signal);
    }
}

/// Brings the machine to an end as asked; idempotent.
pub fn stop(paths: &Paths, vmid: VmId, how: StopHow, timeout_s: u32) -> Result<Outcome> {
    let Some(process) = running(paths, vmid) else {
        clean_up(paths, vmid);
        return Ok(Outcome::AlreadySo);
    };
    let timeout = Duration::from_secs(u64::from(timeout_s));
    if how != StopHow::Stop {
        let asked = Control::connect(&paths.machine_control(vmid))
            .and_then(|mut control| control.execute("system_powerdown", json!({})));
        if asked.is_ok() && wait_gone(paths, vmid, timeout) {
            clean_up(paths, vmid);
            return Ok(Outcome::Changed);
        }
        if how == StopHow::Shutdown {
            return Err(
                Error::failed("VM quit/powerdown failed - got timeout").hint(format!(
                    "the guest did not react; stop it hard with: qm stop {vmid}"
                )),
            );
        }
    }
    // The answer may be lost because the machine quits.
    let _ = Control::connect(&paths.machine_control(vmid))
        .and_then(|mut control| control.execute("quit", json!({})));
    let steps = [
        (None, timeout.max(Duration::from_secs(1))),
        (Some(Signal::TERM), Duration::from_secs(10)),
        (Some(Signal::KILL), Duration::from_secs(10)),
    ];
    for (kill, wait) in steps {
        if let (Some(kill), Some(process)) = (kill, running(paths, vmid)) {
            signal(&process, kill);
        }
        if wait_gone(paths, vmid, wait) {
            clean_up(paths, vmid);
            return Ok(Outcome::Changed);
        }
    }
    Err(
        Error::failed(format!("process {} of VM {vmid} does not die", process.pid))
            .hint("look at it with: ps"),
    )
}
