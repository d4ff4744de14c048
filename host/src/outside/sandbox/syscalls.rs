//! The system calls a test has no business with.
//!
//! Touches: nothing.
//! Change here: when the kernel learns a call that reaches beyond a process, or a test needs one of these.
//!
//! A list of what is denied, not of what is allowed: tests of any language must run. Each of these either reaches into
//! another process, into the kernel's own machinery, or builds a namespace in which the others could be had again.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

/// Refused with `EPERM`, whatever the arguments.
const DENIED: [i64; 43] = [
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_syslog,
    libc::SYS_fanotify_init,
];

/// Every namespace a new process could be put into.
const NEW_NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// Types into the terminal the process hangs on, as if its owner had.
const TYPES_FOR_OTHERS: [u64; 2] = [libc::TIOCSTI, libc::TIOCLINUX];

/// One program: the first filter that does not allow a call decides.
///
/// # Errors
/// Where this processor's calls are not known.
pub fn filters() -> Result<Vec<BpfProgram>, Error> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let refused = |rules, errno: libc::c_int| -> Result<BpfProgram, Error> {
        let action = SeccompAction::Errno(errno.unsigned_abs());
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch)?;
        Ok(BpfProgram::try_from(filter)?)
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        DENIED.iter().map(|call| (*call, vec![])).collect();
    let flags = NEW_NAMESPACES
        .into_iter()
        .map(|flag| argument(0, u64::from(flag.unsigned_abs()), true));
    rules.insert(libc::SYS_clone, flags.collect::<Result<_, _>>()?);
    let requests = TYPES_FOR_OTHERS
        .into_iter()
        .map(|request| argument(1, request, false));
    rules.insert(libc::SYS_ioctl, requests.collect::<Result<_, _>>()?);
    // The flags of `clone3` lie in memory, where no filter sees them; the C library falls back to `clone`.
    let hidden = BTreeMap::from([(libc::SYS_clone3, vec![])]);
    Ok(vec![
        native_calls_only(refused(rules, libc::EPERM)?),
        refused(hidden, libc::ENOSYS)?,
    ])
}

/// Matches where an argument is `value`, or has all of its bits.
fn argument(nth: u8, value: u64, as_bits: bool) -> Result<SeccompRule, Error> {
    let how = if as_bits {
        SeccompCmpOp::MaskedEq(value)
    } else {
        SeccompCmpOp::Eq
    };
    // Kernel and filter look at the lower half only, so the upper half must not decide.
    let condition = SeccompCondition::new(nth, SeccompCmpArgLen::Dword, how, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

/// On x86-64 every call can also be had by its number with this bit set, past all the rules above.
fn native_calls_only(filter: BpfProgram) -> BpfProgram {
    const X32: u32 = 0x4000_0000;
    if std::env::consts::ARCH != "x86_64" {
        return filter;
    }
    let instruction = |code: u32, jt, jf, k| sock_filter {
        code: u16::try_from(code).expect("the codes are constants below 2^16"),
        jt,
        jf,
        k,
    };
    let number = 0;
    let refuse = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let mut program = vec![
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, number),
        instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 1, X32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, refuse),
    ];
    program.extend(filter);
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_for_this_processor() {
        let filters = filters().unwrap();
        assert_eq!(filters.len(), 2);
        assert!(filters.iter().all(|filter| filter.len() < 4096));
    }
}
