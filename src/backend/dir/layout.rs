//! Where a volume of a directory storage lives, from names alone: every path of this backend is made here, and none leaves the storage.

use crate::format::storage_cfg::StorageSection;
use crate::format::volname;
use crate::model::{
    ContentType, Error, ErrorKind, ImageFormat, OpId, Result, SnapshotName, StorageId, StorageKind,
    VolumeName,
};
use rustix::fs::{AtFlags, CWD, FileType, StatxAttributes, StatxFlags};
use std::path::{Path, PathBuf};

/// Longest file name a volume may get here: room for a snapshot's name or an operation's id around it.
const MAX_LEAF: usize = 140;

/// What `is_mountpoint` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum MustBeMounted {
    No,
    Root,
    Path(PathBuf),
}

/// The places of one storage.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) id: StorageId,
    pub(super) root: PathBuf,
    /// Below the root, without `..` or a leading slash.
    images: PathBuf,
    mounted: MustBeMounted,
}

/// A volume's place: the directory of its owner and its file name, both checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The name as it was given.
    pub(super) name: VolumeName,
    /// Digits, as written in the name.
    pub(super) owner: String,
    pub(super) leaf: String,
    pub(super) format: ImageFormat,
    pub(super) is_base: bool,
    /// Owner and leaf of the base in a linked clone's name.
    pub(super) base: Option<(String, String)>,
}

impl Place {
    /// `OWNER/LEAF`: the name without a base.
    pub(super) fn plain(&self) -> String {
        format!("{}/{}", self.owner, self.leaf)
    }
    pub(super) fn same_file(&self, other: &Place) -> bool {
        self.owner == other.owner && self.leaf == other.leaf
    }
    /// Refuses names this backend lists but never makes: `@` would look like a snapshot's file to people.
    pub(super) fn check_new(&self) -> Result<()> {
        if self.leaf.contains('@') || self.leaf.starts_with('.') || self.leaf.len() > MAX_LEAF {
            let shown: String = self.leaf.chars().take(60).collect();
            return Err(Error::usage(format!(
                "illegal name '{}' for a new volume",
                shown.escape_debug()
            ))
            .hint(format!(
                "use at most {MAX_LEAF} bytes, no '@' and no leading dot, for example 'vm-100-disk-0.raw'"
            )));
        }
        Ok(())
    }
}

/// Reads `OWNER/LEAF` or `BASEOWNER/BASE/OWNER/LEAF`.
pub(super) fn place_of(name: &VolumeName) -> Result<Place> {
    let text = name.as_str();
    let parts = volname::parse(StorageKind::Dir, text)?;
    let unfit = || {
        Error::usage(format!(
            "unable to parse directory volume name '{}'",
            text.chars().take(60).collect::<String>().escape_debug()
        ))
    };
    let format = parts
        .image_format()
        .filter(|_| parts.content == ContentType::Images)
        .ok_or_else(|| {
            Error::unsupported(format!(
                "volume '{}' is not a disk image",
                text.escape_debug()
            ))
        })?;
    let pieces: Vec<&str> = text.split('/').collect();
    let (owner, leaf, base) = match pieces.as_slice() {
        [owner, leaf] => (*owner, *leaf, None),
        [base_owner, base, owner, leaf] => {
            if !is_owner(base_owner) || !is_leaf(base) {
                return Err(unfit());
            }
            let base = ((*base_owner).to_owned(), (*base).to_owned());
            (*owner, *leaf, Some(base))
        }
        _ => return Err(unfit()),
    };
    // The reader above promises this already; what becomes a path is checked where it does.
    if !is_owner(owner) || !is_leaf(leaf) || leaf != parts.name {
        return Err(unfit());
    }
    Ok(Place {
        name: name.clone(),
        owner: owner.to_owned(),
        leaf: leaf.to_owned(),
        format,
        is_base: parts.is_base,
        base,
    })
}

