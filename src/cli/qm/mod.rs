//! `qm`: machines with the arguments, tables and exit codes of Proxmox VE; one file a command.

mod clone;
mod config;
mod create;
mod delsnapshot;
mod destroy;
mod list;
mod listsnapshot;
mod pending;
mod rescan;
mod reset;
mod resize;
mod resume;
mod rollback;
mod set;
mod showcmd;
mod shutdown;
mod snapshot;
mod start;
mod status;
mod stop;
mod suspend;
mod template;
mod unlink;
mod unlock;

pub use list::all as machines;

use super::verb::{Face, Verb};

pub static FACE: Face = Face {
    name: "qm",
    about: "Machines and their snapshots, as Proxmox VE's qm",
    applet: true,
    verbs: VERBS,
};

pub mod verbs {
    //! The commands that the native nouns offer too.
    pub use super::clone::VERB as CLONE;
    pub use super::config::VERB as CONFIG;
    pub use super::create::VERB as CREATE;
    pub use super::delsnapshot::VERB as DELSNAPSHOT;
    pub use super::destroy::VERB as DESTROY;
    pub use super::pending::VERB as PENDING;
    pub use super::rescan::VERB as RESCAN;
    pub use super::reset::VERB as RESET;
    pub use super::resize::VERB as RESIZE;
    pub use super::resume::VERB as RESUME;
    pub use super::rollback::VERB as ROLLBACK;
    pub use super::set::VERB as SET;
    pub use super::showcmd::VERB as SHOWCMD;
    pub use super::shutdown::VERB as SHUTDOWN;
    pub use super::snapshot::VERB as SNAPSHOT;
    pub use super::start::VERB as START;
    pub use super::stop::VERB as STOP;
    pub use super::suspend::VERB as SUSPEND;
    pub use super::template::VERB as TEMPLATE;
    pub use super::unlink::VERB as UNLINK;
    pub use super::unlock::VERB as UNLOCK;
}

static VERBS: &[Verb] = &[
    clone::VERB,
    config::VERB,
    create::VERB,
    delsnapshot::VERB,
    destroy::VERB,
    rescan::VERB.named("disk rescan"),
    resize::VERB.named("disk resize"),
    unlink::VERB.named("disk unlink"),
    list::VERB,
    listsnapshot::VERB,
    pending::VERB,
    rescan::VERB,
    reset::VERB,
    resize::VERB,
    resume::VERB,
    rollback::VERB,
    set::VERB,
    showcmd::VERB,
    shutdown::VERB,
    snapshot::VERB,
    start::VERB,
    status::VERB,
    stop::VERB,
    suspend::VERB,
    template::VERB,
    unlink::VERB,
    unlock::VERB,
];
