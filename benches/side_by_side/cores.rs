//! Which processor is the driver's, and which are the servers'.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

/// The driver has one processor for itself.
#[derive(Clone, Debug)]
pub struct Cores {
    pub driver: usize,
    pub servers: Vec<usize>,
}

impl Cores {
    /// The first processor that we may use is the driver's; the servers get `count` others, such that
    /// share no core with it first.
    pub fn pick(count: usize) -> Result<Self, String> {
        let allowed = sched_getaffinity(Pid::from_raw(0)).map_err(|error| error.to_string())?;
        let allowed = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false));
        let mut allowed = allowed.collect::<Vec<_>>().into_iter();
        let driver = allowed.next().ok_or("no processor to run on")?;
        let siblings = siblings(driver);
        let mut servers: Vec<usize> = allowed.collect();
        servers.sort_by_key(|cpu| (siblings.contains(cpu), *cpu));
        servers.truncate(count.max(1));
        if servers.is_empty() {
            return Err("driver and server need a processor each; there is one".to_owned());
        }
        Ok(Self { driver, servers })
    }

    /// Binds the thread that calls to the driver's processor.
    pub fn bind_driver(&self) -> Result<(), String> {
        bind(&[self.driver])
    }

    /// Starts something that inherits the servers' processors.
    pub fn for_servers<T>(&self, start: impl FnOnce() -> T) -> Result<T, String> {
        bind(&self.servers)?;
        let started = start();
        self.bind_driver()?;
        Ok(started)
    }

    /// Whether the driver shares a core with a server, as hyper-threads do.
    pub fn is_shared(&self) -> bool {
        let siblings = siblings(self.driver);
        self.servers.iter().any(|cpu| siblings.contains(cpu))
    }
}

fn bind(cpus: &[usize]) -> Result<(), String> {
    let mut set = CpuSet::new();
    let bound = cpus.iter().try_for_each(|cpu| set.set(*cpu));
    bound
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .map_err(|error| format!("binding to processors {cpus:?}: {error}"))
}

/// Processors of the same core, as `0,4` or `0-1` in the kernel's list.
fn siblings(cpu: usize) -> Vec<usize> {
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let ranges = text.trim().split(',').filter_map(|part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(from.parse::<usize>().ok()?..=to.parse().ok()?)
    });
    ranges.flatten().filter(|other| *other != cpu).collect()
}

/// Raises the number of open files as far as we may; gives it.
pub fn raise_open_files() -> u64 {
    let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1024 };
    // Refused: the old limit stays and is given.
    let _is_raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft)
}

/// Name of the processor and number of them, for the reader of a report.
pub fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let name = name.map_or("unknown processor", |(_, name)| name);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let count = text.lines().filter(|line| line.starts_with("processor")).count();
    format!("{count} x {name}, Linux {}", kernel.trim())
}
