//! A child that cannot outlive its parent, even if that is killed.

use tokio::process::Command;

/// Has the kernel kill the command's process when the thread that starts it ends.
#[cfg(target_os = "linux")]
pub(super) fn bind(command: &mut Command) {
    use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

    let parent = getpid();
    let ask_for_signal = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the request; the signal would then never come.
        if getppid() == Some(parent) {
            Ok(())
        } else {
            Err(std::io::ErrorKind::NotFound.into())
        }
    };
    #[expect(
        unsafe_code,
        reason = "between fork and exec only two system calls are made; nothing is allocated or locked"
    )]
    // SAFETY: `ask_for_signal` is async-signal-safe: two system calls, no allocation, no lock.
    unsafe {
        command.pre_exec(ask_for_signal);
    }
}

/// Only Linux offers this; elsewhere a killed launcher may leave processes behind.
#[cfg(not(target_os = "linux"))]
pub(super) fn bind(_command: &mut Command) {}
