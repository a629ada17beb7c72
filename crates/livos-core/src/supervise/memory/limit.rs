//! How much memory there is, and how much of it this process holds: read from Linux's `/proc` and
//! control groups.

use std::{fmt, fs, io, path::Path};

/// How much memory this process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Bytes.
    pub bytes: u64,
    /// Who says so.
    pub source: LimitSource,
}

/// Who limits memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitSource {
    /// A control group of version 2: `memory.max` or `memory.high` of the process's own group or of
    /// one above it.
    CgroupV2,
    /// A control group of version 1: `memory.limit_in_bytes`.
    CgroupV1,
    /// Nobody but the size of the machine.
    Machine,
}

impl fmt::Display for LimitSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CgroupV2 => "the control group (version 2)",
            Self::CgroupV1 => "the control group (version 1)",
            Self::Machine => "the machine",
        })
    }
}

/// The lowest of what the control groups of this process and the machine allow. An error where the
/// system does not tell, as everywhere but on Linux.
pub fn limit() -> io::Result<MemoryLimit> {
    limit_below(Path::new("/"))
}

/// The resident bytes of this process. An error where the system does not tell, as everywhere but
/// on Linux.
pub fn resident() -> io::Result<u64> {
    resident_below(Path::new("/"))
}

fn limit_below(root: &Path) -> io::Result<MemoryLimit> {
    let machine = kilobytes(&root.join("proc/meminfo"), "MemTotal:")?;
    let mut lowest = MemoryLimit { bytes: machine, source: LimitSource::Machine };
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    for line in groups.lines() {
        // `0::/path` in version 2, `4:memory,other:/path` in version 1.
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (source, mounts, files): (_, &[&str], &[&str]) = match controllers {
            "" => (LimitSource::CgroupV2, &["", "unified"], &["memory.max", "memory.high"]),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (LimitSource::CgroupV1, &["memory"], &["memory.limit_in_bytes"])
            }
            _ => continue,
        };
        for mount in mounts {
            let mount = root.join("sys/fs/cgroup").join(mount);
            // `max`, and in version 1 a number beyond any machine, is no limit.
            let least = limits_on_the_way(&mount, path, files).into_iter().min();
            if let Some(bytes) = least.filter(|least| *least < lowest.bytes) {
                lowest = MemoryLimit { bytes, source };
            }
        }
    }
    Ok(lowest)
}

/// What the group at `path`, and each above it up to the mount, allow: a limit binds all that is
/// below it. A group that this process can't see, as in a container that shows the host's paths,
/// leaves the mount alone, which is the container's own group then.
fn limits_on_the_way(mount: &Path, path: &str, files: &[&str]) -> Vec<u64> {
    let path = Path::new(path.trim_start_matches('/'));
    let inside = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let groups = path.ancestors().filter(|_| inside).map(|group| mount.join(group)).chain([mount.to_owned()]);
    let files = groups.flat_map(|group| files.iter().map(move |file| group.join(file)));
    files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).collect()
}

fn resident_below(root: &Path) -> io::Result<u64> {
    kilobytes(&root.join("proc/self/status"), "VmRSS:")
}

/// A field of a file of `/proc`, as in `MemTotal:    16384 kB`, in bytes.
fn kilobytes(file: &Path, field: &str) -> io::Result<u64> {
    let text = fs::read_to_string(file)?;
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix("kB"));
    let number = value.and_then(|value| value.trim().parse::<u64>().ok());
    let missing = || io::Error::new(io::ErrorKind::InvalidData, format!("{} has no {field}", file.display()));
    Ok(number.ok_or_else(missing)?.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system of these files.
    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in
            [("proc/meminfo", "MemTotal:       16000000 kB\nMemFree: 1 kB\n")].iter().chain(files)
        {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn check(what: &str, files: &[(&str, &str)], bytes: u64, source: LimitSource) {
        let found = limit_below(system(files).path()).unwrap();
        assert_eq!(found, MemoryLimit { bytes, source }, "{what}");
    }

    #[test]
    fn the_lowest_limit_on_the_way_to_the_root_counts() {
        use LimitSource::{CgroupV1, CgroupV2, Machine};
        let whole = 16_000_000 * 1024;
        check("no groups at all", &[], whole, Machine);
        check(
            "a service with MemoryMax",
            &[
                ("proc/self/cgroup", "0::/system.slice/livos.service\n"),
                ("sys/fs/cgroup/system.slice/livos.service/memory.max", "500000000\n"),
                ("sys/fs/cgroup/system.slice/livos.service/memory.high", "max\n"),
                ("sys/fs/cgroup/system.slice/memory.max", "max\n"),
            ],
            500_000_000,
            CgroupV2,
        );
        check(
            "a slice that is smaller, and throttles below its end",
            &[
                ("proc/self/cgroup", "0::/system.slice/livos.service\n"),
                ("sys/fs/cgroup/system.slice/livos.service/memory.max", "500000000\n"),
                ("sys/fs/cgroup/system.slice/memory.max", "400000000\n"),
                ("sys/fs/cgroup/system.slice/memory.high", "300000000\n"),
            ],
            300_000_000,
            CgroupV2,
        );
        check(
            "a container with its own view",
            &[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "250000000\n")],
            250_000_000,
            CgroupV2,
        );
        check(
            "a container that shows a path outside",
            &[("proc/self/cgroup", "0::/../../other\n"), ("sys/fs/cgroup/memory.max", "250000000\n")],
            250_000_000,
            CgroupV2,
        );
        check(
            "version 1 beside version 2",
            &[
                ("proc/self/cgroup", "11:cpu,cpuacct:/a\n4:memory:/docker/abc\n0::/docker/abc\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "700000000\n"),
            ],
            700_000_000,
            CgroupV1,
        );
        check(
            "version 1 without a limit",
            &[
                ("proc/self/cgroup", "4:memory:/\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ],
            whole,
            Machine,
        );
        check(
            "nonsense",
            &[("proc/self/cgroup", "nonsense\n0::\n"), ("sys/fs/cgroup/memory.max", "lots\n")],
            whole,
            Machine,
        );
    }

    #[test]
    fn a_system_that_does_not_tell_is_an_error() {
        let empty = tempfile::tempdir().unwrap();
        assert!(limit_below(empty.path()).is_err() && resident_below(empty.path()).is_err());
        let odd = system(&[("proc/self/status", "VmRSS: many kB\n")]);
        assert!(resident_below(odd.path()).unwrap_err().to_string().contains("VmRSS"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_lives_within_its_limit() {
        let (limit, before) = (limit().unwrap(), resident().unwrap());
        assert!(before > 100_000 && before < limit.bytes, "{before} {limit:?}");
        let ballast = vec![1u8; 64 << 20];
        let after = resident().unwrap();
        assert!(after > before + (48 << 20), "{before} {after} {}", ballast.len());
    }
}
