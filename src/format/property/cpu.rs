//! What holds between the sub-keys of a `cpu` text (pve-vm 1.5); it knows the names of CPU models, not what they can do.

use super::Values;

/// Models the original knows without looking at the host's QEMU (9.2), sorted.
const MODELS: &str = "
486 Broadwell Broadwell-IBRS Broadwell-noTSX Broadwell-noTSX-IBRS Cascadelake-Server Cascadelake-Server-noTSX
Cascadelake-Server-v2 Cascadelake-Server-v4 Cascadelake-Server-v5 ClearwaterForest Conroe Cooperlake Cooperlake-v2 EPYC
EPYC-Genoa EPYC-Genoa-v2 EPYC-IBPB EPYC-Milan EPYC-Milan-v2 EPYC-Milan-v3 EPYC-Rome EPYC-Rome-v2 EPYC-Rome-v3 EPYC-
Rome-v4 EPYC-Rome-v5 EPYC-Turin EPYC-v3 EPYC-v4 EPYC-v5 GraniteRapids GraniteRapids-v2 GraniteRapids-v3 Haswell Haswell-
IBRS Haswell-noTSX Haswell-noTSX-IBRS Icelake-Client Icelake-Client-noTSX Icelake-Server Icelake-Server-noTSX Icelake-
Server-v3 Icelake-Server-v4 Icelake-Server-v5 Icelake-Server-v6 Icelake-Server-v7 IvyBridge IvyBridge-IBRS KnightsMill
Nehalem Nehalem-IBRS Opteron_G1 Opteron_G2 Opteron_G3 Opteron_G4 Opteron_G5 Penryn SandyBridge SandyBridge-IBRS
SapphireRapids SapphireRapids-v2 SapphireRapids-v3 SapphireRapids-v4 SierraForest SierraForest-v2 SierraForest-v3
Skylake-Client Skylake-Client-IBRS Skylake-Client-noTSX-IBRS Skylake-Client-v4 Skylake-Server Skylake-Server-IBRS
Skylake-Server-noTSX-IBRS Skylake-Server-v4 Skylake-Server-v5 Westmere Westmere-IBRS a64fx athlon core2duo coreduo
cortex-a35 cortex-a53 cortex-a55 cortex-a57 cortex-a710 cortex-a72 cortex-a76 host kvm32 kvm64 max neoverse-n1
neoverse-n2 neoverse-v1 pentium pentium2 pentium3 phenom qemu32 qemu64 x86-64-v2 x86-64-v2-AES x86-64-v3 x86-64-v4
";

/// Flags a single machine may switch; others need a custom model.
const FLAGS: [&str; 13] = [
    "nested-virt",
    "md-clear",
    "pcid",
    "spec-ctrl",
    "ssbd",
    "ibpb",
    "virt-ssbd",
    "amd-ssbd",
    "amd-no-ssb",
    "pdpe1gb",
    "hv-tlbflush",
    "hv-evmcs",
    "aes",
];

/// The definition of a model names its type.
pub fn has_type(values: &Values) -> Result<(), String> {
    match values.get("cputype").map(String::as_str) {
        None | Some("0") => Err("CPU is missing cputype\n".to_owned()),
        Some(_) => Ok(()),
    }
}

/// A machine's `cpu` names a known or custom model (whether the custom one exists is for the node to say), switches only the
/// flags of the list and reports no other model.
pub fn of_machine(values: &Values) -> Result<(), String> {
    has_type(values)?;
    let model = values.get("cputype").map_or("", String::as_str);
    if !model.starts_with("custom-") && !MODELS.split_whitespace().any(|m| m == model) {
        return Err(format!(
            "Built-in cputype '{model}' is not defined (missing 'custom-' prefix?)\n"
        ));
    }
    let known = |flag: &str| FLAGS.contains(&flag.trim_start_matches(['+', '-']));
    if values
        .get("flags")
        .is_some_and(|f| !f.split(';').all(known))
    {
        return Err(format!(
            "VM-specific CPU flags must be a subset of: {}\n",
            FLAGS.join(", ")
        ));
    }
    if values.contains_key("reported-model") {
        return Err(
            "Property 'reported-model' not allowed in VM-specific CPU config.\n".to_owned(),
        );
    }
    Ok(())
}
