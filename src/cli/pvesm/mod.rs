//! `pvesm`: storages and volumes with the arguments, tables and exit codes of Proxmox VE; one file a command.

mod add;
mod alloc;
mod apiinfo;
mod free;
mod list;
mod path;
mod remove;
mod set;
mod status;

use super::verb::{Face, Verb};

pub use add::VERB as ADD;
pub use free::VERB as FREE;
pub use list::{of_cases as list_of_cases, value as volume_json};
pub use path::{VERB as PATH, locate};
pub use remove::VERB as REMOVE;
pub use set::VERB as SET;
pub use status::of_cases as status_of_cases;

pub static FACE: Face = Face {
    name: "pvesm",
    about: "Storages and their volumes, as Proxmox VE's pvesm",
    applet: true,
    verbs: VERBS,
};

static VERBS: &[Verb] = &[
    add::VERB,
    alloc::VERB,
    apiinfo::VERB,
    free::VERB,
    list::VERB,
    path::VERB,
    remove::VERB,
    set::VERB,
    status::VERB,
];
