//! What a program may touch: files by Landlock, system calls by seccomp.
//!
//! Both bind the thread that takes them on and all that it starts from then on, for good. So a thread of the guard
//! takes them on and starts the program; the guard itself stays free, for it kills what the program leaves behind.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, Scope, path_beneath_rules,
};
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use serde::{Deserialize, Serialize};

/// The sandbox of a program, and of all that it starts. Beside what is named here it may read and run the system's
/// programs and libraries, and use `/dev/null` and its kind; `/proc` is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// Files, and folders with all that is in them, that it may read and run.
    #[serde(default)]
    pub read: Vec<PathBuf>,
    /// The same, that it may also change.
    #[serde(default)]
    pub write: Vec<PathBuf>,
    /// Whether it may open sockets; those of Unix are meant too.
    #[serde(default)]
    pub network: bool,
    /// Whether it is not started where the kernel cannot hold it in (Landlock of Linux 6.2, seccomp); else it runs
    /// there with what can be had.
    #[serde(default = "yes")]
    pub required: bool,
}

fn yes() -> bool {
    true
}

impl Default for Sandbox {
    fn default() -> Self {
        Self { read: Vec::new(), write: Vec::new(), network: false, required: true }
    }
}

/// The oldest Landlock that holds: before it files could be emptied outside.
const LEAST: ABI = ABI::V3;
/// The newest whose rights over files are used.
const NEWEST: ABI = ABI::V5;

/// What programs need to run at all; what is not there is passed over.
const SYSTEM: [&str; 20] = [
    "/bin",
    "/sbin",
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/ca-certificates",
    "/etc/group",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/pki/tls/certs",
    "/etc/resolv.conf",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
];
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// What administrators and debuggers call, and what reaches past the filter: `io_uring` makes sockets and opens
/// files by itself.
const REFUSED: [i64; 45] = [
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

/// What changes mode, owner, times and attributes, of which Landlock knows nothing: refused where nothing may be
/// written.
const METADATA: [i64; 13] = [
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fremovexattr,
    libc::SYS_fsetxattr,
    libc::SYS_lremovexattr,
    libc::SYS_lsetxattr,
    libc::SYS_removexattr,
    libc::SYS_setxattr,
    libc::SYS_utimensat,
    // `setxattrat`, whose siblings need what it sets.
    463,
];
#[cfg(target_arch = "x86_64")]
const OLDER_METADATA: [i64; 6] = [
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_futimesat,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER_METADATA: [i64; 0] = [];

/// Of `clone`: what makes a namespace.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];

/// A sandbox that is made and still to be entered.
pub(super) struct Prepared {
    rules: RulesetCreated,
    filters: Vec<BpfProgram>,
}

/// Why this kernel cannot hold a program in; `None`: it can. A thread tries it on itself.
pub(super) fn refusal() -> Option<String> {
    let attempt = || Sandbox::default().prepare()?.enter();
    let attempt = thread::Builder::new().name("a2e-sandbox".to_owned()).spawn(attempt);
    let outcome = attempt.map_err(text).and_then(|thread| {
        thread.join().unwrap_or_else(|_| Err("the attempt panicked".to_owned()))
    });
    outcome.err()
}

impl Sandbox {
    /// Opens what may be touched, from where this process is.
    ///
    /// Fails with the reason when something is not there, and when it is required and cannot be had.
    pub(super) fn prepare(&self) -> Result<Prepared, String> {
        let filters = match self.filters() {
            Err(why) if self.required => return Err(format!("no seccomp: {why}")),
            filters => filters.unwrap_or_default(),
        };
        Ok(Prepared { rules: self.rules()?, filters })
    }

    fn filters(&self) -> Result<Vec<BpfProgram>, String> {
        let mut refused = REFUSED.to_vec();
        if !self.network {
            // Without a socket there is nothing to connect; a pair of sockets leads nowhere else.
            refused.push(libc::SYS_socket);
        }
        if self.write.is_empty() {
            refused.extend(METADATA.iter().chain(&OLDER_METADATA));
        }
        let mut refused: BTreeMap<i64, Vec<SeccompRule>> =
            refused.into_iter().map(|call| (call, Vec::new())).collect();
        let has = |flag: i32| {
            let flag = u64::from(flag.unsigned_abs());
            when(SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag)
        };
        let namespaces = NAMESPACES.into_iter().map(has).collect::<Result<_, _>>();
        refused.insert(libc::SYS_clone, namespaces?);
        // Limits of another process than itself: that of the host has the same user.
        let of_others = when(SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, 0)?;
        refused.insert(libc::SYS_prlimit64, vec![of_others]);
        // Its flags are in memory, where no filter reads; told that there is none, programs use `clone`.
        let unknown = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
        Ok(vec![filter(refused, libc::EPERM)?, filter(unknown, libc::ENOSYS)?])
    }

    fn rules(&self) -> Result<RulesetCreated, String> {
        let level =
            if self.required { CompatLevel::HardRequirement } else { CompatLevel::BestEffort };
        let all = AccessFs::from_all(NEWEST);
        let read = AccessFs::from_read(NEWEST);
        let write = all & !(AccessFs::MakeChar | AccessFs::MakeBlock);
        let rules = Ruleset::default()
            .set_compatibility(level)
            .handle_access(AccessFs::from_all(LEAST))
            .map_err(|error| format!("Landlock of Linux 6.2 or newer is not there: {error}"))?;
        let created = rules
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(all)
            .and_then(|rules| rules.scope(Scope::Signal))
            .and_then(Ruleset::create);
        let mut rules = created.map_err(text)?.set_compatibility(CompatLevel::BestEffort);
        for path in self.read.iter().chain(&self.write) {
            PathFd::new(path).map_err(text)?;
        }
        let system = SYSTEM.map(PathBuf::from);
        let devices = DEVICES.map(PathBuf::from);
        for (paths, access) in [
            (system.as_slice(), read),
            (&devices, read | AccessFs::WriteFile),
            (&self.read, read),
            (&self.write, write),
        ] {
            rules = rules.add_rules(path_beneath_rules(paths, access)).map_err(text)?;
        }
        Ok(rules)
    }
}

impl Prepared {
    /// Holds this thread in, and all that it starts.
    pub(super) fn enter(self) -> Result<(), String> {
        self.rules.restrict_self().map_err(text)?;
        self.filters.iter().try_for_each(|filter| apply_filter(filter).map_err(text))
    }
}

/// Holds when the first argument compares so.
fn when(length: SeccompCmpArgLen, how: SeccompCmpOp, value: u64) -> Result<SeccompRule, String> {
    let condition = SeccompCondition::new(0, length, how, value);
    condition.and_then(|it| SeccompRule::new(vec![it])).map_err(text)
}

/// Refuses these calls with this error, and lets through all others.
fn filter(calls: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> Result<BpfProgram, String> {
    let mut all = calls.clone();
    if cfg!(target_arch = "x86_64") {
        // The same calls by their numbers for pointers of 32 bits.
        all.extend(calls.into_iter().map(|(call, rules)| (call | 0x4000_0000, rules)));
    }
    let refuse = SeccompAction::Errno(errno.unsigned_abs());
    let machine = std::env::consts::ARCH.try_into().map_err(text)?;
    let filter = SeccompFilter::new(all, SeccompAction::Allow, refuse, machine);
    filter.and_then(BpfProgram::try_from).map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
