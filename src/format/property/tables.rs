//! The sub-keys of every property string of a VM config, as tables (pve-vm 1.5, 1.6); data, no behaviour. Syntax: `Table::read`.

use super::Table;
use std::collections::HashMap;
use std::sync::LazyLock;

pub const AGENT: &str = "
enabled*! bool
freeze-fs bool
freeze-fs-on-backup = freeze-fs
guest-fsfreeze = freeze-fs
fstrim_cloned_disks bool
type enum virtio isa
";
pub const AMD_SEV: &str = "
type*! enum std es snp
no-debug bool
no-key-sharing bool
allow-smt bool
kernel-hashes bool
";
pub const AUDIO: &str = "
device! enum ich9-intel-hda intel-hda AC97
driver enum spice none
";
pub const BOOT: &str = "
legacy* legacy-boot
order pve-qm-bootdev-list
";
pub const CICUSTOM: &str = "
meta pve-volume-id
network pve-volume-id
user pve-volume-id
vendor pve-volume-id
";
pub const CPU: &str = "
cputype* text
reported-model text
hidden bool
hv-vendor-id hv-vendor-id
flags cpu-flags
level int 0..4294967295
phys-bits pve-phys-bits
guest-phys-bits int 32..64
";
pub const EFIDISK: &str = "
file*! pve-volume-id-or-qm-path
volume = file
format enum raw qcow qed qcow2 vmdk cloop
efitype enum 2m 4m
ms-cert enum 2011 2023 2023w 2023k
pre-enrolled-keys bool
size disk-size
";
pub const HOSTPCI: &str = "
host* pci-ids
mapping pve-configid
device-id hex-id
vendor-id hex-id
sub-device-id hex-id
sub-vendor-id hex-id
driver enum vfio keep
legacy-igd bool
mdev mdev
pcie bool
rombar bool
romfile romfile
x-vga bool
";
pub const INTEL_TDX: &str = "
type*! enum tdx
attestation! bool
vsock-cid int 2..
vsock-port int 0..
";
pub const IPCONFIG: &str = "
ip pve-ipv4-config
gw ipv4
ip6 pve-ipv6-config
gw6 ipv6
gw needs ip
gw6 needs ip6
";
pub const IVSHMEM: &str = "
name ivshmem-name
size! int 1..
";
pub const MACHINE: &str = "
type* machine-type max=40
aw-bits num 32..64
enable-s3 bool
enable-s4 bool
viommu enum intel virtio
";
pub const MEMORY: &str = "current*! int 16..";
pub const META: &str = "
creation-qemu version
ctime int 0..
";
pub const NET: &str = "
model*! enum e1000 e1000-82540em e1000-82544gc e1000-82545em e1000e i82551 i82557b i82559er ne2k_isa ne2k_pci pcnet rtl8139 virtio vmxnet3
macaddr mac-addr
bridge pve-bridge-id
firewall bool
host-tunnel bool
link_down bool
mtu int 1..65520
queues int 0..64
rate num 0..
tag int 1..4094
trunks ranges
e1000 => model
e1000-82540em => model
e1000-82544gc => model
e1000-82545em => model
e1000e => model
i82551 => model
i82557b => model
i82559er => model
ne2k_isa => model
ne2k_pci => model
pcnet => model
rtl8139 => model
virtio => model
vmxnet3 => model
";
pub const NUMA: &str = "
cpus! ranges
hostnodes ranges
memory num
policy enum preferred bind interleave
";
pub const RNG: &str = "
source*! enum /dev/urandom /dev/random /dev/hwrng
max_bytes int
period int
";
pub const SMBIOS1: &str = "
uuid uuid
manufacturer smbios-text
product smbios-text
version smbios-text
serial smbios-text
sku smbios-text
family smbios-text
base64 bool
";
pub const SPICE: &str = "
foldersharing bool
videostreaming enum off all filter
";
pub const TPMSTATE: &str = "
file*! pve-volume-id-or-qm-path
volume = file
format enum raw qcow2 vmdk
size disk-size
version enum v1.2 v2.0
";
pub const UNUSED: &str = "
file*! pve-volume-id
volume = file
";
pub const USB: &str = "
host* usb-host
mapping pve-configid
usb3 bool
";
pub const VGA: &str = "
type* enum cirrus qxl qxl2 qxl3 qxl4 none serial0 serial1 serial2 serial3 std virtio virtio-gl vmware
clipboard enum vnc
memory int 4..512
";
pub const VIRTIOFS: &str = "
dirid*! pve-configid
cache enum auto always metadata never
direct-io bool
expose-acl bool
expose-xattr bool
";
pub const WATCHDOG: &str = "
model* enum i6300esb ib700
action enum reset shutdown poweroff pause debug none
";

