//! Why a shard's way to the kernel could not be set up, and what to do about it.

use std::fmt;
use std::fs;
use std::io;

/// The kernel that has all that a shard needs.
pub const MINIMUM_KERNEL: &str = "6.8";

/// What allows io_uring where `kernel.io_uring_disabled` refuses it.
pub const ALLOWED_BY_SYSCTL: &str = "sysctl -w kernel.io_uring_disabled=0";

/// What allows it in containers, whose engines' own profiles refuse it: a line for each kind.
pub const ALLOWED_IN_CONTAINERS: [&str; 2] = [
    "docker, podman: --security-opt seccomp=tools/containers/seccomp.json",
    "Kubernetes, in the pod's securityContext: seccompProfile: {type: Localhost, \
     localhostProfile: tidegate.json}",
];

/// The ring could not be set up.
#[derive(Debug)]
pub enum RingError {
    /// The kernel has no io_uring.
    Missing,
    /// io_uring is there and refused to this process (`EPERM`). The text of
    /// `/proc/sys/kernel/io_uring_disabled`, if it could be read.
    Forbidden(Option<String>),
    /// The kernel has io_uring, but not all that a shard needs.
    TooOld(&'static str),
    /// The table of connections is over the limit of open files.
    TooManyDescriptors {
        /// Entries asked for.
        wanted: u32,
    },
    /// The kernel would not lock the ring's memory.
    NoMemory,
    /// Anything else, with what was being done.
    Other(&'static str, io::Error),
}

impl RingError {
    /// What a refusal to set up a ring means.
    pub(in crate::kernel) fn of_setup(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOSYS) => Self::Missing,
            Some(libc::EPERM | libc::EACCES) => {
                let setting = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
                Self::Forbidden(setting.ok().map(|text| text.trim().to_owned()))
            }
            Some(libc::EINVAL) => Self::TooOld("ring set-up without an index array (Linux 6.6)"),
            Some(libc::ENOMEM) => Self::NoMemory,
            _ => Self::Other("setting up the ring", error),
        }
    }

    /// What a refusal of the ring of receive buffers means.
    pub(in crate::kernel) fn of_buffers(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOMEM) => Self::NoMemory,
            _ => Self::Other("registering receive buffers", error),
        }
    }

    /// What a refusal of the direct-descriptor table means.
    pub(in crate::kernel) fn of_descriptors(error: io::Error, wanted: u32) -> Self {
        match error.raw_os_error() {
            Some(libc::EMFILE) => Self::TooManyDescriptors { wanted },
            Some(libc::ENOMEM) => Self::NoMemory,
            _ => Self::Other("registering direct descriptors", error),
        }
    }
}

impl fmt::Display for RingError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(
                out,
                "this kernel has no io_uring: Linux {MINIMUM_KERNEL} or later is needed, built \
                 with CONFIG_IO_URING"
            ),
            Self::Forbidden(setting) => forbidden(out, setting.as_deref()),
            Self::TooOld(feature) => {
                write!(
                    out,
                    "this kernel lacks {feature}: Linux {MINIMUM_KERNEL} or later is needed"
                )
            }
            Self::TooManyDescriptors { wanted } => write!(
                out,
                "a table of {wanted} connections is over the limit of open files: raise it \
                 (`ulimit -n {wanted}`, or `LimitNOFILE={wanted}` in a systemd unit), or set \
                 limits.connections lower. By io_uring the limit bounds each shard's table by \
                 itself, so that more shards have more connections"
            ),
            Self::NoMemory => out.write_str(
                "the kernel has no memory for the ring: lower limits.connections, or raise the \
                 limit of locked memory (`ulimit -l unlimited`, or `LimitMEMLOCK=infinity` in a \
                 systemd unit)",
            ),
            Self::Other(doing, error) => write!(out, "{doing}: {error}"),
        }
    }
}

fn forbidden(out: &mut fmt::Formatter<'_>, setting: Option<&str>) -> fmt::Result {
    out.write_str("io_uring is refused to this process (EPERM). ")?;
    match setting {
        Some("2") => write!(
            out,
            "kernel.io_uring_disabled is 2, which refuses it to everyone: `{ALLOWED_BY_SYSCTL}`"
        ),
        Some("1") => write!(
            out,
            "kernel.io_uring_disabled is 1: add this user's group to kernel.io_uring_group, or \
             `{ALLOWED_BY_SYSCTL}`"
        ),
        _ => write!(
            out,
            "In a container, its seccomp profile blocks it (Docker 25 and containerd do by \
             default). {}. Otherwise see kernel.io_uring_disabled, which must be 0",
            ALLOWED_IN_CONTAINERS.join("; ")
        ),
    }
}

impl std::error::Error for RingError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(errno: i32) -> String {
        RingError::of_setup(io::Error::from_raw_os_error(errno)).to_string()
    }

    #[test]
    fn each_refusal_names_its_remedy() {
        assert!(of(libc::ENOSYS).contains("Linux 6.8"));
        assert!(of(libc::EINVAL).contains("Linux 6.8"));
        assert!(of(libc::ENOMEM).contains("ulimit -l"));
        let forbidden = RingError::Forbidden(None).to_string();
        // The profile is there.
        let profile = "tools/containers/seccomp.json";
        assert!(forbidden.contains(profile), "{forbidden}");
        let tree = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        assert!(tree.join(profile).exists());
        let disabled = RingError::Forbidden(Some("2".to_owned())).to_string();
        assert!(disabled.contains("sysctl -w kernel.io_uring_disabled=0"), "{disabled}");
        let locked = io::Error::from_raw_os_error(libc::ENOMEM);
        assert!(RingError::of_buffers(locked).to_string().contains("ulimit -l"));
        let table = io::Error::from_raw_os_error(libc::EMFILE);
        assert!(RingError::of_descriptors(table, 70_000).to_string().contains("ulimit -n 70000"));
    }
}
