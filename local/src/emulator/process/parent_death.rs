//! Ends a child process with its parent, even if the parent is killed.

use tokio::process::Command;

/// Makes the kernel kill the process of the command when the thread that starts it ends.
#[cfg(target_os = "linux")]
pub(super) fn bind(command: &mut Command) {
    use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

    let parent = getpid();
    let ask_for_signal = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // If the parent died before this request, the signal never comes.
        if getppid() == Some(parent) {
            Ok(())
        } else {
            Err(std::io::ErrorKind::NotFound.into())
        }
    };
    #[expect(
        unsafe_code,
        reason = "between fork and exec: only two system calls, no allocation and no lock"
    )]
    // SAFETY: `ask_for_signal` is async-signal-safe: two system calls, no allocation, no lock.
    unsafe {
        command.pre_exec(ask_for_signal);
    }
}

/// Only Linux supports this. On other systems a killed parent can leave processes behind.
#[cfg(not(target_os = "linux"))]
pub(super) fn bind(_command: &mut Command) {}
