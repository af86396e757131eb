//! `volvisor <noun> <verb>`: the native commands; one file a noun.

mod audit;
mod doctor;
mod plan;
mod recover;
mod snapshot;
mod storage;
mod task;
mod trash;
mod vm;
mod volume;

use super::args::{flag_arg, option, positional};
use super::qm::verbs as qm;
use super::verb::{Face, Verb};
use super::{demo, docs, explain, pvesm, vm_run};

pub static FACE: Face = Face {
    name: "volvisor",
    about: "Snapshots you can trust on Proxmox-style storage, and a small KVM monitor that boots them",
    applet: false,
    verbs: VERBS,
};

static VERBS: &[Verb] = &[
    storage::LIST,
    storage::STATUS,
    pvesm::ADD.named("storage add"),
    pvesm::SET.named("storage set"),
    pvesm::REMOVE.named("storage remove"),
    volume::LIST,
    volume::SHOW,
    volume::ALLOC,
    pvesm::FREE.named("volume free"),
    volume::RESIZE,
    volume::RENAME,
    pvesm::PATH.named("volume path"),
    volume::DELSNAPSHOT,
    volume::DIGEST,
    snapshot::LIST,
    qm::SNAPSHOT.named("snapshot create"),
    qm::DELSNAPSHOT.named("snapshot delete"),
    qm::ROLLBACK.named("snapshot rollback"),
    snapshot::PRUNE,
    vm::LIST,
    vm::SHOW,
    qm::CREATE.named("vm create"),
    qm::SET.named("vm set"),
    qm::CONFIG.named("vm config"),
    qm::PENDING.named("vm pending"),
    qm::START.named("vm start"),
    qm::STOP.named("vm stop"),
    qm::SHUTDOWN.named("vm shutdown"),
    qm::RESET.named("vm reset"),
    qm::SUSPEND.named("vm pause"),
    qm::RESUME.named("vm resume"),
    qm::CLONE.named("vm clone"),
    qm::TEMPLATE.named("vm template"),
    qm::DESTROY.named("vm destroy"),
    qm::UNLOCK.named("vm unlock"),
    qm::UNLINK.named("vm unlink"),
    qm::RESIZE.named("vm resize"),
    qm::RESCAN.named("vm rescan"),
    qm::SHOWCMD.named("vm spec"),
    plan::SHOW,
    plan::APPLY,
    task::LIST,
    task::SHOW,
    audit::VERB,
    trash::LIST,
    trash::RESTORE,
    trash::EMPTY,
    recover::VERB,
    doctor::VERB,
    explain::VERB,
    DEMO,
    docs::COMPLETIONS,
    docs::MAN,
    VM_RUN,
];

const DEMO: Verb = Verb::reads(
    "demo",
    "One disk from its name to a guest and back, in a throw-away root",
    |c| c.arg(option("keep", "DIR", "Leave everything in DIR to look at")),
    |_, m| Ok(demo::main(super::args::text(m, "keep").map(Into::into))),
);

const VM_RUN: Verb = Verb::reads(
    "vm-run",
    "The process of one machine",
    |c| {
        c.args([
            positional("vmid", "The VM"),
            flag_arg("paused", "Do not run the processors"),
        ])
    },
    |ctx, m| {
        let vmid = super::parse::vmid(m, "vmid")?;
        Ok(vm_run::main(
            ctx.engine.paths(),
            vmid,
            super::args::flag(m, "paused"),
        ))
    },
)
.hidden();