/// What every disk bus shares.
pub const DISK: &str = "
file*! pve-volume-id-or-qm-path
volume = file
aio enum native threads io_uring
backup bool
bps int
bps_rd int
bps_wr int
bps_max_length int 1..
bps_rd_length = bps_rd_max_length
bps_rd_max_length int 1..
bps_wr_length = bps_wr_max_length
bps_wr_max_length int 1..
cache enum none writethrough writeback unsafe directsync
detect_zeroes bool
discard enum ignore on
format enum raw qcow qed qcow2 vmdk cloop
iops int
iops_max int
iops_max_length int 1..
iops_rd int
iops_rd_length = iops_rd_max_length
iops_rd_max int
iops_rd_max_length int 1..
iops_wr int
iops_wr_length = iops_wr_max_length
iops_wr_max int
iops_wr_max_length int 1..
mbps num
mbps_max num
mbps_rd num
mbps_rd_max num
mbps_wr num
mbps_wr_max num
media enum cdrom disk
replicate bool
rerror enum ignore report stop
serial urlencoded max=60
shared bool
size disk-size
snapshot bool
werror enum enospc ignore report stop
";
pub const IDE_ONLY: &str = "
model urlencoded max=120
ssd bool
wwn wwn
";
pub const SATA_ONLY: &str = "
ssd bool
wwn wwn
";
pub const SCSI_ONLY: &str = "
iothread bool
product product
queues int 2..
ro bool
scsiblock bool
ssd bool
vendor vendor
wwn wwn
";
pub const VIRTIO_ONLY: &str = "
iothread bool
ro bool
";
/// In requests only: where a new volume's content comes from.
pub const IMPORT: &str = "import-from pve-volume-id-or-absolute-path";

/// Every table once; reading one takes longer than using it.
static TABLES: LazyLock<HashMap<&'static str, Table>> = LazyLock::new(|| {
    let disk = |own: &'static str| {
        let mut table = Table::read(DISK);
        table.keys.extend(Table::read(own).keys);
        table
    };
    let plain = [
        ("agent", AGENT),
        ("amd-sev", AMD_SEV),
        ("audio", AUDIO),
        ("boot", BOOT),
        ("cicustom", CICUSTOM),
        ("efidisk", EFIDISK),
        ("hostpci", HOSTPCI),
        ("intel-tdx", INTEL_TDX),
        ("ipconfig", IPCONFIG),
        ("ivshmem", IVSHMEM),
        ("machine", MACHINE),
        ("memory", MEMORY),
        ("meta", META),
        ("net", NET),
        ("numa-node", NUMA),
        ("rng", RNG),
        ("smbios1", SMBIOS1),
        ("spice_enhancements", SPICE),
        ("tpmstate", TPMSTATE),
        ("unused", UNUSED),
        ("usb", USB),
        ("vga", VGA),
        ("virtiofs", VIRTIOFS),
        ("watchdog", WATCHDOG),
    ];
    let mut tables: HashMap<&'static str, Table> = plain
        .into_iter()
        .map(|(name, text)| (name, Table::read(text)))
        .collect();
    let buses = [
        ("ide", IDE_ONLY),
        ("sata", SATA_ONLY),
        ("scsi", SCSI_ONLY),
        ("virtio", VIRTIO_ONLY),
    ];
    tables.extend(buses.into_iter().map(|(bus, own)| (bus, disk(own))));
    let cpu = |validator: super::Validator| Table {
        validator: Some(validator),
        ..Table::read(CPU)
    };
    tables.insert("cpu", cpu(super::cpu::of_machine));
    tables.insert("cpu-model", cpu(super::cpu::has_type));
    tables
});

/// The table of a property string by the stem of its config key (`net`, `agent`, `scsi`) or by the original's format name.
pub fn by_name(name: &str) -> Option<&'static Table> {
    let stem = match name {
        "pve-qemu-sev-fmt" => "amd-sev",
        "pve-qemu-tdx-fmt" => "intel-tdx",
        "pve-vm-cpu-conf" => "cpu",
        "pve-cpu-conf" => "cpu-model",
        other => other.strip_prefix("pve-qm-").unwrap_or(other),
    };
    TABLES.get(stem)
}
