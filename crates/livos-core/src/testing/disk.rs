//! A small disk of a test's own, to be filled or made read-only.

#![allow(clippy::print_stdout, clippy::expect_used, clippy::missing_panics_doc)] // It belongs to tests.

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// A disk in memory, unmounted when it is dropped.
#[derive(Debug)]
pub struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// A disk of so many bytes in this empty folder; none, and a line that says so, where the
    /// machine does not let us: it needs root on Linux.
    pub fn mount(folder: &Path, bytes: u64) -> Option<Self> {
        let mounted = mount(folder, &format!("size={bytes}"));
        if !mounted {
            println!("no disk of its own for this test: mounting one needs root");
        }
        mounted.then(|| Self(folder.to_owned()))
    }

    /// Makes it so large.
    pub fn resize(&self, bytes: u64) {
        assert!(mount(&self.0, &format!("remount,size={bytes}")), "resize {}", self.0.display());
    }

    /// Forbids writing.
    pub fn make_read_only(&self) {
        assert!(mount(&self.0, "remount,ro"), "remount {}", self.0.display());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount(at: &Path, options: &str) -> bool {
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).stderr(Stdio::null());
    mount.status().is_ok_and(|status| status.success())
}
