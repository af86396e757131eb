//! What a guest can cause outside its own memory; plain data, sent from CPU threads to the operator.

/// Something the guest did that concerns the whole machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum GuestEvent {
    /// It switched the machine off through ACPI.
    PowerOff,
    /// It asked for a reset.
    Reset,
    /// The test port was written: end with this exit code.
    TestExit(i32),
    /// A CPU (or the I/O thread) cannot go on; the text names it, the reason and the instruction pointer.
    CpuFailed(String),
}