pub(super) fn is_owner(text: &str) -> bool {
    (1..=19).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_leaf(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text != "."
        && text != ".."
        && !text.contains(|c: char| c == '/' || c.is_control())
}

impl Layout {
    pub(super) fn new(section: &StorageSection) -> Result<Self> {
        let id = section.id.clone();
        let root = section
            .get("path")
            .filter(|path| path.starts_with('/'))
            .ok_or_else(|| Error::usage(format!("storage '{id}' has no absolute 'path'")))?;
        let images = section
            .get("content-dirs")
            .and_then(|list| {
                list.split([',', ';', ' ', '\t'])
                    .find_map(|item| item.strip_prefix("images="))
            })
            .unwrap_or("images");
        let relative: PathBuf = Path::new(images)
            .components()
            .filter(|part| !matches!(part, std::path::Component::RootDir))
            .collect();
        let escapes = relative
            .components()
            .any(|part| !matches!(part, std::path::Component::Normal(_)));
        if escapes {
            return Err(Error::usage(format!(
                "storage '{id}': content-dirs 'images={}' leads outside of the storage",
                images.escape_debug()
            )));
        }
        let mounted = match section.get("is_mountpoint").map(str::to_ascii_lowercase) {
            None => MustBeMounted::No,
            Some(word) => match word.as_str() {
                "" | "0" | "no" | "off" | "false" => MustBeMounted::No,
                "1" | "yes" | "on" | "true" => MustBeMounted::Root,
                _ => MustBeMounted::Path(PathBuf::from(
                    section.get("is_mountpoint").unwrap_or_default(),
                )),
            },
        };
        Ok(Layout {
            id,
            root: PathBuf::from(root),
            images: relative,
            mounted,
        })
    }

    fn offline(&self, why: impl std::fmt::Display) -> Error {
        Error::new(
            ErrorKind::Offline,
            format!("storage '{}' is not online: {why}", self.id),
        )
    }

    /// The storage's directory is there (and mounted, where that is asked for).
    pub(super) fn check_online(&self) -> Result<()> {
        let shown = self.root.display();
        match std::fs::metadata(&self.root) {
            Ok(about) if about.is_dir() => {}
            Ok(_) => return Err(self.offline(format!("'{shown}' is not a directory"))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(self
                    .offline(format!("directory '{shown}' does not exist"))
                    .hint(format!("mount or create it: mkdir -p {shown}")));
            }
            Err(e) => {
                return Err(self.offline(format!("cannot look at directory '{shown}': {e}")));
            }
        }
        let point = match &self.mounted {
            MustBeMounted::No => return Ok(()),
            MustBeMounted::Root => &self.root,
            MustBeMounted::Path(path) => path,
        };
        if is_mount_root(point) {
            return Ok(());
        }
        Err(self
            .offline(format!(
                "nothing is mounted at '{}' (is_mountpoint is set)",
                point.display()
            ))
            .hint(format!("mount it: mount {}", point.display())))
    }

    /// The directory of all images, relative to the root.
    pub(super) fn images_below_root(&self) -> &Path {
        &self.images
    }
    pub(super) fn images(&self) -> PathBuf {
        self.root.join(&self.images)
    }
    pub(super) fn owner_dir(&self, owner: &str) -> PathBuf {
        self.images().join(owner)
    }
    pub(super) fn file(&self, place: &Place) -> PathBuf {
        self.owner_dir(&place.owner).join(&place.leaf)
    }
    /// Where a raw volume's snapshot is kept. No file extension Proxmox knows, so it is never listed as a disk.
    pub(super) fn snapshot_file(&self, place: &Place, snapshot: &SnapshotName) -> PathBuf {
        self.owner_dir(&place.owner)
            .join(format!("{}@{snapshot}", place.leaf))
    }
    /// Where an operation builds a volume. Names with a leading dot are no volumes to anybody.
    pub(super) fn temporary(&self, place: &Place, op: &OpId) -> PathBuf {
        self.owner_dir(&place.owner)
            .join(format!(".{}.{op}.tmp", place.leaf))
    }
    /// Where a reflink snapshot is built.
    pub(super) fn snapshot_temporary(&self, place: &Place, snapshot: &SnapshotName) -> PathBuf {
        self.owner_dir(&place.owner)
            .join(format!(".{}@{snapshot}.tmp", place.leaf))
    }
    /// The note of a rename under way; its text is the new plain name.
    pub(super) fn rename_note(&self, place: &Place) -> PathBuf {
        self.owner_dir(&place.owner)
            .join(format!(".{}.renamed-to", place.leaf))
    }

    /// Names below one owner's directory; none when there is no such directory.
    pub(super) fn names_of(&self, owner: &str) -> Result<Vec<String>> {
        let dir = self.owner_dir(owner);
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => {
                return Err(Error::io(
                    format!("cannot read directory '{}'", dir.display()),
                    e,
                ));
            }
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry
                .map_err(|e| Error::io(format!("cannot read directory '{}'", dir.display()), e))?;
            if let Ok(name) = entry.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Names of the reflink snapshots kept beside a raw volume's place, whether or not the volume itself is there.
    pub(super) fn snapshot_names(&self, place: &Place) -> Result<Vec<SnapshotName>> {
        let names = self.names_of(&place.owner)?;
        Ok(names
            .iter()
            .filter_map(|name| snapshot_of(name))
            .filter(|(leaf, _)| *leaf == place.leaf)
            .map(|(_, snapshot)| snapshot)
            .collect())
    }

    /// No component between the root and the volume is a symbolic link that leaves the storage, and the volume itself is a
    /// plain file; `None` when there is no such volume.
    pub(super) fn look(&self, place: &Place) -> Result<Option<rustix::fs::Statx>> {
        self.check_online()?;
        self.look_at(place, &self.file(place))
    }

    pub(super) fn look_at(&self, place: &Place, file: &Path) -> Result<Option<rustix::fs::Statx>> {
        let Some(dir) = self.open_owner(&place.owner)? else {
            return Ok(None);
        };
        let leaf = file.file_name().unwrap_or_default();
        match stat_entry(&dir, leaf) {
            Ok(about) if FileType::from_raw_mode(about.stx_mode.into()).is_file() => {
                Ok(Some(about))
            }
            Ok(_) => Err(Error::unsupported(format!(
                "volume '{}:{}': '{}' is not a regular file",
                self.id,
                place.name,
                file.display()
            ))
            .hint(
                "symbolic links and special files are never followed; put the image itself there",
            )),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::io(
                format!("cannot look at '{}'", file.display()),
                e.into(),
            )),
        }
    }

    /// As `look`, and `NotFound` when there is no such volume.
    pub(super) fn require(&self, place: &Place) -> Result<rustix::fs::Statx> {
        self.look(place)?.ok_or_else(|| self.missing(place))
    }

    pub(super) fn missing(&self, place: &Place) -> Error {
        Error::not_found(format!(
            "volume '{}:{}' does not exist",
            self.id, place.name
        ))
        .hint(format!("list volumes with: pvesm list {}", self.id))
    }

    /// The directory of one owner, reached without leaving the storage; `None` when there is none.
    fn open_owner(&self, owner: &str) -> Result<Option<rustix::fd::OwnedFd>> {
        use rustix::fs::{Mode, OFlags, openat};
        let Some(images) = self.open_images()? else {
            return Ok(None);
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match openat(&images, owner, flags, Mode::empty()) {
            Ok(dir) => Ok(Some(dir)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
                Err(Error::unsupported(format!(
                    "storage '{}': '{}' is not a directory (symbolic links are not followed there)",
                    self.id,
                    self.owner_dir(owner).display()
                )))
            }
            Err(e) => Err(Error::io(
                format!("cannot open '{}'", self.owner_dir(owner).display()),
                e.into(),
            )),
        }
    }

    /// The directory of all images, opened without leaving the root; `None` when it is not there yet.
    pub(super) fn open_images(&self) -> Result<Option<rustix::fd::OwnedFd>> {
        use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
        use rustix::io::Errno;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, &self.root, flags, Mode::empty())
            .map_err(|e| self.offline(format!("cannot open '{}': {e}", self.root.display())))?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        loop {
            match openat2(
                &root,
                self.images_below_root(),
                flags,
                Mode::empty(),
                resolve,
            ) {
                Ok(dir) => return Ok(Some(dir)),
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::AGAIN | Errno::INTR) => continue,
                Err(Errno::XDEV | Errno::LOOP) => {
                    return Err(Error::unsupported(format!(
                        "storage '{}': '{}' leads outside of the storage",
                        self.id,
                        self.images().display()
                    ))
                    .hint("use a bind mount instead of a symbolic link, or another 'path'"));
                }
                Err(e) => {
                    return Err(
                        self.offline(format!("cannot open '{}': {e}", self.images().display()))
                    );
                }
            }
        }
    }
}

/// `LEAF@SNAPSHOT` of a raw volume's snapshot file.
pub(super) fn snapshot_of(file_name: &str) -> Option<(&str, SnapshotName)> {
    let (leaf, snapshot) = file_name.rsplit_once('@')?;
    (leaf.ends_with(".raw") && !leaf.starts_with('.'))
        .then(|| SnapshotName::parse(snapshot).ok())?
        .map(|snapshot| (leaf, snapshot))
}

pub(super) fn stat_entry(
    dir: impl rustix::fd::AsFd,
    leaf: &std::ffi::OsStr,
) -> std::result::Result<rustix::fs::Statx, rustix::io::Errno> {
    rustix::fs::statx(
        dir,
        leaf,
        AtFlags::SYMLINK_NOFOLLOW,
        StatxFlags::BASIC_STATS | StatxFlags::BTIME,
    )
}

fn is_mount_root(path: &Path) -> bool {
    rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS)
        .is_ok_and(|about| about.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
